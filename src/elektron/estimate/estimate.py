"""`elektron estimate`: what a pre-training run will cost.

Nothing is trained. The networks are built without memory (on torch's `meta` device), the run's steps are counted by
kind, their FLOPs by `Objective.step_flops`, and the memory of a step on fake tensors (`step.py`). Time needs a speed,
given or measured. Unknown values are None, and the table says which option would determine them.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from elektron.corpus.blocks import BlockStore
from elektron.corpus.manifest import Manifest
from elektron.corpus.tokenizer import load_tokenizer
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.estimate.config import HEADROOM, EstimateConfig
from elektron.estimate.step import (
    Counted,
    DeviceMemory,
    Measured,
    bytes_of,
    count_memory,
    measure,
)
from elektron.estimate.table import print_table
from elektron.models.pair import Pair
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.pretraining.masking import max_masked_positions
from elektron.pretraining.objectives import UpdateRoles, make_objective
from elektron.pretraining.plans import Plan
from elektron.pretraining.schedules import Curriculum, Shape
from elektron.pretraining.setup import (
    check_rows,
    pair_for,
    prepare_run,
    released_networks,
    with_released_sizes,
)

NOMINAL_STEPS = 1000
"""Steps by which the kinds of step of a run of unknown length are found."""
COUNTED_STEPS = 10_000
"""Longer runs are counted by so many of their steps."""
SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
"""Ids of special tokens where there is no tokenizer yet."""
UNITS = {"b": 1} | {
    f"{prefix}{binary}b": base**power
    for binary, base in (("", 1000), ("i", 1024))
    for power, prefix in enumerate("kmgt", start=1)
}


class Length(NamedTuple):
    """The length of a run."""

    steps: int | None = None
    tokens: int | None = None  # padding included
    flops: int | None = None
    passes: float | None = None  # over the corpus
    seconds: float | None = None
    tokens_per_second: float | None = None  # on all devices


class Fit(NamedTuple):
    """Whether a device has enough memory, and what would fit if not."""

    fits: bool
    advice: str | None = None


class Disk(NamedTuple):
    """Bytes in the folder of the finished run."""

    checkpoint: int  # weights and the optimizer's state
    checkpoints: int | None  # how many there will be at most, if the steps are known
    models: int

    @property
    def total(self) -> int | None:
        return self.checkpoints and self.checkpoint * self.checkpoints + self.models


class Estimate(NamedTuple):
    """What a run will cost."""

    parameters: dict[str, int]  # as exported, and in total, with shared ones counted once
    length: Length
    rows_at_once: int  # that pass through the networks of one device
    memory: DeviceMemory
    fit: Fit | None  # None where the memory of a device is not given
    disk: Disk
    measured: Measured | None

    def as_json(self) -> dict[str, Any]:
        """All values for JSON."""
        content = {
            name: value._asdict() if hasattr(value, "_asdict") else value
            for name, value in self._asdict().items()
        }
        content["memory"]["total"], content["disk"]["total"] = self.memory.total, self.disk.total
        return content


class Step(NamedTuple):
    """One kind of step; steps of a kind cost the same."""

    roles: UpdateRoles
    shape: Shape


def estimate(config: EstimateConfig) -> Estimate:
    """Estimate what the run will cost, and print it.

    Raises:
        ElektronError: settings that `elektron pretrain` refuses, an invalid size or speed, or
            neither blocks nor their sizes.
    """
    found = Estimator(config).estimate()
    print_table(found, config)
    return found


class Estimator:
    """A configured run whose networks have sizes but no data.

    Raises:
        ElektronError: impossible settings.
    """

    def __init__(self, config: EstimateConfig) -> None:
        check_values(config)
        self.options = config
        self.config = resolve(with_released_sizes(config))
        self.store = None if config.data is None else BlockStore.open(config.data)
        if self.store is not None:
            check_rows(self.config, self.store)
        self.manifest = self.store.manifest if self.store else assumed_manifest(config)
        self.devices = config.devices or config.nproc or 1
        self.tokenizer = load_tokenizer(str(self.store.tokenizer_folder)) if self.store else None
        self.curriculum, self.plan, _ = prepare_run(self.config, self.manifest, self.tokenizer)
        if self.devices > self.curriculum.batches[0]:
            raise ElektronError(
                f"{self.devices} devices cannot share the {self.curriculum.batches[0]} rows of a step: "
                "raise --batch-size or lower --devices"
            )
        self.objective = make_objective(
            self.config, self.manifest.special_ids, self.manifest.vocab_size
        )
        self.pair = self.build_pair("cpu" if released_networks(self.config) else "meta")
        self.is_gpu = (config.target or ("gpu" if torch.cuda.is_available() else "cpu")) == "gpu"
        self.steps = self.count(self.curriculum.steps or NOMINAL_STEPS, lambda step: 1)
        """The number of steps of each kind."""

    def build_pair(self, device: str) -> Pair:
        """The networks at the start of the run."""
        with torch.device(device):
            pair = pair_for(self.config, self.manifest, self.tokenizer)
            self.plan.prepare(pair)
        return pair

    def estimate(self) -> Estimate:
        """All values."""
        networks = [self.pair.kept(self.objective.detects), self.pair.generator]
        parameters = self.pair.parameter_counts(self.objective.detects)
        parameters["total"] = sum(p.numel() for p in self.pair.parameters())
        measured = self.measured() if self.options.probe else None
        length = self.length(self.step_seconds(measured))
        counted = self.counted(self.config.micro_batch_size)
        memory = self.memory(self.config)
        return Estimate(
            parameters=parameters,
            length=length,
            rows_at_once=max(self.rows(step, self.config.micro_batch_size) for step in self.steps),
            memory=memory,
            fit=self.fit(memory),
            disk=Disk(
                checkpoint=bytes_of([*counted.weights, *counted.state]),
                checkpoints=length.steps and checkpoints_kept(self.config, length.steps),
                models=sum(bytes_of(each.parameters()) for each in networks if each is not None),
            ),
            measured=measured,
        )

    def length(self, seconds: Callable[[Step], float] | None) -> Length:
        """The length of the run, as far as the settings and the `seconds` of a step determine it."""
        if self.curriculum.steps is not None:
            counts = self.steps
        elif self.config.flops is not None:
            counts = self.count(self.config.flops, self.flops)
        elif seconds is not None and self.config.minutes is not None:
            counts = self.count(self.config.minutes * 60, seconds)
        else:
            return Length()

        def total(cost: Callable[[Step], Any]) -> Any:
            return sum(number * cost(step) for step, number in counts.items())

        tokens, took = total(lambda step: step.shape.tokens), total(seconds) if seconds else None
        rows = total(lambda step: step.shape.store_rows)
        return Length(
            steps=counts.total(),
            tokens=tokens,
            flops=total(self.flops),
            passes=rows / len(self.store.rows("train")) if self.store else None,
            seconds=took,
            tokens_per_second=tokens / took if took else None,
        )

    def count(self, total: float, cost: Callable[[Step], float]) -> Counter[Step]:
        """The number of steps of each kind in a run of this total cost."""
        return count_steps(self.plan, self.curriculum, total, cost)

    def flops(self, step: Step) -> int:
        """FLOPs of a step."""
        rows, length = step.shape.rows, step.shape.length
        masked = max_masked_positions(length, self.config.masking.mask_probability)
        return self.objective.step_flops(self.pair, step.roles, rows, length, masked)

    def rows(self, step: Step, micro_batch: int | None) -> int:
        """Rows of a step that pass through the networks of one device at once."""
        local_rows = math.ceil(step.shape.store_rows / self.devices)
        return min(local_rows, micro_batch or local_rows) * step.shape.parts

    def step_seconds(self, measured: Measured | None) -> Callable[[Step], float] | None:
        """The seconds of a step with the local rows of one device, without waiting for others; None if unknown."""
        throughput = self.options.throughput

        def seconds(step: Step) -> float:
            local = self.rows(step, None) / step.shape.rows
            if measured is None:
                return local * step.shape.tokens / (throughput or 1.0)
            return (
                local * self.flops(step) / measured.flops_per_second + measured.seconds_per_update
            )

        return None if measured is None and throughput is None else seconds

    def measured(self) -> Measured:
        """The speed of the most expensive kind of step on this device, with as many rows at once as in the run."""
        step = max(self.steps, key=self.flops)
        rows = self.rows(step, self.config.micro_batch_size)
        kind, flops = (step.roles, step.shape.length), self.length(None).flops
        return measure(self.config, self.build_pair("cpu"), self.manifest, kind, rows, flops)

    def memory(self, config: PretrainConfig) -> DeviceMemory:
        """The peak memory of a device."""
        accumulates = any(
            self.rows(step, config.micro_batch_size) < self.rows(step, None) for step in self.steps
        )
        devices = self.devices if config.parallel == "fsdp" else 1
        return self.counted(config.micro_batch_size).on_device(accumulates, devices)

    @functools.cache  # noqa: B019
    def counted(self, micro_batch: int | None) -> Counted:
        """The tensors of steps: for each update roles of those with most tokens, in the longest rows."""
        largest: dict[UpdateRoles, tuple[int, int, int]] = {}
        for roles, shape in self.steps:
            rows = self.rows(Step(roles, shape), micro_batch)
            size = (rows * shape.length, shape.length, rows)
            largest[roles] = max(largest.get(roles, size), size)
        kinds = {(roles, length): rows for roles, (_, length, rows) in largest.items()}
        dtype = precision_of(self.config, self.is_gpu)
        return count_memory(self.config, self.pair, self.manifest, kinds, dtype, self.is_gpu)

    def fit(self, memory: DeviceMemory) -> Fit | None:
        """Whether it fits into the memory of a device, if that is given."""
        if self.options.memory_per_device is None:
            return None
        available = read_size(self.options.memory_per_device) * (1 - HEADROOM)
        if memory.total <= available:
            return Fit(True)
        ways = [self.fewer_rows(self.config, available)]
        if self.devices > 1 and self.config.parallel != "fsdp" and not self.config.compile:
            sharded = dataclasses.replace(self.config, parallel="fsdp")
            fewer: str | None = ""
            if self.memory(sharded).total > available:
                fewer = self.fewer_rows(sharded, available)
            if fewer is not None:
                ways.append(f"--parallel fsdp {fewer}".rstrip())
        if found := [way for way in ways if way is not None]:
            return Fit(False, f"{' or '.join(found)} would fit")
        smaller = ": lower --network.num-hidden-layers or --network.hidden-size"
        smaller = "" if released_networks(self.config) else smaller
        return Fit(False, f"not even --micro-batch-size 1 would fit{smaller}")

    def fewer_rows(self, config: PretrainConfig, available: float) -> str | None:
        """The largest --micro-batch-size that fits, of those that divide a device's rows."""
        rows = math.ceil(max(step.shape.store_rows for step in self.steps) / self.devices)
        now = min(rows, config.micro_batch_size or rows)
        sizes = [size for size in range(1, now) if rows % size == 0]
        fitting = bisect.bisect_right(
            sizes,
            available,
            key=lambda size: self.memory(dataclasses.replace(config, micro_batch_size=size)).total,
        )
        return f"--micro-batch-size {sizes[fitting - 1]}" if fitting else None


def count_steps(
    plan: Plan, curriculum: Curriculum, total: float, cost: Callable[[Step], float]
) -> Counter[Step]:
    """The number of steps of each kind in a run of `total`, in the unit of `cost`: 1, seconds or FLOPs.

    Longer runs than COUNTED_STEPS are counted in strides, whose steps are taken to be of the kind of the first. A
    stride is one more than a multiple of the plan's period, so that the first steps go through all roles.
    """
    cycle = [Step(plan.roles(0.0, n), curriculum.shape(n)) for n in range(plan.period)]
    strides = total * plan.period / (sum(map(cost, cycle)) * COUNTED_STEPS)
    stride = int(strides) // plan.period * plan.period + 1
    found: Counter[Step] = Counter()
    number, done = 0, 0.0
    while done < total:
        step = Step(plan.roles(done / total, number), curriculum.shape(number))
        its = cost(step)
        times = min(stride, math.ceil((total - done) / its))
        found[step] += times
        number += times
        done += times * its
    return found


def checkpoints_kept(config: PretrainConfig, steps: int) -> int:
    """The most checkpoints that a run leaves: the newest, those of `keep_every`, and the best one."""
    every, round_step = config.checkpoint.every, config.checkpoint.keep_every
    count = math.ceil(steps / every)
    newest = min(count, config.checkpoint.keep)
    older = count - newest
    round_ones = older * every // math.lcm(every, round_step) if round_step else 0
    # The best cannot be older than the first evaluation.
    best = older > round_ones and older * every >= config.evaluation.every
    return newest + round_ones + best


def precision_of(config: PretrainConfig, is_gpu: bool) -> torch.dtype:
    """The dtype of matrix products: this machine's, or bf16 for another machine's GPU."""
    if is_gpu == torch.cuda.is_available():
        return Device.choose(config.precision).dtype
    half = config.precision == "bf16" or (config.precision is None and is_gpu)
    return torch.bfloat16 if half else torch.float32


def check_values(config: EstimateConfig) -> None:
    """Raise ElektronError for impossible options of the estimate itself."""
    if config.data is None and (config.vocab_size is None or config.seq_len is None):
        raise ElektronError(
            "give --data, a folder of blocks, or --vocab-size and --seq-len where there are none yet"
        )
    for name in ("vocab_size", "seq_len"):
        if config.data is not None and getattr(config, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ElektronError(f"{option} follows from the blocks: leave it or --data out")
    if config.throughput is not None and config.probe:
        raise ElektronError("--throughput and --probe exclude one another: is it known or not?")
    here = "gpu" if torch.cuda.is_available() else "cpu"
    if config.probe and config.target not in (None, here):
        raise ElektronError(
            f"--probe measures this machine's {here.upper()}: leave out --target {config.target}"
        )
    if config.memory_per_device is not None:
        read_size(config.memory_per_device)


def read_size(size: str) -> float:
    """Bytes of a size such as `16GB` or `80 GiB`.

    Raises:
        ElektronError: it is not a size.
    """
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})", size.strip().lower())
    if found is None or not float(found[1]):
        raise ElektronError(
            f"--memory-per-device must be a size such as 16GB or 80GiB, got {size!r}"
        )
    return float(found[1]) * UNITS[found[2]]


def assumed_manifest(config: EstimateConfig) -> Manifest:
    """The manifest of blocks that do not exist yet."""
    assert config.seq_len is not None
    assert config.vocab_size is not None
    return Manifest(
        seq_len=config.seq_len,
        packing="dense",
        vocab_size=config.vocab_size,
        tokenizer="",
        special_ids=SPECIAL_IDS,
        all_special_ids=list(SPECIAL_IDS.values()),
        corpus=[],
        options={},
    )
