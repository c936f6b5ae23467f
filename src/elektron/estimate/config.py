"""What `elektron estimate` can be told: all that `elektron pretrain` can, and what only an estimate asks.

Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elektron.pretraining.config import PretrainConfig


@dataclass(kw_only=True)
class EstimateConfig(PretrainConfig):
    """Say before a pre-training what it will cost; takes every option of `elektron pretrain`."""

    vocab_size: int | None = None
    """Entries in the vocabulary, where there are no blocks yet."""
    seq_len: int | None = None
    """Tokens in a row, where there are no blocks yet."""
    devices: int | None = None
    """Devices that share each batch, and under `--parallel fsdp` the networks too (default: nproc, or 1)."""
    target: Literal["cpu", "gpu"] | None = None
    """Kind of device to count for (default: this machine's)."""
    memory_per_device: str | None = None
    """Memory of a device, such as 16GB or 80GiB: says whether the run fits, and what would."""
    throughput: float | None = None
    """Tokens a second on one device, to tell the hours."""
    probe: bool = False
    """Measure tokens a second and memory here, in about half a minute."""
    json: Path | None = None
    """File for the same figures as JSON."""
