"""Blocks contain all text, do not depend on the number of workers, and are never left incomplete."""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

import elektron
from elektron.corpus import documents, engines
from elektron.corpus import prepare as prepare_module
from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import PrepareConfig, TokenizerConfig
from elektron.corpus.documents import Corpus
from elektron.corpus.prepare import prepare
from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer
from elektron.errors import ElektronError
from tests.corpus.texts import die, make_text


@pytest.fixture
def config(corpus_file: Path, tokenizer_folder: Path, tmp_path: Path) -> PrepareConfig:
    return PrepareConfig(
        [str(corpus_file)], str(tokenizer_folder), tmp_path / "blocks", seq_len=32, validation=0.1, workers=1
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def in_session(leader: int) -> list[str]:
    """The command lines of the processes that still run in the session of this leader."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session, *_ = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if session == str(leader) and state != "Z":
            found.append(command)
    return found


def all_rows(folder: Path) -> np.ndarray:
    store = BlockStore.open(folder)
    rows = [store.rows(split) for split in ("train", "validation")]
    return np.concatenate([part.take(np.arange(len(part))) for part in rows])


@pytest.mark.parametrize("packing", ["dense", "paper"])
def test_blocks_contain_tokens_of_all_documents(config: PrepareConfig, packing: str) -> None:
    manifest = prepare(replace(config, packing=packing))
    tokenizer = load_tokenizer(config.tokenizer)
    texts = [document.text for document in Corpus(config.corpus)]
    expected = sorted(token for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] for token in ids)
    rows = all_rows(config.out)
    found = sorted(rows[~np.isin(rows, [0, 2, 3])].tolist())
    if packing == "dense":
        assert found == expected
    else:  # paper packing drops a few tokens at the ends of documents
        assert 0.97 * len(expected) < len(found) <= len(expected)
    assert sum(split.documents for split in manifest.splits.values()) == len(texts)
    held_out = manifest.splits["validation"].documents
    assert 10 < held_out < 60


def test_blocks_do_not_depend_on_number_of_workers(
    config: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "DOCUMENTS_IN_CHUNK", 20)
    for packing in ("dense", "paper"):
        folders = [tmp_path / f"{packing}-{workers}" for workers in (1, 2)]
        for folder, workers in zip(folders, (1, 2), strict=True):
            prepare(replace(config, packing=packing, out=folder, workers=workers))
        assert contents(folders[0]) == contents(folders[1])


def test_special_tokens_in_text_are_encoded_as_ordinary_text(config: PrepareConfig, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"kalo [SEP] mi [CLS] [PAD] [MASK] ser {n}" for n in range(50)))
    manifest = prepare(replace(config, corpus=[str(corpus)], allow_unknown=True))
    rows = all_rows(config.out)
    pieces = sum(split.pieces for split in manifest.splits.values())
    assert (rows == 2).sum() == (rows == 3).sum() == pieces
    assert not (rows == 4).any()


def test_duplicates_are_dropped_unless_deduplicate_is_false(config: PrepareConfig, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join([make_text(30)] * 3))
    doubled = replace(config, corpus=[str(corpus)])
    assert prepare(doubled).duplicates == 60
    kept = prepare(replace(doubled, out=tmp_path / "kept", deduplicate=False))
    assert kept.duplicates == 0
    assert sum(split.documents for split in kept.splits.values()) == 90


def test_long_documents_log_no_warning(config: PrepareConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("kalo mi " * 5000 + "\n" + "ser tan " * 5000)
    with caplog.at_level(logging.WARNING):
        prepare(replace(config, corpus=[str(corpus)]))
    assert not caplog.records


def test_repeated_prepare_leaves_blocks_unchanged(config: PrepareConfig) -> None:
    manifest = prepare(config)
    before = contents(config.out)
    stamps = {path: path.stat().st_mtime_ns for path in config.out.rglob("*")}
    assert prepare(replace(config, workers=None)) == manifest
    assert contents(config.out) == before
    assert {path: path.stat().st_mtime_ns for path in config.out.rglob("*")} == stamps


def test_prepare_with_other_settings_raises_and_keeps_blocks(
    config: PrepareConfig, corpus_file: Path, tmp_path: Path
) -> None:
    prepare(config)
    before = contents(config.out)
    train_tokenizer(TokenizerConfig([str(corpus_file)], tmp_path / "other", vocab_size=80))
    (tmp_path / "more.txt").write_text(make_text(10))
    for changes, complaint in (
        ({"seq_len": 64}, "row length 32 there, 64 here"),
        ({"packing": "paper"}, "packing dense there, paper here"),
        ({"seed": 2}, "seed 1 there, 2 here"),
        ({"tokenizer": str(tmp_path / "other")}, "another tokenizer"),
        ({"corpus": [str(tmp_path / "more.txt")]}, "another corpus"),
    ):
        with pytest.raises(ElektronError, match=complaint):
            prepare(replace(config, **changes))
    assert contents(config.out) == before


def test_prepare_with_other_dataset_commit_raises(config: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, read = "a" * 40, []

    class Loaded(list[dict[str, str]]):
        features = None

    def load(name: str, config: None, split: str, revision: str, streaming: bool) -> Loaded:
        read.append(revision)
        return Loaded({"text": text} for text in make_text(30).split("\n\n"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(documents, "dataset_commit", lambda source: commit or None)
    config = replace(config, corpus=["hf:org/set"])
    manifest = prepare(config)
    assert read == ["a" * 40]
    assert manifest.options["commits"] == {"hf:org/set": "a" * 40}
    commit = ""  # the hub returns no commit
    assert prepare(config) == manifest
    commit = "b" * 40
    with pytest.raises(ElektronError, match=r"hf:org/set at commit a{40} there, b{40} here"):
        prepare(config)


def test_prepare_over_damaged_blocks_raises(config: PrepareConfig) -> None:
    prepare(config)
    path = config.out / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ElektronError, match=r"train-00000\.arrow is damaged"):
        prepare(config)


def test_out_folder_with_other_files_raises(config: PrepareConfig) -> None:
    config.out.mkdir()
    (config.out / "notes").write_text("precious")
    with pytest.raises(ElektronError, match="holds no blocks"):
        prepare(config)
    assert contents(config.out) == {"notes": b"precious"}


@pytest.mark.parametrize(
    ("content", "validation", "complaint"),
    [
        ("kalo mi ser", 0.1, "only one document"),
        ("\x01\n\x02", 0.0, "nothing to train on"),
        ("kalo mi\n\x01\n\x02\n\x03", 0.9999, "nothing to train on"),
        ("", 0.1, "the corpus is empty"),
        ("binary\0", 0.1, "binary file"),
    ],
)
def test_unusable_corpus_raises_and_writes_nothing(
    config: PrepareConfig, tmp_path: Path, content: str, validation: float, complaint: str
) -> None:
    (tmp_path / "corpus.txt").write_text(content)
    corpus = [str(tmp_path / "corpus.txt")]
    with pytest.raises(ElektronError, match=complaint):
        prepare(replace(config, corpus=corpus, validation=validation))
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"validation": 1.0}, "--validation"),
        ({"validation": -0.1}, "--validation"),
        ({"seq_len": 7}, "--seq-len"),
        ({"workers": 0}, "--workers"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**128}, "--seed"),
        ({"tokenizer": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_invalid_settings_raise(config: PrepareConfig, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ElektronError, match=complaint):
        prepare(replace(config, **changes))
    assert not config.out.exists()


def test_dead_worker_process_raises_and_leaves_no_files(config: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "pack_in_worker", die)
    with pytest.raises(ElektronError, match=r"worker process died.*--workers"):
        prepare(replace(config, workers=2))
    assert not any(config.out.parent.iterdir())


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_interrupted_run_leaves_no_files_or_processes(engine: str, config: PrepareConfig, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    # The corpus is much larger than the chunks in flight, so that there is time to interrupt the run.
    corpus.write_text((make_text(3000) + "\n\n") * 20)
    # This is what the installed command runs. `python -m` dies of the signal, which shells also report as 130, if it
    # arrives during an `exec` of source text, such as in the creation of a dataclass.
    program = "import sys; from elektron.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "prepare", str(corpus)]
    command += ["--tokenizer", config.tokenizer, "--out", str(config.out), "--workers", "2"]
    command += ["--engine", engine, "--deduplicate", "false"]
    # Background jobs of a shell ignore SIGINT, and so do their child processes, such as these tests.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(elektron.__file__).parents[1])},
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, earlier)
    while not list(tmp_path.glob(".blocks.partial/train-*")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]
    patience = time.monotonic() + 20
    while in_session(process.pid):
        assert time.monotonic() < patience, in_session(process.pid)
        time.sleep(0.1)
