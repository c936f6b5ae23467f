"""No code from input folders is executed: checked in the source, in an audited pipeline and with crafted files."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import elektron
from elektron.configuration import read_yaml
from elektron.corpus.blocks import BlockStore
from elektron.corpus.documents import Corpus
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.tasks.registry import load_task
from elektron.io.datasets import dataset_rows
from elektron.pretraining.checkpoint import read_progress, write_manifest
from elektron.recipes import pretrain_config
from elektron.reporting.reading import mapping, read_json
from elektron.verify import checkpoint_faults
from tests.corpus.test_blocks import make_rows, write

SOURCE = Path(elektron.__file__).parent


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def test_source_has_no_calls_that_execute_foreign_code() -> None:
    """Checks what ruff's rules do not cover: keyword arguments, and loaders that unpickle by default."""
    for path, call in calls():
        keywords = {keyword.arg for keyword in call.keywords}
        assert not keywords & {"trust_remote_code", "allow_pickle", "weights_only"}, path
        name = ast.unparse(call.func)
        assert name not in ("eval", "exec", "compile", "__import__", "torch.load"), path
        assert name not in ("yaml.load", "yaml.full_load", "yaml.unsafe_load", "np.load"), path


def test_from_pretrained_is_called_in_two_modules_only() -> None:
    places = {
        path.name
        for path, call in calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained"
    }
    assert places == {"hub.py", "loading.py"}


WATCHED = """
import os, sys
folder, seen = os.path.realpath(sys.argv[1]), []

def watch(event, arguments):
    if event == "pickle.find_class":
        seen.append(f"pickle {arguments}")
    if event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(folder):
        seen.append(f"exec {arguments[0].co_filename}")
    if event == "import" and str(arguments[1] or "").startswith(folder):
        seen.append(f"import {arguments[1]}")

sys.addaudithook(watch)
"""

WHOLE_WAY = """
os.chdir(folder)
from elektron.cli import main
tiny = "--network.num-hidden-layers 1 --network.hidden-size 16".split()
tiny += "--network.intermediate-size 16 --network.num-attention-heads 1".split()
tiny += "--network.embedding-size 16 --network.max-position-embeddings 32 --steps 3 --batch-size 4".split()
quick = "--epochs 1 --max-length 16 --batch-size 8 --eval t.tsv".split()
for argv in (
    ["tokenizer", "c.txt", "--out", "t", "--vocab-size", "90"],
    ["prepare", "c.txt", "--tokenizer", "t", "--out", "b", "--seq-len", "16", "--workers", "1",
     "--validation", "0.2"],
    ["verify", "b"],
    ["pretrain", "--config", "quickstart", "--data", "b", "--out", "r", "--compile", "false", *tiny],
    ["verify", "r"],
    ["report", "r"],
    ["finetune", "classification", "--model", "r", "--train", "t.tsv", "--out", "m", *quick],
    ["predict", "m", "--input", "t.tsv", "--output", "p.jsonl"],
):
    assert main(argv) == 0, argv
assert os.path.exists("m/heads.py"), "the code for other readers lies there, as bait"
print(seen)
"""

CONTROL = """
import pickle, pathlib, runpy
pickle.loads(pickle.dumps(pathlib.PurePath("x")))
runpy.run_path(os.path.join(folder, "bait.py"))
print(seen)
"""


def watched(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + program, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_audit_hook_detects_unpickling_and_execution(tmp_path: Path) -> None:
    (tmp_path / "bait.py").write_text("x = 1")
    seen = watched(CONTROL, tmp_path)
    assert "pickle" in seen and "bait.py" in seen


def test_full_pipeline_unpickles_and_executes_nothing(tmp_path: Path, corpus_file: Path) -> None:
    (tmp_path / "c.txt").write_bytes(corpus_file.read_bytes())
    rows = [("the cat sees the river .", "cat"), ("her brother likes an apple .", "brother")] * 8
    lines = ["sentence\tlabel", *("\t".join(row) for row in rows)]
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    assert watched(WHOLE_WAY, tmp_path) == "[]"


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable, tuple]:
        return (Path.touch, (self.mark,))


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[bytes]:
    """A pickled object that creates a file when loaded; the teardown asserts that the test did not load it."""
    mark = tmp_path / "was_here"
    content = pickle.dumps(Trap(mark))
    pickle.loads(content)
    mark.unlink()  # fails if loading created no file
    yield content
    assert not mark.exists()


def test_pickled_block_file_raises(tmp_path: Path, trap: bytes) -> None:
    folder = write(tmp_path / "b", make_rows(10), make_rows(2))
    store = BlockStore.open(folder)
    (folder / "train-00000.arrow").write_bytes(trap)
    with pytest.raises(ElektronError, match=r"train-00000\.arrow is damaged"):
        store.rows("train").take(np.array([0]))
    with pytest.raises(ElektronError, match=r"train-00000\.arrow is damaged"):
        store.verify()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("tokenizer.json", lambda folder: load_tokenizer(str(folder))),
        ("task.json", lambda folder: load_task(str(folder))),
        ("config.json", lambda folder: load_task(str(folder))),
        ("progress.json", read_progress),
        ("summary.json", lambda folder: read_json(folder / "summary.json", mapping)),
        ("recipe.yaml", lambda folder: pretrain_config(folder / "recipe.yaml")),
        *(
            (name, lambda folder: list(Corpus([str(next(folder.glob("[cd]*.*")))])))
            for name in ("c.pkl", "c.txt", "c.jsonl", "c.csv", "c.parquet", "d.npy", "c.txt.gz")
        ),
    ],
)
def test_pickle_in_place_of_file_raises(name: str, read: Callable[[Path], object], tmp_path: Path, trap: bytes) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(trap)
    with pytest.raises(ElektronError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_pickled_checkpoint_is_reported_as_damaged(tmp_path: Path, trap: bytes) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "optimizer.safetensors").write_bytes(trap)
    (tmp_path / "progress.json").write_text("{}")
    write_manifest(tmp_path)
    found = "\n".join(checkpoint_faults(tmp_path))
    assert "weights.safetensors is damaged" in found and "optimizer.safetensors is damaged" in found


@pytest.mark.parametrize(
    "content",
    [
        "steps: !!python/object/apply:os.system ['touch was_here']",
        "!!python/object/apply:pathlib.Path.touch ['was_here']",
        "steps: !!python/name:os.system",
        "steps: !!python/module:os",
    ],
)
def test_yaml_object_tags_raise(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(ElektronError, match=r"recipe\.yaml, line 1: not valid YAML"):
        read_yaml(tmp_path / "recipe.yaml")
    assert not (tmp_path / "was_here").exists()


def test_dataset_with_loading_script_raises(tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "reviews.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\n")
    (folder / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ElektronError, match=r"cannot be loaded \(Dataset scripts are no longer"):
        dataset_rows(f"hf:{folder}")
    assert not (tmp_path / "was_here").exists()
