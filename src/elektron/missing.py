"""Inputs that are not there, refused before torch and transformers are imported, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.reading import HUB, nearest, refuse_missing_folder

CORPORA = ("corpus", "documents")
LABELLED = ("train", "eval", "test", "data", "input", "blimp")
MODELS = ("model", "tokenizer", "target_tokenizer")
SCRATCH = "scratch:"


def refuse_missing_inputs(config: Any) -> None:
    """Raise ElektronError for the first file or folder that a command's configuration names in vain."""
    if isinstance(config, FinetuneConfig):
        from elektron.finetuning.recipe import check

        check(config)
    for name in CORPORA:
        _refuse_missing_corpus(getattr(config, name, []))
    for name in LABELLED:
        value = getattr(config, name, None)
        if isinstance(value, Path):
            _refuse_missing_blocks(value)
        elif value:
            refuse_missing_files([value] if isinstance(value, str) else value)
    for name in MODELS:
        model = getattr(config, name, None)
        if model and not model.startswith(SCRATCH):
            refuse_missing_folder(model)


def refuse_missing_files(sources: list[str]) -> None:
    """Raise ElektronError for a labelled file that is not there; a share of rows to hold out is no file."""
    from elektron.finetuning.files.lines import STDIN, existing_file
    from elektron.finetuning.files.read import split_share

    if split_share(sources) is None:
        for source in sources:
            if source != STDIN and not source.startswith(HUB):
                existing_file(source)


def _refuse_missing_corpus(sources: list[str]) -> None:
    from elektron.corpus.documents import Corpus

    # `inspect` takes blocks too.
    Corpus([source for source in sources if not (Path(source) / "manifest.json").is_file()])


def _refuse_missing_blocks(folder: Path) -> None:
    if not folder.is_dir():
        raise ElektronError(f"{folder}: no such folder{nearest(folder)}")
