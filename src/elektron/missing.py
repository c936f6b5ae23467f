"""Refuse missing input files and folders before torch and transformers are imported, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elektron.corpus.documents import Corpus
from elektron.errors import ElektronError, suggest_path
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.readers.lines import STDIN, existing_file
from elektron.finetuning.recipe import SCRATCH, check, held_out_fraction
from elektron.io.datasets import HUB, refuse_missing_folder

LABELLED = ("train", "eval", "test", "data", "input", "blimp")


def refuse_missing_inputs(config: Any) -> None:
    """Raise ElektronError for the first file or folder of a command's configuration that does not exist."""

    def sources(name: str) -> list[Any]:
        value = getattr(config, name, None) or []
        return value if isinstance(value, list) else [value]

    if isinstance(config, FinetuneConfig):
        check(config)
    for name in ("corpus", "documents"):
        # `inspect` also takes folders of blocks.
        corpora = [corpus for corpus in sources(name) if not Path(corpus, "manifest.json").is_file()]
        # With `predict --documents`, `--text` is the column of the queries, not of the documents.
        Corpus(corpora, getattr(config, "text", None) if name == "corpus" else None)
    for name in LABELLED:
        if name in ("eval", "test") and held_out_fraction(sources(name)) is not None:
            continue
        for source in sources(name):
            if isinstance(source, Path):  # a folder of blocks
                if source.is_file():
                    made = f"`elektron prepare {source} --tokenizer DIR --out blocks`"
                    raise ElektronError(f"{source} is a file, and --data takes a folder of blocks: run {made} first")
                if not source.is_dir():
                    raise ElektronError(f"{source}: no such folder{suggest_path(source)}")
            elif source != STDIN and not source.startswith(HUB):
                existing_file(source)
    for name in ("model", "tokenizer", "target_tokenizer"):
        for model in sources(name):
            if not model.startswith(SCRATCH):
                refuse_missing_folder(model)
