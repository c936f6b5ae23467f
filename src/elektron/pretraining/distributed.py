"""Data-parallel training: the rows of each rank, the collectives of a step, and sharded networks.

Every rank takes its local rows of the global batch and holds a replica of both networks or, under FSDP, a shard of
them. Two things are summed over all ranks: the token counts that divide the losses, before the backward pass, and the
gradients, after it; so every rank makes the same update. Rows, masks and samples are functions of the global row and
do not depend on the world size.

`torchrun` starts the processes. The backend is gloo on CPUs and NCCL on GPUs. DistributedDataParallel is not used:
it expects one backward pass through all parameters, and here each of two losses may have its own.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor

from elektron.accelerator import Accelerator
from elektron.errors import AlreadyReportedError, ElektronError
from elektron.models.pair import Pair
from elektron.pretraining.batches import GlobalBatch

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
BUCKET_NUMEL = 16 * 2**20
"""Maximum number of elements of a bucket in which gradients are all-reduced: few messages, and little memory."""


class World:
    """The processes that train together, and the rank of this one."""

    def __init__(self, device: torch.device, timeout: timedelta = timedelta(minutes=10)) -> None:
        """Read rank and world size from torchrun's environment variables.

        Args:
            device: device of the tensors that are communicated.
            timeout: how long a collective waits for the other ranks.
        """
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device
        self.timeout = timeout
        self._stop: Tensor | None = None
        self._stop_copied: torch.cuda.Event | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which logs and writes files."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        return self.size > 1

    def __enter__(self) -> World:
        if self.is_distributed:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            store, _, _ = next(rendezvous("env://", self.rank, self.size, timeout=self.timeout))
            store.set_timeout(self.timeout)
            store = unique_store(store, self.rank, self.size, self.timeout)
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=self.timeout)
        return self

    def __exit__(self, *error: object) -> None:
        if self.is_distributed:
            dist.destroy_process_group()

    def local_rows(self, rows: int) -> tuple[int, int]:
        """The first row and the number of rows of this rank, out of `rows`; ranks differ by one row at most."""
        first = rows * self.rank // self.size
        return first, rows * (self.rank + 1) // self.size - first

    def max_local_rows(self, rows: int) -> int:
        """The number of rows of the rank with the most rows."""
        return -(-rows // self.size)

    def barrier(self) -> None:
        """Wait until all ranks have arrived."""
        if self.is_distributed:
            dist.barrier()

    @contextmanager
    def propagate_rank0_error(self) -> Iterator[None]:
        """If rank 0 raises an ElektronError inside the block, raise an error on every rank.

        Rank 0 logs it before it informs the others, because torchrun ends rank 0 as soon as another rank has exited;
        all exit with the same status. Collectives inside the block must come before rank 0 can fail.

        Raises:
            AlreadyReportedError: rank 0 has raised an error and logged it.
        """
        raised = None
        try:
            yield
        except ElektronError as error:
            raised = error
            if self.is_distributed and self.is_main:
                log.error("%s", error)
        if self.is_distributed and self.broadcast_scalar(float(raised is not None)):
            raise AlreadyReportedError(str(raised or "rank 0 has logged the error")) from raised
        if raised is not None:
            raise raised

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all ranks."""
        if self.is_distributed:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_scalar(self, number: float) -> float:
        """Rank 0's number."""
        if not self.is_distributed:
            return number
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def broadcast_parameters(self, module: nn.Module) -> None:
        """Copy rank 0's parameters and buffers to all ranks."""
        if self.is_distributed:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.data, 0)

    def all_reduce_counts(self, batch: GlobalBatch, stop: bool) -> GlobalBatch:
        """The local batch with the token counts of the global batch.

        The same all-reduce tells all ranks whether any rank wants to `stop`. It is read in `stop_requested`, so that
        this call does not wait for the device.
        """
        if not self.is_distributed:
            return replace(batch, masked_tokens=max(1.0, float(batch.masked_tokens)))
        numbers = [float(batch.masked_tokens), float(batch.real_tokens), float(stop)]
        counts = torch.tensor(numbers, dtype=torch.float64)
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            counts = counts.pin_memory().to(self.device, non_blocking=True)
        dist.all_reduce(counts)
        self._stop = counts[2].to("cpu", non_blocking=True)
        if on_gpu:
            self._stop_copied = torch.cuda.Event()
            self._stop_copied.record()
        masked, real = counts[0].clamp(min=1).float(), counts[1].float()
        return replace(batch, masked_tokens=masked, real_tokens=real)

    def stop_requested(self, stop: bool) -> bool:
        """Whether to stop: `stop` on a single process, else whether any rank requested it with the last batch."""
        if not self.is_distributed:
            return stop
        if self._stop is None:
            return False
        if self._stop_copied is not None:
            # The copy was queued before the kernels of the step, which keep running.
            self._stop_copied.synchronize()
        return bool(self._stop > 0)

    def all_reduce_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all ranks; every rank has gradients for the same parameters.

        Gradients of sharded parameters (DTensors) have been reduced in the backward pass.
        """
        if not self.is_distributed:
            return
        gradients = [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
        for bucket in gradient_buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            sums = flat.split([gradient.numel() for gradient in bucket])
            for gradient, summed in zip(bucket, sums, strict=True):
                gradient.copy_(summed.view_as(gradient))


def unique_store(store: Store, rank: int, size: int, timeout: timedelta) -> PrefixStore:
    """The part of torchrun's store that belongs to this start of the processes.

    torchrun keeps one store over all restarts, and in it torch 2.13 finds the addresses of processes that have died: a
    rank that restarted faster than the others connected to those, or waited for them. So every start chooses a prefix.
    Each rank above 0 writes a random name and reads the prefix from the answer to that name, which no earlier process
    can have received. Rank 0 answers every name it finds, also those of dead processes, until all ranks have joined.

    Raises:
        DistStoreError: not all ranks have joined in time.
    """
    name = uuid.uuid4().hex
    if rank > 0:
        store.set(f"here/{rank}", name)
        prefix = store.get(f"first/{name}").decode()
        store.add(f"joined/{prefix}", 1)
        return PrefixStore(prefix, store)
    others, answered = [f"here/{other}" for other in range(1, size)], set()
    until = time.monotonic() + timeout.total_seconds()
    while store.add(f"joined/{name}", 0) < len(others):
        if time.monotonic() > until:
            raise dist.DistStoreError(f"not all of {size} processes joined within {timeout}")
        for other in store.multi_get(others):
            if other not in answered:
                store.set(f"first/{other.decode()}", name)
                answered.add(other)
        time.sleep(POLL_SECONDS)
    return PrefixStore(name, store)


def check_world_size(processes: int, rows: int) -> None:
    """Raise ElektronError for more processes than rows in a step."""
    if rows < processes:
        raise ElektronError(
            f"{processes} processes cannot share {rows} rows in a step: raise --batch-size, or start fewer"
        )


def gradient_buckets(tensors: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Group tensors in order into buckets of one dtype and at most BUCKET_NUMEL elements; larger tensors are alone."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(t.numel() for t in bucket) + tensor.numel() > BUCKET_NUMEL
        if bucket and (full or bucket[0].dtype != tensor.dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def set_local_device() -> None:
    """Make the GPU with this process's LOCAL_RANK current, where torchrun has started it."""
    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if rank >= count:
            raise ElektronError(
                f"process {rank} of this host has no GPU: start at most {count} processes, one for each GPU"
            )
        torch.cuda.set_device(rank)


def shard(pair: Pair, accelerator: Accelerator, world: World) -> None:
    """Shard both networks over the ranks by FSDP2 (`--parallel fsdp`).

    Each rank keeps a shard of every parameter, gradient and moment. An encoder layer is gathered for its own passes;
    embeddings and heads, some of which the networks share, are one group that is gathered while the objective runs
    (`Pair.forward`). Gradients are summed, not averaged, because the losses are divided by global counts already, and
    reduced after each micro-batch, so that no rank holds the whole gradients of a network; therefore all ranks take
    the same number of micro-batches (`BatchMaker`).

    Under bf16, layers are gathered in bf16, as autocast would cast their matrices and biases anyway, and gradients are
    reduced in fp32. Norms, embeddings and heads are gathered in fp32. The optimizers' state is fp32.

    Call it after the last change of the parameters and before the optimizers are made.
    """
    mesh = init_device_mesh(accelerator.device.type, (world.size,))
    # Autocast casts inputs where they are used; uniform numbers and weights must not be rounded.
    fp32 = mixed = MixedPrecisionPolicy(cast_forward_inputs=False)
    if accelerator.dtype != torch.float32:
        mixed = MixedPrecisionPolicy(accelerator.dtype, torch.float32, cast_forward_inputs=False)
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
