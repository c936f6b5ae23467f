"""AdamW with a rate for each layer: the top learns at the peak rate, each layer below at a share of the one above.

Layer-wise decay is the paper's (Clark et al. 2020, §3.1): the head and whatever else is new learn
at the peak rate, the top layer of the encoder at `layer_decay` times it, and so on down to the
embeddings. (The official code decays the top layer twice, which its author calls a bug.)
"""

from __future__ import annotations

import re

import torch
from torch import nn
from transformers import PreTrainedModel

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.tasks.base import encoder_of

LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")


def make_optimizer(model: PreTrainedModel, config: FinetuneConfig) -> torch.optim.AdamW:
    """The optimizer of a resolved configuration; weight decay falls on matrices only."""
    assert config.learning_rate is not None
    assert config.layer_decay is not None
    assert config.weight_decay is not None
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, share in rate_shares(model, config.layer_decay):
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((config.learning_rate * share, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        eps=1e-6,
        fused=True,
    )


def rate_shares(model: PreTrainedModel, decay: float) -> list[tuple[nn.Parameter, float]]:
    """Every parameter that learns, and at which share of the peak rate."""
    layers = layer_numbers(encoder_of(model))
    top = max(layers.values(), default=-1) + 1
    return [
        (parameter, decay ** (top - layers[parameter]) if parameter in layers else 1.0)
        for parameter in model.parameters()
        if parameter.requires_grad
    ]


def layer_numbers(encoder: nn.Module) -> dict[nn.Parameter, int]:
    """The layer of each of an encoder's parameters, from 0.

    Embeddings and what else comes before the layers have −1; what comes after belongs to the last.
    """
    numbers: dict[nn.Parameter, int] = {}
    layer = -1
    for name, parameter in encoder.named_parameters():
        if found := LAYER.search(name):
            layer = int(found.group(1))
        numbers[parameter] = layer
    return numbers
