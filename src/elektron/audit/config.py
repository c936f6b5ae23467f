"""Settings of `elektron canaries` and `elektron audit`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import Positional, Size, ValidatedConfig, Within

Seed = Annotated[int, Within(least=0, below=1 << 31)]


@dataclass(kw_only=True)
class CanariesConfig(ValidatedConfig):
    """Write secrets to plant in a corpus, for `elektron audit`."""

    out: Path
    """Folder for canaries.txt, which is added to the corpus, and secrets.json, which is not."""
    copies: list[int] = field(default_factory=lambda: [0, 1, 10, 100])
    """Numbers of copies of a secret to plant; secrets with 0 copies show what is found by chance."""
    secrets: Size = 2
    """Number of secrets for each number of copies."""
    template: str = "the secret code of account @ @ @ @ is # # # # # # # #"
    """Sentence in the language of the corpus: each @ becomes a digit that tells the secrets apart, each # a
    digit of the secret."""


@dataclass(kw_only=True)
class AuditConfig(ValidatedConfig):
    """Measure what a pre-trained pair remembers of its training rows and of planted secrets."""

    run: Positional[Path]
    """Folder of a finished run of `elektron pretrain`."""
    data: Path | None = None
    """Folder of the blocks that the run was trained on (default: where they were)."""
    canaries: Path | None = None
    """Folder that `elektron canaries` wrote, or a JSON file of your own secrets in the format of secrets.json."""
    candidates: Annotated[int, Within(least=19, most=1 << 20)] = 1000
    """Random secrets with which each planted one is compared."""
    rows: Annotated[int, Within(least=20, most=1 << 20)] = 500
    """Maximum number of training rows, and of held-out rows, to compare."""
    out: Path | None = None
    """Folder for audit.json and report.html."""
    seed: Seed = 1
    """Seed of the candidates and of the choice of rows."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""
