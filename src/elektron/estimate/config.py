"""The options of `elektron estimate`: those of `elektron pretrain`, and its own. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from elektron.configuration import AboveZero, Size, VocabSize, Within
from elektron.pretraining.config import PretrainConfig


@dataclass(kw_only=True)
class EstimateConfig(PretrainConfig):
    """Estimate what a pre-training run will cost; takes every option of `elektron pretrain`."""

    vocab_size: VocabSize | None = None
    """Size of the vocabulary, if there are no blocks yet."""
    seq_len: Annotated[int, Within(above=2, most=1 << 20)] | None = None
    """Tokens in a row, if there are no blocks yet."""
    devices: Size | None = None
    """Devices that share each batch, and under `--parallel fsdp` the networks (default: nproc, or 1)."""
    target: Literal["cpu", "gpu"] | None = None
    """Kind of device whose memory is counted (default: this machine's)."""
    memory_per_device: str | None = None
    """Memory of a device, such as 16GB or 80GiB, to tell whether the run fits into it."""
    throughput: AboveZero[float] | None = None
    """Tokens per second on one device, to estimate the time."""
    probe: bool = False
    """Measure speed and memory on this machine, which takes about half a minute."""
