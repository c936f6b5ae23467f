"""Settings of `elektron explain`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import AboveZero, EquivalentOptions, Positional, Within
from elektron.errors import ElektronError
from elektron.finetuning.config import InputFilesConfig, TaskName

SUFFIXES = (".jsonl", ".html")


@dataclass(kw_only=True)
class ExplainConfig(InputFilesConfig):
    """Show which words a model's answers depend on, and measure how faithful these explanations are."""

    model: Positional[str]
    """Folder or hub name of a fine-tuned model, or of a pre-trained discriminator or its run."""
    input: Annotated[str, EquivalentOptions(("data", "test"))] = "-"
    """File, or hf:NAME[@REVISION][:config][:split]; - is standard input: one text per line, or JSON lines."""
    output: Annotated[Path, EquivalentOptions(("out",))] | None = None
    """File to write; its suffix jsonl or html (a page) is the format (default: JSON lines on standard output)."""
    method: Literal["integrated-gradients", "attention"] = "integrated-gradients"
    """`integrated-gradients`, or `attention`: weights by layer and head, which do not explain an answer."""
    steps: Annotated[int, Within(least=2, most=10_000)] = 50
    """Number of points between baseline and text at which gradients are computed; more reduce the convergence gap."""
    word: AboveZero[int] | None = None
    """Number of the word, from 1, whose tag or "replaced" score is explained (default: each entity, or each tag that is
    not O; for a discriminator, the word most probably replaced)."""
    task: TaskName | None = None
    """Task of a model that Elektron did not fine-tune (default: inferred from its class)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and self.output.suffix not in SUFFIXES:
            raise ElektronError(f"--output {self.output}: must end in {', '.join(SUFFIXES)}")
