"""The settings of `elektron report`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elektron.configuration import Positional, ValidatedConfig


@dataclass
class ReportConfig(ValidatedConfig):
    """Write a self-contained HTML report on pre-training runs, or on fine-tuned models."""

    runs: Positional[list[Path]]
    """Folders written by `elektron pretrain`, or by `elektron finetune`; several are compared."""
    out: Path | None = None
    """HTML file to write (default: report.html in the folder; for several, comparison.html in the current folder)."""
