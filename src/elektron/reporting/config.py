"""The settings of `elektron report`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elektron.configuration import Positional, ValidatedConfig


@dataclass
class ReportConfig(ValidatedConfig):
    """Show runs, or fine-tuned models, in one HTML file that needs nothing else."""

    runs: Positional[list[Path]]
    """Folders that `elektron pretrain` wrote, or `elektron finetune`; several are compared."""
    out: Path | None = None
    """HTML file to write (default: report.html in the folder; of several, comparison.html in the current directory)."""
