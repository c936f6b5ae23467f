from typing import Any

from elektron.configuration import to_flat_dict
from elektron.estimate.config import EstimateConfig
from elektron.pretraining.config import CheckpointConfig, EvaluationConfig, NetworkConfig, PretrainConfig
from elektron.recipes import with_recipe
from tests.pretraining.conftest import TINY

SHALLOW = TINY | {"embedding_size": 32, "generator_width": 1.0, "generator_layers": 1, "num_hidden_layers": 2}


def tiny(**changes: Any) -> EstimateConfig:
    """A tiny run without blocks."""
    settings: dict[str, Any] = {
        "steps": 12,
        "batch_size": 8,
        "log_every": 4,
        "vocab_size": 90,
        "seq_len": 32,
        "network": NetworkConfig(**TINY),
        "evaluation": EvaluationConfig(every=6, rows=16),
        "checkpoint": CheckpointConfig(every=6, keep=2),
    }
    return EstimateConfig(**(settings | changes))


def estimate_of(config: PretrainConfig, **options: Any) -> EstimateConfig:
    """The configuration that estimates a run."""
    return with_recipe(EstimateConfig, None, to_flat_dict(config) | options)
