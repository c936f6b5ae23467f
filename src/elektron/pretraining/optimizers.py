"""AdamW, or Muon with AdamW, over both networks.

`adamw` can leave out Adam's bias correction, as the official ELECTRA code does. `muon` updates the matrices inside
the encoder layers by Muon (`elektron.muon`) and everything else, including embeddings and heads, by AdamW. Weight
decay applies to matrices only, except those whose norm is kept constant.

Both losses are summed, and clipping uses the gradient norm of all parameters, as in the official code.

Parameters may be sharded over the ranks (`distributed.py`), and gradients and moments with them. AdamW works on the
shards, Muon gathers one matrix at a time. Norms are global.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from elektron.models.dtensors import distribute_like, full_tensor
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.muon import Muon
from elektron.pretraining.config import OptimizerConfig
from elektron.pretraining.distributed import World

CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_
STEP_WITHOUT_CORRECTION = 1e9  # Adam's correction 1 - β^step is 1 in fp32 from here on
STATE_OF: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    Muon: ("momentum_buffer",),
}
"""Keys of the optimizer's state of a parameter that has been updated."""


class PairOptimizer:
    """AdamW, or Muon and AdamW, over both networks."""

    def __init__(self, pair: Pair, config: OptimizerConfig, muon_dtype: torch.dtype = torch.float32) -> None:
        assert config.learning_rate is not None
        self.max_grad_norm, self.bias_correction = config.max_grad_norm, config.bias_correction
        self.names: dict[Tensor, str] = {p: name for name, p in pair.named_parameters()}
        discriminator = dict.fromkeys(pair.parameters_of(DISCRIMINATOR))
        generator = [p for p in pair.parameters_of(GENERATOR) if p not in discriminator]
        self.networks = {
            name: [p for p in parameters if p.requires_grad]
            for name, parameters in ((DISCRIMINATOR, discriminator), (GENERATOR, generator))
        }
        """The trained parameters of each network; shared ones count as the discriminator's."""
        self.parameters = [p for parameters in self.networks.values() for p in parameters]
        matrices = encoder_matrices(pair) if config.name == "muon" else {}
        adamw_parameters = [p for p in self.parameters if p not in matrices]
        new_heads = pair.new_heads() if config.head_learning_rate else set()
        adamw_groups: list[dict[str, Any]] = [
            {
                "params": parameters,
                "lr": config.head_learning_rate if is_new else config.learning_rate,
                "weight_decay": config.weight_decay if is_matrix else 0.0,  # none for norms and biases
            }
            for is_new in (False, True)
            for is_matrix in (True, False)
            if (parameters := [p for p in adamw_parameters if (p in new_heads, p.ndim >= 2) == (is_new, is_matrix)])
        ]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                adamw_groups,
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                fused=True,
            )
        ]
        by_parts: dict[int, list[nn.Parameter]] = defaultdict(list)
        for parameter in self.parameters:
            if parameter in matrices:
                by_parts[matrices[parameter]].append(parameter)
        if by_parts:
            constant_norm = pair.family.scale_invariant  # a generator of another family is not trained
            self.optimizers.append(
                Muon(
                    [{"params": stacked, "parts": parts} for parts, stacked in by_parts.items()],
                    lr=config.muon_learning_rate,
                    weight_decay=0.0 if constant_norm else config.weight_decay,
                    constant_norm=constant_norm,
                    dtype=muon_dtype,
                )
            )
        for group in self._groups():
            group["peak_lr"] = group["lr"]
        self.reset()

    def step(self, rate: float, world: World | None = None, allowed: Tensor | None = None) -> dict[str, Tensor]:
        """All-reduce and clip the gradients, update the parameters, clear the gradients.

        Where a gradient is non-finite or `allowed` is false, neither parameters nor moments are updated. Both this and
        clipping happen inside the optimizers' kernels, through the attributes that a `GradScaler` sets: no gradient is
        copied, and the host does not wait for the device.

        Args:
            rate: the factor on the peak learning rates.
            world: the ranks whose gradients are summed.
            allowed: whether to update, `()` on the device.

        Returns:
            Gradient norms before clipping, by network: 0 without gradients, non-finite where a gradient is. Shared
            embeddings count as the discriminator's.
        """
        if world is not None:
            world.all_reduce_gradients(self.parameters)
        norms = {
            name: full_tensor(get_total_norm(gradients))
            for name, parameters in self.networks.items()
            if (gradients := [p.grad for p in parameters if p.grad is not None])
        }
        stacked = torch.stack(list(norms.values()))
        update = torch.isfinite(stacked).all()
        if allowed is not None:
            update &= allowed
        excess = (torch.linalg.vector_norm(stacked) + CLIP_EPS) / self.max_grad_norm
        for group in self._groups():
            group["lr"] = group["peak_lr"] * rate
        for optimizer in self.optimizers:
            vars(optimizer).update(grad_scale=excess.clamp(min=1.0).float(), found_inf=(~update).float())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        zero = torch.zeros((), device=update.device)
        return {name: norms.get(name, zero) for name in (GENERATOR, DISCRIMINATOR)}

    def reset(self) -> None:
        """Clear the state, as before the first step."""
        for optimizer in self.optimizers:
            optimizer.state.clear()
        if not self.bias_correction:
            # AdamW's step counter starts where its bias correction is 1.
            adamw = self.optimizers[0]
            for parameter in (p for group in adamw.param_groups for p in group["params"]):
                device = parameter.device if parameter.device.type == "cuda" else "cpu"
                adamw.state[parameter] = {
                    "step": torch.tensor(STEP_WITHOUT_CORRECTION, device=device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state, as `optimizer|parameter|key`."""
        return {
            f"{number}|{self.names[parameter]}|{key}": value
            for number, optimizer in enumerate(self.optimizers)
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Load a state of whole tensors, as `state_tensors` returned it.

        Raises:
            ValueError: it is not the state of these optimizers. A tensor of another shape would make a fused step
                read and write out of bounds.
        """
        self.reset()
        expected = {
            f"{number}|{self.names[parameter]}|{key}": (optimizer.state[parameter], parameter, key)
            for number, optimizer in enumerate(self.optimizers)
            for group in optimizer.param_groups
            for parameter in group["params"]
            for key in STATE_OF[type(optimizer)]
        }
        loaded: set[str] = set()
        for name, value in tensors:
            if name not in expected:
                raise ValueError(f"{name} belongs to another optimizer")
            state, parameter, key = expected[name]
            if key == "step":
                check_tensor(name, value, torch.Size(), torch.float32)
                state[key] = value.to(parameter.device)
            else:
                check_tensor(name, value, parameter.shape, parameter.dtype)
                state[key] = distribute_like(value, parameter)
            loaded.add(name)
        for name, (state, _, _) in expected.items():
            if state and name not in loaded:
                raise ValueError(f"{name} is missing")

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for optimizer in self.optimizers for group in optimizer.param_groups)


def check_tensor(name: str, value: Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
    """Raise ValueError for a tensor of another shape or dtype."""
    if value.shape != shape or value.dtype != dtype:
        raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)} and should be {dtype} {tuple(shape)}")


def encoder_matrices(pair: Pair) -> dict[nn.Parameter, int]:
    """The two-dimensional parameters inside the encoder layers, and how many matrices each is stacked from."""
    return {
        parameter: getattr(module, "parts", 1)
        for layer in pair.encoder_layers()
        for module in layer.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    }
