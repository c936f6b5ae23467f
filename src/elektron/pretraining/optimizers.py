"""AdamW, or Muon with AdamW, over both networks.

`adamw` can leave out Adam's bias correction, as the official ELECTRA code does. `muon` gives the
matrices inside the encoder layers to Muon (`elektron.muon`) and everything else, embeddings and heads
included, to AdamW. Weight decay applies to matrices only, except those whose norm is kept constant.

Together or apart: usually one loss, λ times the discriminator's and the generator's, moves everything,
and one norm clips it, as in the official code. Apart (Dong et al. 2023), each network has its own
optimizer, rate and clipping, and what they share is moved by each loss in roles, with moments for
each: then λ weighs nothing against the generator.

Parameters may be divided among processes (`sharding.py`); so are then gradients and moments. AdamW
needs no more than the parts, Muon puts matrix by matrix together. Norms are those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from elektron.models.dtensors import distribute_like, full_tensor
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.muon import Muon
from elektron.pretraining.config import OptimizerConfig
from elektron.pretraining.distributed import World

COUNT = "step"
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_
# Adam's correction 1 - β^step is 1 in fp32 from here on.
STEP_WITHOUT_CORRECTION = 1e9


class PairOptimizer:
    """The optimizers of both networks, which step together, and their state under the parameters' names."""

    def __init__(
        self, pair: Pair, config: OptimizerConfig, muon_dtype: torch.dtype = torch.float32
    ) -> None:
        assert config.name is not None
        assert config.learning_rate is not None
        self.names: dict[Tensor, str] = {p: name for name, p in pair.named_parameters()}
        networks = {
            name: [p for p in pair.parameters_of(name) if p.requires_grad]
            for name in (DISCRIMINATOR, GENERATOR)
        }
        matrices = encoder_matrices(pair) if config.name == "muon" else {}
        families = (pair.family, pair.generator_family)
        constant_norm = all(family.scale_invariant for family in families)
        options = MuonOptions(matrices, muon_dtype, constant_norm)
        self.parts: list[NetworkOptimizer]
        if config.separate_optimizers:
            rates = {
                DISCRIMINATOR: config.learning_rate,
                GENERATOR: config.generator_learning_rate or config.learning_rate,
            }
            self.parts = [
                NetworkOptimizer({name: parameters}, options, config, rates[name])
                for name, parameters in networks.items()
                if parameters
            ]
        else:
            self.parts = [NetworkOptimizer(networks, options, config, config.learning_rate)]

    def backward(self, generator_loss: Tensor | None, discriminator_loss: Tensor | None) -> None:
        """Accumulate the gradients of the losses for the next step."""
        losses = {GENERATOR: generator_loss, DISCRIMINATOR: discriminator_loss}
        for part in self.parts:
            own = [loss for name in part.networks if (loss := losses[name]) is not None]
            if own:
                part.backward(torch.stack(own).sum())

    def step(
        self, rate: float, world: World | None = None, allowed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """All-reduce and clip the gradients, update the parameters, clear the gradients.

        Where a gradient is non-finite or `allowed` is false, neither parameters nor moments are updated.

        Args:
            rate: the factor on the peak learning rates.
            world: the ranks whose gradients are summed.
            allowed: whether to update, `()` on the device.

        Returns:
            Gradient norms before clipping, by network: 0 without gradients, non-finite where a gradient is. Shared
            embeddings count as the discriminator's, unless optimizers are separate.
        """
        norms: dict[str, Tensor] = {}
        for part in self.parts:
            if world is not None:
                world.all_reduce_gradients(part.parameters, part.gradients)
            norms |= part.norms()
        update = torch.isfinite(torch.stack(list(norms.values()))).all()
        if allowed is not None:
            update &= allowed
        for part in self.parts:
            part.step(rate, norms, update)
        zero = torch.zeros((), device=update.device)
        return {name: norms.get(name, zero) for name in (GENERATOR, DISCRIMINATOR)}

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state, as `optimizer|parameter|key`."""
        return {
            f"{number}|{self.names[parameter]}|{key}": value
            for number, optimizer in enumerate(self.optimizers())
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Load a state of whole tensors, as `state_tensors` returned it.

        Raises:
            ValueError: it is not the state of these optimizers. A tensor of another shape would make a fused step
                read and write out of bounds.
        """
        for part in self.parts:
            part.reset()
        places = {
            f"{number}|{self.names[parameter]}|{key}": (optimizer.state[parameter], parameter, key)
            for number, optimizer in enumerate(self.optimizers())
            for group in optimizer.param_groups
            for parameter in group["params"]
            for key in STATE_OF[type(optimizer)]
        }
        taken: set[str] = set()
        for name, value in tensors:
            if name not in places:
                raise ValueError(f"{name} belongs to another optimizer")
            state, parameter, key = places[name]
            shape = torch.Size() if key == COUNT else parameter.shape
            refuse_unlike(name, value, shape, torch.float32 if key == COUNT else parameter.dtype)
            state[key] = (
                value.to(parameter.device) if key == COUNT else distribute_like(value, parameter)
            )
            taken.add(name)
        for name, (state, _, _) in places.items():
            if state and name not in taken:
                raise ValueError(f"{name} is missing")

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All optimizers, in a fixed order."""
        return [optimizer for part in self.parts for optimizer in part.optimizers]


@dataclass(frozen=True)
class MuonOptions:
    """Which matrices Muon updates, if any, and how."""

    parts: dict[nn.Parameter, int]
    """Muon's parameters, and how many matrices each is stacked from."""
    dtype: torch.dtype
    """dtype of its iterations."""
    constant_norm: bool
    """Whether matrices update their initial norm."""


class NetworkOptimizer:
    """AdamW, or Muon and AdamW, for one network or both, and the gradients for them."""

    def __init__(
        self,
        networks: dict[str, list[nn.Parameter]],
        muon: MuonOptions,
        config: OptimizerConfig,
        lr: float,
    ) -> None:
        self.max_grad_norm = config.max_grad_norm
        self.bias_correction = config.bias_correction
        # Shared parameters count as the first network's.
        seen: set[nn.Parameter] = set()
        self.networks: dict[str, list[nn.Parameter]] = {}
        for name, parameters in networks.items():
            self.networks[name] = [p for p in parameters if p not in seen]
            seen |= set(parameters)
        self.parameters = [p for parameters in self.networks.values() for p in parameters]
        self.gradients: dict[nn.Parameter, Tensor] = {}
        rest = [p for p in self.parameters if p not in muon.parts]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                decay_groups(rest, config.weight_decay),
                lr=lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                fused=True,
            )
        ]
        if len(rest) < len(self.parameters):
            groups: dict[int, list[nn.Parameter]] = {}
            for parameter in self.parameters:
                if parameter in muon.parts:
                    groups.setdefault(muon.parts[parameter], []).append(parameter)
            self.optimizers.append(
                Muon(
                    [{"params": found, "parts": parts} for parts, found in groups.items()],
                    lr=config.muon_learning_rate,
                    weight_decay=0.0 if muon.constant_norm else config.weight_decay,
                    constant_norm=muon.constant_norm,
                    dtype=muon.dtype,
                )
            )
        for group in self.groups():
            group["peak_lr"] = group["lr"]
        self.reset()

    def reset(self) -> None:
        """Clear the state, as before the first step."""
        for optimizer in self.optimizers:
            optimizer.state.clear()
        if not self.bias_correction:
            leave_out_bias_correction(self.optimizers[0])

    def groups(self) -> Iterable[dict[str, Any]]:
        """All parameter groups."""
        return (group for optimizer in self.optimizers for group in optimizer.param_groups)

    def backward(self, loss: Tensor) -> None:
        """Accumulate a loss's gradients here, apart from those of another optimizer."""
        for parameter in self.parameters:
            parameter.grad = self.gradients.pop(parameter, None)
        loss.backward()
        for parameter in self.parameters:
            if parameter.grad is not None:
                self.gradients[parameter] = parameter.grad
                parameter.grad = None

    def norms(self) -> dict[str, Tensor]:
        """The gradient norm of each network that has gradients."""
        return {
            name: full_tensor(get_total_norm(found))
            for name, parameters in self.networks.items()
            if (found := [self.gradients[p] for p in parameters if p in self.gradients])
        }

    def step(self, rate: float, norms: dict[str, Tensor], update: Tensor) -> None:
        """Clip by the joint norm and update the parameters with gradients, if `keep`, a boolean on the device.

        Both are done inside the optimizers' own kernels, as for gradients that a `GradScaler` has scaled:
        nothing is copied, and nothing waits for the device.
        """
        if not self.gradients:
            return
        for parameter, gradient in self.gradients.items():
            parameter.grad = gradient
        own = torch.stack([norms[name] for name in self.networks if name in norms])
        excess = (torch.linalg.vector_norm(own) + CLIP_EPS) / self.max_grad_norm
        for group in self.groups():
            group["lr"] = group["peak_lr"] * rate
        for optimizer in self.optimizers:
            # Both optimizers read these in fp32, as from a `GradScaler`.
            vars(optimizer).update(
                grad_scale=excess.clamp(min=1.0).float(), found_inf=(~update).float()
            )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.gradients.clear()


# The state of a parameter that has had a gradient.
STATE_OF: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: (COUNT, "exp_avg", "exp_avg_sq"),
    Muon: ("momentum_buffer",),
}


def refuse_unlike(name: str, value: Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
    """Raise ValueError for a tensor of another shape or dtype."""
    if value.shape != shape or value.dtype != dtype:
        there = f"{value.dtype} {tuple(value.shape)}"
        raise ValueError(f"{name} is {there} and should be {dtype} {tuple(shape)}")


def encoder_matrices(pair: Pair) -> dict[nn.Parameter, int]:
    """The two-dimensional parameters inside the encoder layers, and how many matrices each is stacked from."""
    return {
        parameter: getattr(module, "parts", 1)
        for layer in pair.encoder_layers()
        for module in layer.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    }


def decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups with weight decay for matrices, and without for norms and biases."""
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
