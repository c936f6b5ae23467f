"""One training step on its own: timed on this device, or run on fake tensors to count its memory.

The networks, the objective and the optimizers are the run's; the rows are random, which costs the same.
Nothing is read ahead, logged, evaluated or saved.

Memory is counted as in torchtitan's estimation: tensors of `FakeTensorMode` have shapes but no data, so that
the step of any network runs in seconds on any machine, and a dispatch mode adds up the bytes of the storages
that are alive. The tests compare the count with that of real tensors.
"""

from __future__ import annotations

import logging
import math
import resource
import statistics
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from elektron.allocator import keep_freed_memory
from elektron.corpus.manifest import Manifest
from elektron.device import Device
from elektron.models.pair import Pair
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.compilation import compile_step, should_compile
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.masking import max_masked_positions
from elektron.pretraining.objectives import UpdateRoles, make_objective
from elektron.pretraining.optimizers import PairOptimizer

log = logging.getLogger(__name__)

PROBE_SECONDS = 30.0
LONGEST_PASS = 0.1
"""A pass that takes this share of the seconds has rows enough to be timed with."""
SMALL_RATE = 1e-3
"""Factor on the peak learning rates: an update costs the same whatever it moves."""
FP32 = 4
"""Bytes of a number."""

Kind = tuple[UpdateRoles, int]
"""What decides the cost of a token: who learns, and the row length."""


class Speed(NamedTuple):
    """Of steps of one kind."""

    rows: int  # that passed through the networks at once
    seconds_per_token: float  # forward and backward
    seconds_per_update: float


class Measured(NamedTuple):
    """What the probe found on this device."""

    device: str
    precision: str
    compiled: bool
    speeds: dict[Kind, Speed]
    memory: int  # peak of the device's allocations, or on a CPU the growth of the process, in bytes


class DeviceMemory(NamedTuple):
    """What a device holds at the fullest moment of a step, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # and temporary tensors
    gathered: int = 0  # under FSDP: what is whole while it is at work
    unsharded: int = 0  # under FSDP: the whole networks, before they are divided

    @property
    def total(self) -> int:
        return max(sum(self) - self.unsharded, self.unsharded)


class TrainingStep:
    """The networks and optimizers of a run, and steps of theirs."""

    def __init__(self, config: PretrainConfig, pair: Pair, manifest: Manifest, on: Device) -> None:
        self.config, self.pair, self.manifest, self.on = config, pair, manifest, on
        self.optimizer = PairOptimizer(pair, config.optimizer, on.muon_dtype)
        self.objective = make_objective(config, manifest.special_ids, manifest.vocab_size)
        self.forward: Any = self.objective

    def batch(self, rows: int, length: int) -> GlobalBatch:
        """Random rows `(rows, length)`, each one text, with as many masked tokens as in the run."""
        shape, slots = (
            (rows, length),
            max_masked_positions(length, self.config.masking.mask_probability),
        )
        device = self.on.device
        ids = torch.randint(self.manifest.vocab_size, shape, device=device)
        positions = torch.arange(length, device=device).expand(shape).contiguous()
        micro_batch = MicroBatch(
            input_ids=ids,
            masked_ids=ids.clone(),
            masked_positions=positions[:, :slots].contiguous(),
            weights=torch.ones(rows, slots, device=device),
            uniforms=torch.rand(rows, slots, device=device),
            document_ids=torch.zeros_like(ids),
            position_ids=positions,
            token_type_ids=torch.zeros_like(ids),
        )
        return GlobalBatch([micro_batch], float(rows * slots), float(rows * length))

    def passes(self, roles: UpdateRoles, batch: GlobalBatch) -> None:
        """Forward and backward."""
        self.pair.set_trained(roles.generator, roles.discriminator)
        with self.on.autocast():
            temperature = torch.ones((), device=self.on.device)
            output = self.forward(self.pair, batch.micro_batches[0], roles, temperature)
        self.optimizer.backward(
            self.objective.generator_loss(output, batch) if roles.generator else None,
            self.objective.discriminator_loss(output, batch) if roles.discriminator else None,
        )

    def update(self) -> None:
        """Move the weights."""
        self.optimizer.step(SMALL_RATE)

    def seconds(self, roles: UpdateRoles, batch: GlobalBatch) -> tuple[float, float]:
        """Take a step; what its passes and its update took."""
        times = [self.now()]
        for part in (lambda: self.passes(roles, batch), self.update):
            part()
            times.append(self.now())
        return times[1] - times[0], times[2] - times[1]

    def now(self) -> float:
        """The time when the device has done what it was told."""
        if self.on.device.type == "cuda":
            torch.cuda.synchronize(self.on.device)
        return time.perf_counter()

    def compile(self) -> None:
        """Compile as `pretrain` does: the objective, or on CPUs and for separate optimizers layer by layer."""
        self.forward = compile_step(
            self.objective, self.pair, self.on.device, self.config.optimizer.separate_optimizers
        )


def measure(
    config: PretrainConfig,
    build_pair: Callable[[], Pair],
    manifest: Manifest,
    kinds: Mapping[Kind, int],
    flops: float | None,
) -> Measured:
    """Take steps of each kind on this device for PROBE_SECONDS in all.

    Args:
        config: of the run, resolved.
        build_pair: makes its networks.
        manifest: what its blocks are like.
        kinds: the largest number of rows that pass through the networks at once, of each kind of step.
        flops: of the run, if they are known.
    """
    keep_freed_memory()
    before, on = resident_peak(), Device.choose(config.precision)
    compiled = should_compile(config, on.device, flops)
    log.info(
        "taking %s steps for about %d seconds%s",
        "compiled" if compiled else "eager",
        PROBE_SECONDS,
        ", after compiling" if compiled else "",
    )
    step = TrainingStep(config, build_pair().to(on.device), manifest, on)
    seconds = PROBE_SECONDS / len(kinds)
    rows = {
        kind: rows_to_time(step, kind, most, seconds * LONGEST_PASS) for kind, most in kinds.items()
    }
    if compiled:
        step.compile()
    speeds = {kind: speed(step, kind, rows[kind], seconds) for kind in kinds}
    is_gpu = on.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated() if is_gpu else resident_peak() - before
    return Measured(on.name, on.precision, compiled, speeds, memory)


def speed(step: TrainingStep, kind: Kind, rows: int, seconds: float) -> Speed:
    """Time steps for so many seconds, after one that is not timed."""
    batch = step.batch(rows, kind[1])
    step.seconds(kind[0], batch)
    ends, times = time.perf_counter() + seconds, list[tuple[float, float]]()
    while not times or time.perf_counter() < ends:
        times.append(step.seconds(kind[0], batch))
    # Medians: other work on the machine makes single steps slow, and none fast.
    passes, updates = (statistics.median(column) for column in zip(*times, strict=True))
    return Speed(rows, passes / (rows * kind[1]), updates)


def rows_to_time(step: TrainingStep, kind: Kind, most: int, seconds: float) -> int:
    """As many rows as the run would take at once, or fewer, of which a pass takes so many seconds; by doubling."""
    rows = 1
    while rows < most:
        took, _ = step.seconds(kind[0], step.batch(rows, kind[1]))
        if took > seconds:
            break
        rows = min(most, rows * 2)
    return rows


def resident_peak() -> int:
    """The most memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Counted(NamedTuple):
    """What a run's steps hold, in fake tensors of one device that has everything."""

    weights: list[Tensor]
    layers: list[list[Tensor]]  # weights of each encoder layer
    gradients: list[Tensor]  # parameters that get one, of the step that has most
    state: list[Tensor]  # of the optimizers
    peak: int  # bytes of all but the state at the fullest moment, for one micro-batch
    narrow: int  # bytes of a number in matrix products

    def on_device(self, accumulates: bool, devices: int = 1) -> DeviceMemory:
        """What a device holds.

        Args:
            accumulates: whether a step has several micro-batches, and so keeps gradients beside the passes.
            devices: that the networks are divided among by FSDP.
        """
        whole = bytes_of(self.weights)
        activations, gradients = self.peak - whole, bytes_of(self.gradients, devices)
        if devices == 1:
            activations -= 0 if accumulates else gradients
            return DeviceMemory(whole, gradients, bytes_of(self.state), max(0, activations))
        inside = {p for layer in self.layers for p in layer}
        if self.narrow < FP32:  # layers travel in this precision and need no copies in it
            activations -= self.narrow * sum(p.numel() for p in inside if p.ndim >= 2)
        # Embeddings and heads with their gradients; a layer with its own, and the next one.
        layer = max(sum(p.numel() for p in layer) for layer in self.layers)
        gathered = 2 * bytes_of(p for p in self.weights if p not in inside)
        return DeviceMemory(
            bytes_of(self.weights, devices),
            gradients,
            bytes_of(self.state, devices),
            activations,
            gathered + 3 * self.narrow * layer,
            whole,
        )


def count_memory(
    config: PretrainConfig,
    pair: Pair,
    manifest: Manifest,
    kinds: Mapping[Kind, int],
    dtype: torch.dtype,
    is_gpu: bool,
) -> Counted:
    """Take a step of each kind on fake tensors; the pair's own become fake.

    Args:
        config: of the run, resolved.
        pair: its networks, which may be on the `meta` device.
        manifest: what its blocks are like.
        kinds: rows that pass through the networks at once, by kind of step.
        dtype: of matrix products.
        is_gpu: whether to count for a GPU. Fake tensors of a GPU would need one; those of a CPU have the same sizes.
    """
    with ExitStack() as modes:
        if is_gpu:
            modes.enter_context(_FusedDropout())
            use_fused_attention(pair)
        modes.enter_context(FakeTensorMode())
        live = modes.enter_context(LiveBytes())
        remove_data(pair)
        step = TrainingStep(config, pair, manifest, Device(torch.device("cpu"), dtype))
        live.add(pair.parameters())
        peak, gradients = 0, list[Tensor]()

        def peak_without_state() -> int:
            return live.peak - bytes_of(step.optimizer.state_tensors().values())

        for (roles, length), rows in kinds.items():
            live.peak = live.now
            step.passes(roles, step.batch(rows, length))
            peak = max(peak, peak_without_state())
            # Parameters stand for their gradients, which must not live on.
            own: list[Tensor] = [p for part in step.optimizer.parts for p in part.gradients]
            gradients = max(gradients, own, key=bytes_of)
            live.peak = live.now
            step.update()
            peak = max(peak, peak_without_state())
    layers: list[list[Tensor]] = [list(layer.parameters()) for layer in pair.encoder_layers()]
    state = list(step.optimizer.state_tensors().values())
    return Counted(list(pair.parameters()), layers, gradients, state, peak, dtype.itemsize)


def bytes_of(tensors: Iterable[Tensor], parts: int = 1) -> int:
    """Of all of them, or of the largest part where each is divided along its first dimension."""
    return sum(
        math.ceil(t.shape[0] / parts) * t[0].nbytes if t.ndim and parts > 1 else t.nbytes
        for t in tensors
    )


def remove_data(pair: Pair) -> None:
    """Put fake tensors in the place of parameters and buffers; those that were one stay one."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in pair.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in made:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                made[parameter] = nn.Parameter(empty, parameter.requires_grad)
            setattr(module, name, made[parameter])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def use_fused_attention(pair: Pair) -> None:
    """Attention as on GPUs: never written out as `models/attention.py` does for CPUs."""
    for module in pair.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation != "eager":
            module.set_attn_implementation("sdpa")


class _FusedDropout(TorchFunctionMode):
    """Attention with dropout as on GPUs, where one kernel does both and keeps no scores."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            kwargs["dropout_p"] = 0.0
        return func(*args, **kwargs)


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of all storages that operations have made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count these too."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def free(self, count: int) -> None:
        """Count no longer."""
        self.now -= count
