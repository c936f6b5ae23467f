"""Output of `inspect` for blocks and corpora."""

from pathlib import Path

import numpy as np
import pytest
from rich.text import Text

from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import InspectConfig, PrepareConfig
from elektron.corpus.prepare import prepare
from elektron.errors import ElektronError
from elektron.reporting.inspection import escaped, inspect, rows_as_text


@pytest.fixture(params=["dense", "paper"])
def blocks(request: pytest.FixtureRequest, corpus_file: Path, tokenizer_folder: Path, tmp_path: Path) -> Path:
    prepare(
        PrepareConfig(
            [str(corpus_file)], str(tokenizer_folder), tmp_path / "blocks", seq_len=32, packing=request.param, workers=1
        )
    )
    return tmp_path / "blocks"


def test_inspect_summarizes_blocks_and_prints_rows(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = inspect(InspectConfig([str(blocks)], rows=3))
    printed = capsys.readouterr().out
    assert "checksums match" in printed
    assert printed.count("\nrow ") == 3
    assert {finding.subject for finding in findings} >= {"rows", "padding", "documents", "unigram entropy"}


def test_rows_as_text_has_one_line_per_text(blocks: Path) -> None:
    store = BlockStore.open(blocks)
    rows = dict(rows_as_text(store, 4))
    assert len(rows) == 4
    special = store.manifest.special_ids
    for ids, text in zip(store.rows("train").take(np.array(list(rows))), rows.values(), strict=True):
        assert all(line.startswith("[CLS] ") for line in text.splitlines())
        assert len(text.splitlines()) == text.count("[CLS]") == (ids == special["cls"]).sum()
        assert text.count("[SEP]") == (ids == special["sep"]).sum()
        assert "[PAD]" not in text


def test_inspect_accepts_corpus(corpus_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = inspect(InspectConfig([str(corpus_file)]))
    assert findings[0].subject == "documents"
    assert "worth a look" in capsys.readouterr().out


def test_control_characters_and_markup_in_file_name_are_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "[red]\x1b[31m<script>.txt"
    path.write_bytes(b"plain text \x1b[31m[bold]here[/bold] " * 30 + b"\xfc")
    inspect(InspectConfig([str(path)]))
    assert "\x1b" not in capsys.readouterr().out
    assert Text.from_markup(escaped(path.name)).plain == "[red]\\x1b[31m<script>.txt"


def test_inspect_of_blocks_and_corpus_raises(blocks: Path, corpus_file: Path) -> None:
    with pytest.raises(ElektronError, match="inspected alone"):
        inspect(InspectConfig([str(blocks), str(corpus_file)]))


def test_damaged_blocks_raise(blocks: Path) -> None:
    path = blocks / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ElektronError, match=r"train-00000\.arrow is damaged"):
        inspect(InspectConfig([str(blocks)]))
