"""Inputs that are not there, refused before torch and transformers are imported, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elektron.corpus.documents import Corpus
from elektron.errors import ElektronError, suggest_path
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.holdout import split_share
from elektron.finetuning.readers.lines import STDIN, existing_file
from elektron.finetuning.recipe import SCRATCH, check
from elektron.io.datasets import HUB, refuse_missing_folder

CORPORA = ("corpus", "documents")
LABELLED = ("train", "eval", "test", "data", "input", "blimp")
MODELS = ("model", "tokenizer", "target_tokenizer")


def refuse_missing_inputs(config: Any) -> None:
    """Raise ElektronError for the first file or folder that a command's configuration names in vain."""
    if isinstance(config, FinetuneConfig):
        check(config)
    for name in CORPORA:
        _refuse_missing_corpus(getattr(config, name, []), getattr(config, "text", None))
    for name in LABELLED:
        value = getattr(config, name, None)
        if isinstance(value, Path):
            _refuse_missing_blocks(value)
        elif value:
            sources = [value] if isinstance(value, str) else value
            if name != "eval" or split_share(sources) is None:
                refuse_missing_files(sources)
    for name in MODELS:
        model = getattr(config, name, None)
        if model and not model.startswith(SCRATCH):
            refuse_missing_folder(model)


def refuse_missing_files(sources: list[str]) -> None:
    """Raise ElektronError for a labelled file that is not there."""
    for source in sources:
        if source != STDIN and not source.startswith(HUB):
            existing_file(source)


def _refuse_missing_corpus(sources: list[str], text_column: str | None) -> None:
    # `inspect` takes blocks too.
    corpora = [source for source in sources if not (Path(source) / "manifest.json").is_file()]
    Corpus(corpora, text_column)


def _refuse_missing_blocks(folder: Path) -> None:
    if not folder.is_dir():
        raise ElektronError(f"{folder}: no such folder{suggest_path(folder)}")
