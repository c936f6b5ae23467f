"""`--parallel fsdp`: both networks are sharded over the ranks by torch's `fully_shard` (FSDP2).

Each rank keeps a shard of every parameter, gradient and moment. An encoder layer is gathered for its own passes;
embeddings and heads, some of which the networks share, are one group that is gathered while the objective runs
(`Pair.forward`).

Gradients are summed, not averaged, because the losses are divided by global counts already. They are reduced after
each micro-batch, so that no rank holds the whole gradients of a network; therefore all ranks take the same number of
micro-batches (`BatchMaker`).

Under bf16, layers are gathered in bf16, as autocast would cast their matrices and biases anyway, and gradients are
reduced in fp32. Norms, embeddings and heads are gathered in fp32. The optimizers' state is fp32.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from elektron.device import Device
from elektron.models.pair import Pair
from elektron.pretraining.distributed import World


def shard(pair: Pair, on: Device, world: World) -> None:
    """Shard both networks over the ranks. Call it after the last change of the parameters, before the optimizers."""
    mesh = init_device_mesh(on.device.type, (world.size,))
    # Autocast casts inputs where they are used; uniform numbers and weights must not be rounded.
    fp32 = mixed = MixedPrecisionPolicy(cast_forward_inputs=False)
    if on.dtype != torch.float32:
        mixed = MixedPrecisionPolicy(on.dtype, torch.float32, cast_forward_inputs=False)
    for layer in pair.encoder_layers():
        norms: list[nn.Module] = [m for m in layer.modules() if isinstance(m, nn.LayerNorm)]
        if mixed is not fp32 and norms:
            fully_shard(norms, mesh=mesh, mp_policy=fp32)
        fully_shard(layer, mesh=mesh, mp_policy=mixed)
    fully_shard(pair, mesh=mesh, mp_policy=fp32)
    for module in pair.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction


def reshard(pair: Pair) -> None:
    """Free the gathered parameters after forward passes without a backward pass."""
    if isinstance(pair, FSDPModule):
        pair.reshard()
