"""One training step on its own: timed on this device, or run on fake tensors to count its memory.

Networks, objective and optimizers are those of the run; the rows are random, which costs the same.

Memory is counted as in torchtitan's estimation: tensors of `FakeTensorMode` have shapes but no data, so that the
step of any network runs in seconds on any machine, and a dispatch mode adds up the bytes of the live storages.
"""

from __future__ import annotations

import logging
import math
import resource
import statistics
import sys
import time
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from elektron.accelerator import Accelerator
from elektron.allocator import keep_freed_memory
from elektron.corpus.manifest import Manifest
from elektron.models.pair import Pair
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.compilation import compile_step, should_compile
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.masking import max_masked_positions
from elektron.pretraining.objectives import UpdateRoles, make_objective
from elektron.pretraining.optimizers import PairOptimizer
from elektron.pretraining.schedules import Shape

log = logging.getLogger(__name__)

PROBE_SECONDS = 30.0
LEARNING_RATE = 1e-3  # the cost of a step is the same for any
FUSED = "fused"


class Step(NamedTuple):
    """A kind of step; steps of a kind cost the same."""

    roles: UpdateRoles
    shape: Shape


@dataclass(frozen=True)
class StepTiming:
    """Measured speed and memory of steps on this device."""

    device: str
    precision: str
    compiled: bool
    rows: int  # that passed through the networks at once
    flops_per_second: float  # forward and backward
    seconds_per_update: float
    memory: int  # peak of the device's allocations, or on a CPU the growth of the process, in bytes


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of a device at the peak of a step, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # temporary tensors included; under FSDP also gathered weights and gradients
    total: int


class TrainingStep:
    """The networks and optimizers of a run, which take steps on random rows."""

    def __init__(self, config: PretrainConfig, pair: Pair, manifest: Manifest, accelerator: Accelerator) -> None:
        self.config, self.pair, self.manifest, self.accelerator = config, pair, manifest, accelerator
        self.optimizer = PairOptimizer(pair, config.optimizer, accelerator.muon_dtype)
        self.objective = make_objective(config, manifest.special_ids, manifest.vocab_size)
        self.forward: Any = self.objective

    def batch(self, rows: int, length: int) -> GlobalBatch:
        """Random rows `(rows, length)` of one document each, with as many masked tokens as in the run."""
        device = self.accelerator.device
        masked = max_masked_positions(length, self.config.masking.mask_probability)
        ids = torch.randint(self.manifest.vocab_size, (rows, length), device=device)
        positions = torch.arange(length, device=device).expand(rows, length).contiguous()
        micro_batch = MicroBatch(
            input_ids=ids,
            masked_ids=ids.clone(),
            masked_positions=positions[:, :masked].contiguous(),
            weights=torch.ones(rows, masked, device=device),
            uniforms=torch.rand(rows, masked, device=device),
            document_ids=torch.zeros_like(ids),
            position_ids=positions,
            token_type_ids=torch.zeros_like(ids),
        )
        return GlobalBatch([micro_batch], float(rows * masked), float(rows * length))

    def forward_backward(self, roles: UpdateRoles, batch: GlobalBatch) -> None:
        """Compute the losses and their gradients."""
        self.pair.set_trained(roles.generator, roles.discriminator)
        with self.accelerator.autocast():
            temperature = torch.ones((), device=self.accelerator.device)
            output = self.forward(self.pair, batch.micro_batches[0], roles, temperature)
        torch.stack(list(self.objective.losses(output, batch, roles).values())).sum().backward()

    def seconds(self, roles: UpdateRoles, batch: GlobalBatch) -> tuple[float, float]:
        """Take a step; returns the seconds of forward and backward, and of the update."""
        begin = self._now()
        self.forward_backward(roles, batch)
        middle = self._now()
        self.optimizer.step(LEARNING_RATE)
        return middle - begin, self._now() - middle

    def _now(self) -> float:
        """The time after the device has finished its work."""
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        return time.perf_counter()


def measure(config: PretrainConfig, pair: Pair, manifest: Manifest, kind: Step, flops: float | None) -> StepTiming:
    """Time steps on this device for PROBE_SECONDS.

    Args:
        config: configuration of the run, resolved.
        pair: its networks.
        manifest: manifest of its blocks.
        kind: kind of step, with the rows that pass through the networks at once; fewer are used if that takes too long.
        flops: FLOPs of the run, if they are known.
    """
    keep_freed_memory()
    before, accelerator = resident_peak(), Accelerator.choose(config.precision)
    compiled = should_compile(config, accelerator.device, flops)
    log.info("timing steps for %d seconds%s", PROBE_SECONDS, " after compiling" * compiled)
    roles, max_rows, length, rows = kind.roles, kind.shape.rows, kind.shape.length, 1
    step = TrainingStep(config, pair.to(accelerator.device), manifest, accelerator)
    # A pass that takes a tenth of the time has enough rows to be timed.
    while rows < max_rows and step.seconds(roles, step.batch(rows, length))[0] <= PROBE_SECONDS / 10:
        rows = min(max_rows, rows * 2)
    if compiled:
        step.forward = compile_step(step.objective, step.pair, accelerator.device)
    batch, times = step.batch(rows, length), list[tuple[float, float]]()
    step.seconds(roles, batch)  # the first step compiles and allocates
    ends = time.perf_counter() + PROBE_SECONDS
    while not times or time.perf_counter() < ends:
        times.append(step.seconds(roles, batch))
    # Medians, because other work on the machine slows single steps down.
    passes, update = (statistics.median(column) for column in zip(*times, strict=True))
    masked = max_masked_positions(length, config.masking.mask_probability)
    step_flops = step.objective.step_flops(pair, roles, rows, length, masked)
    is_gpu = accelerator.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated() if is_gpu else resident_peak() - before
    return StepTiming(accelerator.name, accelerator.precision, compiled, rows, step_flops / passes, update, memory)


def resident_peak() -> int:
    """The largest resident memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def count_memory(
    config: PretrainConfig,
    pair: Pair,
    manifest: Manifest,
    kinds: Iterable[Step],
    dtype: torch.dtype,
    is_gpu: bool = False,
    accumulates: bool = False,
    shards: int = 1,
) -> tuple[DeviceMemory, int]:
    """Take a step of each kind on fake tensors and count the bytes. Replaces the tensors of `pair` by fake ones.

    Args:
        config: configuration of the run, resolved.
        pair: its networks, which may be on the `meta` device.
        manifest: manifest of its blocks.
        kinds: kinds of steps, with the rows that pass through the networks at once.
        dtype: dtype of matrix products.
        is_gpu: whether to count for a GPU. Fake tensors of a GPU would need one; those of a CPU have the same sizes.
        accumulates: whether a step has several micro-batches, and so keeps gradients during the passes.
        shards: devices over which FSDP shards the networks. How much of them is gathered at once is not counted:
            room is left for a whole set of gradients.

    Returns:
        The memory of a device, and the bytes of a checkpoint.
    """
    with ExitStack() as modes:
        if is_gpu:
            AttentionInterface.register(FUSED, fused_attention)
            AttentionMaskInterface.register(FUSED, sdpa_mask)
            for network in filter(None, (pair.discriminator, pair.generator)):
                if network.config._attn_implementation != "eager":
                    network.set_attn_implementation(FUSED)
        modes.enter_context(FakeTensorMode())
        live = modes.enter_context(LiveBytes())
        make_fake(pair)
        step = TrainingStep(config, pair, manifest, Accelerator(torch.device("cpu"), dtype))
        live.add(pair.parameters())
        peak, gradients = 0, list[Tensor]()
        for roles, shape in kinds:
            live.peak = live.now
            step.forward_backward(roles, step.batch(shape.rows, shape.length))
            # Keep the parameters, because references to the gradients would keep these alive.
            with_gradients: list[Tensor] = [p for p in step.optimizer.parameters if p.grad is not None]
            gradients = max(gradients, with_gradients, key=bytes_of)
            before = bytes_of(step.optimizer.state_tensors().values())
            peak, live.peak = max(peak, live.peak - before), live.now
            step.optimizer.step(LEARNING_RATE)
            peak = max(peak, live.peak - bytes_of(step.optimizer.state_tensors().values()))
    weights, state = list(pair.parameters()), list(step.optimizer.state_tensors().values())
    activations = peak - bytes_of(weights)
    if not accumulates and shards == 1:
        activations -= bytes_of(gradients)
    parts = (bytes_of(weights, shards), bytes_of(gradients, shards), bytes_of(state, shards), max(0, activations))
    return DeviceMemory(*parts, sum(parts)), bytes_of([*weights, *state])


def bytes_of(tensors: Iterable[Tensor], shards: int = 1) -> int:
    """Bytes of all tensors, or of the largest shard where each is split along its first dimension."""
    return sum(math.ceil(t.shape[0] / shards) * t[0].nbytes if t.ndim and shards > 1 else t.nbytes for t in tensors)


def make_fake(pair: Pair) -> None:
    """Replace parameters and buffers by fake tensors, under `FakeTensorMode`; tied ones stay tied."""
    fakes: dict[Tensor, Tensor] = {}
    for module in pair.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor not in fakes:
                empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                is_parameter = isinstance(tensor, nn.Parameter)
                fakes[tensor] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
            setattr(module, name, fakes[tensor])


def fused_attention(*inputs: Any, dropout: float = 0.0, **options: Any) -> Any:
    """SDPA without dropout. Like the fused kernels of GPUs, which include dropout, it stores no attention scores."""
    return sdpa_attention_forward(*inputs, **options)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all live storages that operations have made."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.storages: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count the storages of tensors."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage not in self.storages:
                self.storages.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def _free(self, count: int) -> None:
        self.now -= count
