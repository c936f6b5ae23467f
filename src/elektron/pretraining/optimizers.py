"""AdamW, or Muon with AdamW, over both networks, and the schedule of their rates.

`adamw` can leave out Adam's bias correction, as the official ELECTRA code does. `muon` gives the
matrices inside the encoder layers to Muon (Jordan et al. 2024; `torch.optim.Muon`) and everything
else, embeddings and heads included, to AdamW. Weight decay falls on matrices only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from elektron.models.pair import Pair
from elektron.pretraining.config import OptimizerConfig

# Adam's correction 1 - β^step is 1 in fp32 from here on.
STEP_WITHOUT_CORRECTION = 1e9


def schedule(share: float, step: int, warmup: float, cooldown: float) -> float:
    """The factor on the peak rate: a warm-up times a linear fall to 0, both at once as in the official code.

    Args:
        share: how much of the run is done, from 0 to 1.
        step: steps done.
        warmup: below 1 a share of the run, else a number of steps.
        cooldown: last share of the run over which the rate falls.
    """
    if warmup == 0:
        warm = 1.0
    elif warmup < 1:
        warm = min(1.0, share / warmup)
    else:
        warm = min(1.0, step / warmup)
    return warm * min(1.0, (1.0 - share) / cooldown)


class PairOptimizer:
    """One or two optimizers that step together, their state under the parameters' names."""

    def __init__(self, pair: Pair, config: OptimizerConfig) -> None:
        assert config.name is not None
        assert config.lr is not None
        self.clip = config.clip
        self.names: dict[Tensor, str] = {p: name for name, p in pair.named_parameters()}
        self.networks = {
            "discriminator": list(pair.discriminator.parameters()),
            "generator": [p for name, p in pair.named_parameters() if name.startswith("generator")],
        }
        muon_parameters = set(encoder_matrices(pair)) if config.name == "muon" else set()
        rest = [parameter for parameter in pair.parameters() if parameter not in muon_parameters]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                decay_groups(rest, config.weight_decay),
                lr=config.lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                fused=True,
            )
        ]
        if not config.bias_correction:
            leave_out_bias_correction(self.optimizers[0])
        if muon_parameters:
            matrices = [p for p in pair.parameters() if p in muon_parameters]
            muon = torch.optim.Muon(
                matrices, lr=config.muon_lr, weight_decay=config.weight_decay, nesterov=True
            )
            self.optimizers.append(muon)
        for group in self.groups():
            group["peak_lr"] = group["lr"]

    def groups(self) -> Iterable[dict[str, object]]:
        """All parameter groups."""
        return (group for optimizer in self.optimizers for group in optimizer.param_groups)

    def step(self, rate: float) -> dict[str, Tensor]:
        """Clip, update at `rate` times the peak rates, clear gradients; the norms before clipping, by network.

        Embeddings are counted with the discriminator. The two networks are clipped by their joint
        norm, as in the official code.
        """
        norms = {
            network: get_total_norm([p.grad for p in parameters if p.grad is not None])
            for network, parameters in self.networks.items()
        }
        joint = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        clip_grads_with_norm_(self.names, self.clip, joint)
        for group in self.groups():
            group["lr"] = group["peak_lr"] * rate  # type: ignore[operator]
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norms

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state, named `parameter|key`."""
        return {
            f"{self.names[parameter]}|{key}": value
            for optimizer in self.optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state as `state_tensors` gave it."""
        parameters = {name: parameter for parameter, name in self.names.items()}
        owners = {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for name, value in tensors.items():
            parameter_name, key = name.split("|")
            parameter = parameters[parameter_name]
            device = "cpu" if key == "step" and parameter.device.type == "cpu" else parameter.device
            owners[parameter].state[parameter][key] = value.to(device)


def encoder_matrices(pair: Pair) -> list[nn.Parameter]:
    """The two-dimensional parameters inside the encoder layers of both networks."""
    layers = [
        network.base_model.get_submodule(pair.family.encoder_matrices)
        for network in (pair.generator, pair.discriminator)
    ]
    return [p for module in layers for p in module.parameters() if p.ndim == 2]


def decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices, none for norms and biases."""
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def leave_out_bias_correction(optimizer: torch.optim.Optimizer) -> None:
    """Start AdamW's step counter where its bias correction has become 1."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            device = parameter.device if parameter.device.type == "cuda" else "cpu"
            optimizer.state[parameter] = {
                "step": torch.tensor(STEP_WITHOUT_CORRECTION, device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
