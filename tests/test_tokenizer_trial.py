"""A tokenizer that hangs, panics or fills the memory is refused in one line before it reads anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from elektron import hub
from elektron.corpus.vocabulary import load_tokenizer
from elektron.errors import ElektronError


def with_part(tokenizer: Path, out: Path, **parts: Any) -> str:
    shutil.copytree(tokenizer, out)
    content = json.loads((out / "tokenizer.json").read_text())
    (out / "tokenizer.json").write_text(json.dumps(content | parts))
    return str(out)


def split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def sequence(*normalizers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(normalizers)}


PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": "/////w=="}


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": split("(a+)+$")},
        {"pre_tokenizer": split("(x|x)*y")},
        {"pre_tokenizer": split("(the )*(the )*(the )*(the )*(the )*q")},
        {"normalizer": sequence(*[replace("a", "aa")] * 12)},
        {"normalizer": replace("the", "the" * 1000)},
        {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
        {"normalizer": PRECOMPILED},
    ],
    ids=["nested", "alternatives", "polynomial", "doubling", "long", "prepended", "charsmap"],
)
def test_hostile_parts(tokenizer_folder: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    name = with_part(tokenizer_folder, tmp_path / "hostile", **parts)
    with pytest.raises(ElektronError, match=r"hostile/tokenizer\.json: damaged") as caught:
        load_tokenizer(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        {
            "pre_tokenizer": split(
                r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            )
        },
        {"normalizer": sequence(replace("``", '"'), {"type": "NFKD"}, {"type": "Lowercase"})},
    ],
    ids=["of Llama", "of ALBERT"],
)
def test_usual_parts(tokenizer_folder: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    assert load_tokenizer(with_part(tokenizer_folder, tmp_path / "usual", **parts))("the cat")


def test_a_tokenizer_without_end(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = with_part(tokenizer_folder, tmp_path / "large")
    monkeypatch.setattr(hub, "MOST_BYTES", 1000)
    with pytest.raises(ElektronError, match="more than 1,000 bytes"):
        load_tokenizer(name)
