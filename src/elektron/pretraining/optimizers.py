"""AdamW, or Muon with AdamW, over both networks, and the schedule of their rates.

`adamw` can leave out Adam's bias correction, as the official ELECTRA code does. `muon` gives the
matrices inside the encoder layers to Muon (Jordan et al. 2024; `torch.optim.Muon`) and everything
else, embeddings and heads included, to AdamW. Weight decay falls on matrices only.

Together or apart: usually one loss, λ times the discriminator's and the generator's, moves everything,
and one norm clips it, as in the official code. Apart (Dong et al. 2023), each network has its own
optimizer, rate and clipping, and what they share is moved by each loss in turn, with moments for
each: then λ weighs nothing against the generator.

Parameters may be divided among processes (`sharding.py`); so are then gradients and moments. AdamW
needs no more than the parts, Muon puts matrix by matrix together. Norms are those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.models.shards import divided, divided_like, own_part, whole
from elektron.pretraining.config import OptimizerConfig
from elektron.pretraining.processes import Processes

COUNT = "step"
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

    def __init__(self, pair: Pair, config: OptimizerConfig) -> None:
        assert config.name is not None
        assert config.lr is not None
        self.names: dict[Tensor, str] = {p: name for name, p in pair.named_parameters()}
        networks = {
            name: [p for p in pair.parameters_of(name) if p.requires_grad]
            for name in (DISCRIMINATOR, GENERATOR)
        }
        matrices = set(encoder_matrices(pair)) if config.name == "muon" else set()
        self.parts: list[NetworkOptimizer]
        if config.separate:
            rates = {DISCRIMINATOR: config.lr, GENERATOR: config.generator_lr or config.lr}
            self.parts = [
                NetworkOptimizer({name: parameters}, matrices, config, rates[name])
                for name, parameters in networks.items()
                if parameters
            ]
        else:
            self.parts = [NetworkOptimizer(networks, matrices, config, config.lr)]

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
        finite = torch.isfinite(torch.stack(list(norms.values()))).all()
        if allowed is not None:
            finite &= allowed
        for part in self.parts:
            part.step(rate, finite)
        zero = torch.zeros((), device=finite.device)
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


class NetworkOptimizer:
    """AdamW, or Muon and AdamW, for one network or both, and the gradients that are meant for it."""

    def __init__(
        self,
        networks: dict[str, list[nn.Parameter]],
        matrices: set[nn.Parameter],
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
        rest = [p for p in self.parameters if p not in matrices]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                decay_groups(rest, config.weight_decay),
                lr=lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                fused=True,
            )
        ]
        if muon_parameters := [p for p in self.parameters if p in matrices]:
            kind = MuonOfShards if divided(muon_parameters[0]) else torch.optim.Muon
            muon = kind(
                muon_parameters,
                lr=config.muon_lr,
                weight_decay=config.weight_decay,
                nesterov=True,
            )
            self.optimizers.append(muon)
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

    def step(self, rate: float, finite: Tensor) -> None:
        """Clip by the norm of all that is here, and update what got a gradient, if all is `finite`."""
        if not self.gradients:
            return
        for parameter, gradient in self.gradients.items():
            parameter.grad = gradient
        joint = torch.linalg.vector_norm(torch.stack(list(self.norms().values())))
        clip_grads_with_norm_(list(self.gradients), self.clip, joint)
        for group in self.groups():
            group["lr"] = group["peak_lr"] * rate
        if finite.device.type == "cpu":
            # Whatever has had a gradient has moments, of zeros after a first step that was skipped: a
            # checkpoint without any would look like one that has lost them.
            if finite:
                self.update()
            elif self.has_new():
                self.update_if(finite)
        else:
            self.update_if(finite)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.gradients.clear()

    def has_new(self) -> bool:
        """Whether something has a gradient for the first time."""
        return any(
            parameter.grad is not None and not optimizer.state.get(parameter)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        )

    def update(self) -> None:
        """Let the optimizers step."""
        for optimizer in self.optimizers:
            optimizer.step()

    @torch.no_grad()
    def update_if(self, finite: Tensor) -> None:
        """As `update` where `finite` is true, without asking the device: else all is put back.

        It takes a copy of weights and moments; asking would have every step wait for the device.
        """
        before = {tensor: tensor.clone() for tensor in self.changing()}
        self.update()
        for tensor in self.changing():
            # Moments that there were none of begin at 0.
            tensor.copy_(torch.where(finite, tensor, before.get(tensor, torch.zeros_like(tensor))))

    def changing(self) -> list[Tensor]:
        """The tensors that a step changes, those parts of them that are here."""
        moments = [
            value
            for optimizer in self.optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor) and value.device == self.parameters[0].device
        ]
        return [own_part(tensor) for tensor in (*self.gradients, *moments)]


class MuonOfShards(torch.optim.Muon):
    """Muon of matrices that are divided among processes.

    torch's own takes them too, but then multiplies parts in bf16 and sums the products in another
    order than those of a whole matrix: after five steps of a small network, by two processes, weights
    were 0.019 from those of undivided ones, and are 0.003 from them so.
    Here momentum stays divided, and what is to be orthogonalised is put together, in every process and
    for one matrix after the other.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self.step_of(matrix, group)

    def step_of(self, matrix: nn.Parameter, group: dict[str, Any]) -> None:
        """Update one matrix as torch's Muon does."""
        assert matrix.grad is not None
        gradient, state = matrix.grad, self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        ahead = whole(gradient.lerp(momentum, group["momentum"]))
        # What one step without momentum or decay makes of zeros is the orthogonalised update.
        update = nn.Parameter(torch.zeros_like(ahead))
        update.grad = ahead
        torch.optim.Muon(
            [update], lr=group["lr"], weight_decay=0, momentum=0, nesterov=False
        ).step()
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(divided_like(update.detach(), matrix))


# What each keeps of a parameter once that has had a gradient.
STATE_OF: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: (COUNT, "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
    MuonOfShards: ("momentum_buffer",),
}


def refuse_unlike(name: str, value: Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
    """Raise ValueError for a tensor of another shape or type."""
    if value.shape != shape or value.dtype != dtype:
        there = f"{value.dtype} {tuple(value.shape)}"
        raise ValueError(f"{name} is {there} and should be {dtype} {tuple(shape)}")


def encoder_matrices(pair: Pair) -> list[nn.Parameter]:
    """The two-dimensional parameters inside the encoder layers of both networks."""
    layers = pair.encoder_layers()
    return [p for layer in layers for p in layer.parameters() if p.ndim == 2]


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
