"""AdamW, or Muon with AdamW, with layer-wise learning rate decay.

As in the paper (Clark et al. 2020, §3.1), the head and other new weights have the peak learning rate, the
top layer of the encoder has `layer_decay` times that rate, and so on down to the embeddings. (The official
code decays the top layer twice, which its author calls a bug.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from elektron.accelerator import Accelerator
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import encoder_of
from elektron.models.elektron import ElektronModel
from elektron.models.loading import POOLER
from elektron.muon import Muon

LAYER = re.compile(r"(?:^|[._])(?:layers?|h|blocks?)\.(\d+)\.")


class ChainedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one, for schedulers and the Trainer; `step` runs them one after another.

    Args:
        optimizers: optimizers of disjoint parameters, before their first step. They share the parameter groups and
            the state of this optimizer.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Called by `load_state_dict`, with new dictionaries.
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.param_groups = list(islice(groups, len(optimizer.param_groups)))
            optimizer.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Run a step of each optimizer."""
        for optimizer in self.optimizers:
            optimizer.step()


def make_optimizer(model: PreTrainedModel, config: FinetuneConfig) -> torch.optim.Optimizer:
    """Make the optimizer of a resolved configuration. Weight decay applies to matrices only.

    Muon trains the matrices inside the layers of the encoder and of a decoder, AdamW all other parameters.
    """
    assert config.learning_rate is not None
    assert config.layer_decay is not None
    assert config.weight_decay is not None
    matrices = layer_matrices(model) if config.optimizer == "muon" else {}
    adamw: dict[tuple[float, float], list[nn.Parameter]] = {}
    muon: dict[tuple[float, int, bool], list[nn.Parameter]] = {}
    for parameter, scale in learning_rate_scales(model, config.layer_decay):
        if parameter in matrices:
            muon.setdefault((scale, *matrices[parameter]), []).append(parameter)
        else:
            decay = config.weight_decay if parameter.ndim >= 2 else 0.0
            adamw.setdefault((config.learning_rate * scale, decay), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in adamw.items()],
        eps=1e-6,
        fused=True,
    )
    if not muon:
        return optimizer
    assert config.muon_learning_rate is not None
    groups = [
        {
            "params": parameters,
            "lr": config.muon_learning_rate * scale,
            "parts": parts,
            "constant_norm": constant_norm,
            "weight_decay": 0.0 if constant_norm else config.weight_decay,
        }
        for (scale, parts, constant_norm), parameters in muon.items()
    ]
    dtype = Accelerator.choose(config.precision).muon_dtype
    return ChainedOptimizer([optimizer, Muon(groups, config.muon_learning_rate, dtype=dtype)])


def layer_matrices(model: PreTrainedModel) -> dict[torch.Tensor, tuple[int, bool]]:
    """The matrices inside the layers of the encoder and of a decoder.

    Returns:
        For each weight, the number of matrices that are stacked in it, and whether its norm has no effect on the
        output of the network.
    """
    encoder = encoder_of(model)
    networks = [encoder, model.decoder] if model.config.is_encoder_decoder else [encoder]
    return {
        module.weight: (getattr(module, "parts", 1), isinstance(network, ElektronModel))
        for network in networks
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and LAYER.search(f"{name}.")
    }


def encoder_parameters(model: PreTrainedModel) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters of the encoder without its pooler, which counts as part of the head."""
    named = encoder_of(model).named_parameters()
    return [(name, parameter) for name, parameter in named if name.partition(".")[0] != POOLER]


def freeze_encoder(model: PreTrainedModel) -> None:
    """Freeze the encoder, so that only the head is trained."""
    for _, parameter in encoder_parameters(model):
        parameter.requires_grad_(False)


def learning_rate_scales(model: PreTrainedModel, decay: float) -> list[tuple[nn.Parameter, float]]:
    """Each trainable parameter, with the factor by which the peak learning rate is multiplied.

    Embeddings and other parameters before the encoder's layers count as one layer below the first;
    parameters after the layers count as part of the last.
    """
    layers: dict[nn.Parameter, int] = {}
    layer = -1
    for name, parameter in encoder_parameters(model):
        if match := LAYER.search(name):
            layer = int(match[1])
        layers[parameter] = layer
    above_top = max(layers.values(), default=-1) + 1
    return [
        (parameter, decay ** (above_top - layers.get(parameter, above_top)))
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
