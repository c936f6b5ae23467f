"""What an estimate is asked: whether it makes sense, and what stands for blocks that are not there yet."""

from __future__ import annotations

import re

import torch

from elektron.corpus.manifest import Manifest
from elektron.errors import ElektronError
from elektron.estimate.config import EstimateConfig

SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
"""Ids of special tokens where there is no tokenizer yet: they cost the same wherever they stand."""
UNITS = {
    f"{prefix}{binary}b": base**power
    for binary, base in (("", 1000), ("i", 1024))
    for power, prefix in enumerate("kmgt", start=1)
}
SIZE = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})")


def refuse_bad_values(config: EstimateConfig) -> None:
    """Raise ElektronError for a setting of the estimate itself that makes no sense."""
    if config.data is None and (config.vocab_size is None or config.seq_len is None):
        raise ElektronError(
            "give --data, a folder of blocks, or --vocab-size and --seq-len where there are none yet"
        )
    for name in ("vocab_size", "seq_len"):
        if config.data is not None and getattr(config, name) is not None:
            raise ElektronError(
                f"--{name.replace('_', '-')} follows from the blocks: leave it or --data out"
            )
    if config.throughput is not None and config.probe:
        raise ElektronError("--throughput and --probe exclude one another: is it known or not?")
    if config.probe and config.target == "gpu" and not torch.cuda.is_available():
        raise ElektronError(
            "--probe measures this machine, which has no GPU: leave out --target gpu"
        )
    if config.probe and config.target == "cpu" and torch.cuda.is_available():
        raise ElektronError("--probe measures this machine's GPU: leave out --target cpu")
    if config.memory_per_device is not None:
        bytes_of(config.memory_per_device)


def bytes_of(size: str) -> float:
    """A size as it is typed, `16GB` or `80 GiB`, in bytes.

    Raises:
        ElektronError: it is none.
    """
    found = SIZE.fullmatch(size.strip().lower())
    if found is None or not float(found[1]):
        raise ElektronError(
            f"--memory-per-device must be a size such as 16GB or 80GiB, got {size!r}"
        )
    return float(found[1]) * UNITS[found[2]]


def manifest_of(config: EstimateConfig) -> Manifest:
    """What blocks would be like that are not there yet."""
    assert config.seq_len is not None
    assert config.vocab_size is not None
    return Manifest(
        seq_len=config.seq_len,
        packing="dense",
        vocab_size=config.vocab_size,
        tokenizer="",
        special_ids=SPECIAL_IDS,
        all_special_ids=list(SPECIAL_IDS.values()),
        corpus=[],
        options={},
    )
