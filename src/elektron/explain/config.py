"""Settings of `elektron explain`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import AboveZero, InPlaceOf, Positional, Within
from elektron.errors import ElektronError
from elektron.finetuning.config import InputFilesConfig, TaskName

SUFFIXES = (".jsonl", ".html")


@dataclass(kw_only=True)
class ExplainConfig(InputFilesConfig):
    """Show which words a model's answers depend on, and measure how far that can be believed."""

    model: Positional[str]
    """Folder or hub name of a fine-tuned model, or of a pre-trained discriminator or its run."""
    input: Annotated[str, InPlaceOf(("data", "test"))] = "-"
    """File, or hf:NAME[@REVISION][:config][:split]; - is standard input: a text a line, or JSON lines."""
    output: Annotated[Path, InPlaceOf(("out",))] | None = None
    """File, by its ending jsonl or html (a page) (default: JSON lines on standard output)."""
    method: Literal["integrated-gradients", "attention"] = "integrated-gradients"
    """`integrated-gradients`, or `attention`: its weights by layer and head, which do not explain an answer."""
    steps: Annotated[int, Within(least=2, most=10_000)] = 50
    """Points between baseline and text at which integrated gradients are computed; more make the gap smaller."""
    word: AboveZero[int] | None = None
    """Number of the word, from 1, whose tag or "replaced" score is explained (default: each entity or tag that is
    not O; the word that most looks replaced)."""
    task: TaskName | None = None
    """For a model that was not made here: what it does (default: by its class)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and self.output.suffix not in SUFFIXES:
            raise ElektronError(f"--output {self.output}: must end in {', '.join(SUFFIXES)}")
