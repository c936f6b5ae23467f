"""What `elektron estimate` can be told: all that `elektron pretrain` can, and what only an estimate asks.

Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from elektron.configuration import AboveZero, Size, VocabSize, Within
from elektron.pretraining.config import PretrainConfig

HEADROOM = 0.1
"""Share of a device's memory that is left free, for its own needs and gaps between tensors."""


@dataclass(kw_only=True)
class EstimateConfig(PretrainConfig):
    """Say before a pre-training what it will cost; takes every option of `elektron pretrain`."""

    vocab_size: VocabSize | None = None
    """Entries in the vocabulary, where there are no blocks yet."""
    seq_len: Annotated[int, Within(above=2, most=1 << 20)] | None = None
    """Tokens in a row, where there are no blocks yet."""
    devices: Size | None = None
    """Devices that share each batch, and under `--parallel fsdp` the networks too (default: nproc, or 1)."""
    target: Literal["cpu", "gpu"] | None = None
    """Kind of device to count for (default: this machine's)."""
    memory_per_device: str | None = None
    """Memory of a device, such as 16GB or 80GiB: says whether the run fits, and what would."""
    throughput: AboveZero[float] | None = None
    """Tokens a second on one device, to tell the hours."""
    probe: bool = False
    """Measure tokens a second and memory here, in about half a minute."""
