"""`--parallel fsdp`: both networks are divided among the processes, by torch's `fully_shard` (FSDP2).

Each process keeps its part of every parameter, of its gradient and of its moments. An encoder layer is
put together for its own passes; embeddings and heads, of which the networks share some, are one group
that is whole while an objective works with the pair (`Pair.forward`). Rows, masks, counts and updates
are those of `processes.py`.

Gradients are summed, not averaged: the losses are divided by the counts of all rows already. They are
summed after each micro-batch, so that no process ever has whole gradients of a network. So all must
take as many micro-batches as the one with most (`BatchMaker`).

Under bf16 layers travel in bf16, which is what autocast would make of their matrices and biases anyway
(and would keep until the backward pass), and gradients are summed in fp32. Their norms, which autocast
leaves alone, travel in fp32, and so do embeddings and heads, which it rounds where they are multiplied.
What the optimizers hold is fp32.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from elektron.device import Device
from elektron.models.pair import Pair
from elektron.pretraining.processes import Processes


def shard(pair: Pair, on: Device, processes: Processes) -> None:
    """Divide the networks among several processes; alone, one keeps all.

    Before: everything that changes which parameters there are. After: the optimizers.
    """
    if not processes.several:
        return
    mesh = init_device_mesh(on.device.type, (processes.count,))
    # Autocast casts what goes in where it is used; uniform numbers and weights must not be rounded.
    exact = rounded = MixedPrecisionPolicy(cast_forward_inputs=False)
    if on.dtype != torch.float32:
        rounded = MixedPrecisionPolicy(on.dtype, torch.float32, cast_forward_inputs=False)
    for layer in pair.encoder_layers():
        norms: list[nn.Module] = [m for m in layer.modules() if isinstance(m, nn.LayerNorm)]
        if rounded is not exact and norms:
            fully_shard(norms, mesh=mesh, mp_policy=exact)
        fully_shard(layer, mesh=mesh, mp_policy=rounded)
    fully_shard(pair, mesh=mesh, mp_policy=exact)
    for module in pair.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other


def put_away(pair: Pair) -> None:
    """Divide again what is whole after passes that no backward pass followed."""
    if isinstance(pair, FSDPModule):
        pair.reshard()
