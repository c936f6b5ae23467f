"""Oversized and endless files, and headers with false sizes, are rejected before memory is allocated."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elektron.configuration import read_yaml
from elektron.corpus.blocks import BlockStore
from elektron.corpus.documents import Corpus
from elektron.corpus.manifest import Manifest
from elektron.errors import ElektronError
from elektron.finetuning.tasks.registry import load_task
from elektron.io import files
from elektron.io import text as io_text
from elektron.reporting.reading import mapping, read_json
from elektron.verify import model_faults
from tests.corpus.test_blocks import edit, make_rows, write
from tests.finetuning.readers.layouts import read


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("manifest.json", lambda folder: Manifest.load(folder / "manifest.json")),
        ("recipe.yaml", lambda folder: read_yaml(folder / "recipe.yaml")),
        ("summary.json", lambda folder: read_json(folder / "summary.json", mapping)),
        ("task.json", lambda folder: load_task(str(folder))),
        ("config.json", lambda folder: load_task(str(folder))),
    ],
)
def test_oversized_small_file_raises(
    name: str, work: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 100)
    (tmp_path / name).write_text(json.dumps({"a": "x" * 200}))
    with pytest.raises(ElektronError, match=rf"{name}: larger than 100 bytes"):
        work(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"), [("[1]", "not a JSON object"), ("[" * 100_000, "nested too deep"), ("", "Expecting value")]
)
def test_json_that_is_no_object_raises(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        files.parse_json_object(text)
    assert files.parse_json_object('{"a": 1}') == {"a": 1}


def test_endless_file_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 1 << 20)
    with pytest.raises(ElektronError, match="/dev/zero: larger than 1,048,576 bytes"):
        files.read_text(Path("/dev/zero"))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_overlong_line_raises(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_text, "FIRST_BYTES", 100)
    monkeypatch.setattr(io_text, "CHUNK_BYTES", 100)
    monkeypatch.setattr(io_text, "MAX_FIELD_CHARACTERS", 1000)
    path = tmp_path / f"x{suffix}"
    begin = '{"text": "' if suffix == ".jsonl" else "text,label\n"
    path.write_text(begin + "x" * 2000)
    with pytest.raises(ElektronError, match="a line of more than 1,000 characters"):
        list(Corpus([str(path)], "text" if suffix == ".csv" else None))
    with pytest.raises(ElektronError, match="a line of more than 1,000 characters"):
        read(path)
    path.write_text('{"text": "a", "label": 1}\n' * 400 if suffix == ".jsonl" else "text\na\n" * 400)
    assert list(Corpus([str(path)]))


YAML_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def in_little_memory(program: str, *arguments: str) -> str:
    """The error that a program prints within 4 GB of memory: one line, with exit status 2."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=limit_memory,
    )
    assert done.returncode == 2, done.stderr[-1000:]
    assert done.stderr.startswith("elektron: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("setting", ["network: {layers: *a11}", "network: *a11", "family: *a11"])
def test_yaml_alias_bomb_is_rejected(setting: str, tmp_path: Path) -> None:
    """Expanded, the aliases would be 9 ** 12 entries."""
    (tmp_path / "r.yaml").write_text(f"{YAML_BOMB}{setting}\n")
    program = "import sys; from elektron.cli import main; sys.exit(main(sys.argv[1:]))"
    error = in_little_memory(program, "pretrain", "--config", str(tmp_path / "r.yaml"))
    assert error == f"elektron: {tmp_path / 'r.yaml'}: a0 is not a setting\n"


def test_safetensors_header_beyond_file_size_is_reported(tmp_path: Path) -> None:
    claims = (1 << 60).to_bytes(8, "little")
    tensors = b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}'
    (tmp_path / "config.json").write_text("{}")
    for content in (claims + b"{}", len(tensors).to_bytes(8, "little") + tensors):
        (tmp_path / "model.safetensors").write_bytes(content)
        (fault,) = model_faults(tmp_path)
        assert "model.safetensors is damaged" in fault


def state_size(size: int, manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["files"][0]["bytes"] = size


def test_block_file_header_beyond_file_size_raises(tmp_path: Path) -> None:
    """The manifest states the size of the forged file, as in blocks forged on purpose."""
    folder = write(tmp_path / "b", make_rows(40), make_rows(2))
    path = folder / "train-00000.arrow"
    schema = pa.schema([("input_ids", pa.list_(pa.uint16(), 8))])
    for options in (pa.ipc.IpcWriteOptions(compression="zstd"), None):
        with pa.ipc.new_file(path, schema, options=options) as stream:
            column = pa.FixedSizeListArray.from_arrays(np.ones(320, dtype=np.uint16), 8)
            stream.write_batch(pa.record_batch([column], schema=schema))
        content = path.read_bytes()
        for size in (640, 320, 40):
            claimed = content.replace(size.to_bytes(8, "little"), (1 << 60).to_bytes(8, "little"))
            path.write_bytes(claimed)
            edit(folder, partial(state_size, len(claimed)))
            with pytest.raises(ElektronError, match=r"train-00000\.arrow is damaged"):
                BlockStore.open(folder).rows("train").take(np.array([0]))
