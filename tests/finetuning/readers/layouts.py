"""Layouts of several tasks, and helpers that read files with them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import LAYOUTS, Layout, Role

TEXTS = Layout(
    (
        Role("text", ("text", "sentence")),
        Role("pair", ("pair", "sentence2"), "together"),
        Role("label", ("label", "labels"), "labelled", several=True),
    )
)
CHOICES = Layout(
    (
        Role("text", ("question", "text")),
        Role("choices", ("choices", "ending0,ending1")),
        Role("label", ("label",), "labelled"),
    )
)
TAGGED = LAYOUTS["token-classification"]
SQUAD = LAYOUTS["question-answering"]
PARALLEL = LAYOUTS["summarization"]


def read(
    *sources: Path | str, layout: Layout = TEXTS, labelled: bool = True, stdin: bytes = b"", **options: Any
) -> list[Record]:
    return list(lazily(*sources, layout=layout, labelled=labelled, stdin=stdin, **options))


def lazily(
    *sources: Path | str, layout: Layout = TEXTS, labelled: bool = True, stdin: bytes = b"", **options: Any
) -> Iterator[Record]:
    names = [each if isinstance(each, str) else str(each) for each in sources]
    return read_records(names, layout, FilesConfig(**options), labelled, io.BytesIO(stdin))


def values(*sources: Path | str, **options: Any) -> list[dict[str, Any]]:
    return [record.values for record in read(*sources, **options)]
