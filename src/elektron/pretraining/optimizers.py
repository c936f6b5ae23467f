"""AdamW, or Muon with AdamW, over both networks, and the schedule of their rates.

`adamw` can leave out Adam's bias correction, as the official ELECTRA code does. `muon` gives the
matrices inside the encoder layers to Muon (`elektron.muon`) and everything else, embeddings and heads
included, to AdamW. Weight decay falls on matrices only, and not on those whose norm is kept constant.

Together or apart: usually one loss, λ times the discriminator's and the generator's, moves everything,
and one norm clips it, as in the official code. Apart (Dong et al. 2023), each network has its own
optimizer, rate and clipping, and what they share is moved by each loss in turn, with moments for
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

from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.models.shards import divided_like, whole
from elektron.muon import Muon
from elektron.pretraining.config import OptimizerConfig
from elektron.pretraining.processes import Processes

COUNT = "step"
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_
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
    """The optimizers of a pair, which step together, and their state under the parameters' names."""

    def __init__(
        self, pair: Pair, config: OptimizerConfig, muon_dtype: torch.dtype = torch.float32
    ) -> None:
        assert config.name is not None
        assert config.lr is not None
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
        if config.separate:
            rates = {DISCRIMINATOR: config.lr, GENERATOR: config.generator_lr or config.lr}
            self.parts = [
                NetworkOptimizer({name: parameters}, options, config, rates[name])
                for name, parameters in networks.items()
                if parameters
            ]
        else:
            self.parts = [NetworkOptimizer(networks, options, config, config.lr)]

    def backward(self, generator_loss: Tensor | None, discriminator_loss: Tensor | None) -> None:
        """Add the losses' gradients to what the next step will follow."""
        losses = {GENERATOR: generator_loss, DISCRIMINATOR: discriminator_loss}
        for part in self.parts:
            own = [loss for name in part.networks if (loss := losses[name]) is not None]
            if own:
                part.backward(torch.stack(own).sum())

    def step(
        self, rate: float, processes: Processes | None = None, allowed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Clip, update at `rate` times the peak rates, clear gradients; the norms before clipping, by network.

        Gradients become the sums of all `processes`'. Embeddings that are shared are counted with the
        discriminator, unless the networks are apart.

        Where a gradient is no finite number, nothing is updated, neither weights nor moments: the
        norms say so, which are then no finite numbers either. Nor is it where `allowed` is false.
        A network that got no gradient stays as it is and has a norm of 0.
        """
        norms: dict[str, Tensor] = {}
        for part in self.parts:
            if processes is not None:
                processes.sum_gradients(part.parameters, part.gradients)
            norms |= part.norms()
        keep = torch.isfinite(torch.stack(list(norms.values()))).all()
        if allowed is not None:
            keep &= allowed
        for part in self.parts:
            part.step(rate, norms, keep)
        zero = torch.zeros((), device=keep.device)
        return {name: norms.get(name, zero) for name in (GENERATOR, DISCRIMINATOR)}

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state, named `optimizer|parameter|key`."""
        return {
            f"{number}|{self.names[parameter]}|{key}": value
            for number, optimizer in enumerate(self.optimizers())
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Take over a state as `state_tensors` gave it, of whole tensors, in the place of any other.

        Raises:
            ValueError: it is not the state of these optimizers. What is no moment of a parameter would
                have a fused step read and write where nothing of its belongs.
        """
        for part in self.parts:
            part.forget()
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
                raise ValueError(f"{name} is of another optimizer")
            state, parameter, key = places[name]
            shape = torch.Size() if key == COUNT else parameter.shape
            refuse_unlike(name, value, shape, torch.float32 if key == COUNT else parameter.dtype)
            state[key] = (
                value.to(parameter.device) if key == COUNT else divided_like(value, parameter)
            )
            taken.add(name)
        for name, (state, _, _) in places.items():
            if state and name not in taken:
                raise ValueError(f"{name} is missing")

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All of them, always in the same order."""
        return [optimizer for part in self.parts for optimizer in part.optimizers]


@dataclass(frozen=True)
class MuonOptions:
    """Which matrices Muon takes, if any, and how."""

    parts: dict[nn.Parameter, int]
    """Its parameters, and how many matrices each is stacked from."""
    dtype: torch.dtype
    """Of its iterations."""
    constant_norm: bool
    """Whether matrices keep the norm that they start with."""


class NetworkOptimizer:
    """AdamW, or Muon and AdamW, for one network or both, and the gradients that are meant for it."""

    def __init__(
        self,
        networks: dict[str, list[nn.Parameter]],
        muon: MuonOptions,
        config: OptimizerConfig,
        lr: float,
    ) -> None:
        self.clip = config.clip
        self.bias_correction = config.bias_correction
        # What both have is counted with the first that has it.
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
                    lr=config.muon_lr,
                    weight_decay=0.0 if muon.constant_norm else config.weight_decay,
                    constant_norm=muon.constant_norm,
                    dtype=muon.dtype,
                )
            )
        for group in self.groups():
            group["peak_lr"] = group["lr"]
        self.forget()

    def forget(self) -> None:
        """Have no moments, as before the first step."""
        for optimizer in self.optimizers:
            optimizer.state.clear()
        if not self.bias_correction:
            leave_out_bias_correction(self.optimizers[0])

    def groups(self) -> Iterable[dict[str, Any]]:
        """All parameter groups."""
        return (group for optimizer in self.optimizers for group in optimizer.param_groups)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those kept here, out of reach of another optimizer's."""
        for parameter in self.parameters:
            parameter.grad = self.gradients.pop(parameter, None)
        loss.backward()
        for parameter in self.parameters:
            if parameter.grad is not None:
                self.gradients[parameter] = parameter.grad
                parameter.grad = None

    def norms(self) -> dict[str, Tensor]:
        """The norm of what each network got, if it got anything."""
        return {
            name: whole(get_total_norm(found))
            for name, parameters in self.networks.items()
            if (found := [self.gradients[p] for p in parameters if p in self.gradients])
        }

    def step(self, rate: float, norms: dict[str, Tensor], keep: Tensor) -> None:
        """Clip by the joint norm and update what got a gradient, if `keep`, a boolean on the device.

        Both are done inside the optimizers' own kernels, as for gradients that a `GradScaler` has scaled:
        nothing is copied, and nothing waits for the device.
        """
        if not self.gradients:
            return
        for parameter, gradient in self.gradients.items():
            parameter.grad = gradient
        own = torch.stack([norms[name] for name in self.networks if name in norms])
        excess = (torch.linalg.vector_norm(own) + CLIP_EPS) / self.clip
        for group in self.groups():
            group["lr"] = group["peak_lr"] * rate
        for optimizer in self.optimizers:
            # Both kinds read these, as from a `GradScaler`, in fp32.
            vars(optimizer).update(
                grad_scale=excess.clamp(min=1.0).float(), found_inf=(~keep).float()
            )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.gradients.clear()


# What each keeps of a parameter once that has had a gradient.
STATE_OF: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: (COUNT, "exp_avg", "exp_avg_sq"),
    Muon: ("momentum_buffer",),
}


def refuse_unlike(name: str, value: Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
    """Raise ValueError for a tensor of another shape or type."""
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
