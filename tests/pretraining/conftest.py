from pathlib import Path
from typing import Any

from elektron.pretraining.config import (
    CheckpointConfig,
    EvaluationConfig,
    NetworkConfig,
    PretrainConfig,
)

TINY = {
    "layers": 1,
    "hidden": 32,
    "feed_forward": 64,
    "heads": 2,
    "embedding": 16,
    "generator_width": 0.5,
    "max_positions": 64,
}


def tiny_config(data: Path, out: Path, **changes: Any) -> PretrainConfig:
    """A run of a second or two."""
    settings = {
        "steps": 12,
        "batch": 8,
        "log_every": 4,
        "network": NetworkConfig(**TINY),
        "evaluation": EvaluationConfig(every=6, rows=16),
        "checkpoint": CheckpointConfig(every=6, keep=2),
    } | changes
    return PretrainConfig(data=data, out=out, **settings)
