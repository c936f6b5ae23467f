"""`elektron estimate`: what a pre-training run will cost.

Nothing is trained. The networks are built on torch's `meta` device, the run's steps are counted by kind, their FLOPs by
`Objective.step_flops`, and the memory of a step on fake tensors (`step.py`). Time is estimated from a speed that is
given or measured. Unknown values are None, and the table names the options that would determine them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from elektron.accelerator import Accelerator
from elektron.corpus.blocks import BlockStore
from elektron.corpus.manifest import Manifest
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.estimate.config import EstimateConfig
from elektron.estimate.step import DeviceMemory, Step, StepTiming, bytes_of, count_memory, measure
from elektron.models.pair import Pair
from elektron.pretraining.config import resolve
from elektron.pretraining.distributed import check_world_size
from elektron.pretraining.masking import max_masked_positions
from elektron.pretraining.objectives import make_objective
from elektron.pretraining.plans import Plan
from elektron.pretraining.schedules import Curriculum
from elektron.pretraining.setup import check_rows, pair_for, prepare_run, released_networks, with_released_sizes
from elektron.progress import format_duration, format_quantity
from elektron.terminal import echo

HEADROOM = 0.1
"""Fraction of a device's memory that is left free, for the driver and fragmentation."""
COUNTED_STEPS = 10_000
"""Of longer runs, about this number of steps are sampled to count the kinds of steps."""
SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
"""Ids of special tokens where there is no tokenizer yet."""


@dataclass(frozen=True)
class Length:
    """The length of a run."""

    steps: int | None = None
    tokens: int | None = None  # padding included
    flops: int | None = None
    passes: float | None = None  # over the corpus
    seconds: float | None = None
    tokens_per_second: float | None = None  # on all devices


@dataclass(frozen=True)
class Disk:
    """Bytes in the folder of the finished run."""

    checkpoint: int  # weights and the optimizer's state
    checkpoints: int | None  # how many there will be at most, if the steps are known
    models: int
    total: int | None


@dataclass(frozen=True)
class Estimate:
    """What a run will cost."""

    parameters: dict[str, int]  # as exported, and in total, with shared ones counted once
    length: Length
    rows_at_once: int  # rows that pass through the networks of one device at once
    memory: DeviceMemory
    fits: bool | None  # None where the memory of a device is not given
    disk: Disk
    measured: StepTiming | None


def estimate(config: EstimateConfig) -> Estimate:
    """Estimate what the run will cost, and print it.

    Raises:
        ElektronError: settings that `elektron pretrain` refuses, an invalid size or speed, or
            neither blocks nor their sizes.
    """
    result = Estimator(config).estimate()
    echo(table(result, config))
    return result


class Estimator:
    """Computes the estimate of a configured run.

    Raises:
        ElektronError: impossible settings.
    """

    def __init__(self, config: EstimateConfig) -> None:
        if config.data is not None and (config.vocab_size or config.seq_len):
            raise ElektronError("--vocab-size and --seq-len are those of the blocks: remove the options")
        if config.throughput is not None and config.probe:
            raise ElektronError("--throughput and --probe cannot be used together")
        local = "gpu" if torch.cuda.is_available() else "cpu"
        if config.probe and config.target not in (None, local):
            raise ElektronError(f"--probe measures this machine's {local.upper()}: remove --target {config.target}")
        self.options = config
        self.target = config.target or local
        self.config = resolve(with_released_sizes(config))
        self.store = None if config.data is None else BlockStore.open(config.data)
        if self.store is not None:
            check_rows(self.config, self.store)
        self.manifest = self.store.manifest if self.store else assumed_manifest(config)
        self.tokenizer = load_tokenizer(str(self.store.tokenizer_folder)) if self.store else None
        self.curriculum, self.plan, _ = prepare_run(self.config, self.manifest, self.tokenizer)
        self.devices = config.devices or config.nproc or 1
        check_world_size(self.devices, self.curriculum.batches[0])
        self.objective = make_objective(self.config, self.manifest.special_ids, self.manifest.vocab_size)
        self.pair = self.build_pair("cpu" if released_networks(self.config) else "meta")
        self.count = functools.partial(count_steps, self.plan, self.curriculum)
        self.steps = self.count(self.curriculum.steps or 1000, lambda step: 1)
        """The number of steps of each kind. If the length of the run is unknown, only the kinds are meaningful."""

    def build_pair(self, device: str) -> Pair:
        """The networks at the start of the run."""
        with torch.device(device):
            pair = pair_for(self.config, self.manifest, self.tokenizer)
            self.plan.prepare(pair)
        return pair

    def estimate(self) -> Estimate:
        """Compute all values."""
        models = sum(bytes_of(network.parameters()) for network in self.pair.exported(self.objective.detects).values())
        parameters = self.pair.parameter_counts(self.objective.detects)
        parameters["total"] = sum(p.numel() for p in self.pair.parameters())
        measured = None
        if self.options.probe:  # the most expensive kind of step, with as many rows at once as in the run
            kind = self.micro_step(max(self.steps, key=self.flops))
            measured = measure(self.config, self.build_pair("cpu"), self.manifest, kind, self.length().flops)
        length = self.length(self.step_seconds(measured))
        checkpoints = None if length.steps is None else self.checkpoints(length.steps)
        memory, checkpoint = self.memory()
        total = None if checkpoints is None else checkpoint * checkpoints + models
        fits = None
        if self.options.memory_per_device is not None:
            fits = memory.total <= read_size(self.options.memory_per_device) * (1 - HEADROOM)
        return Estimate(
            parameters=parameters,
            length=length,
            rows_at_once=max(self.micro_step(step).shape.rows for step in self.steps),
            memory=memory,
            fits=fits,
            disk=Disk(checkpoint, checkpoints, models, total),
            measured=measured,
        )

    def length(self, seconds: Callable[[Step], float] | None = None) -> Length:
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
            return sum(count * cost(step) for step, count in counts.items())

        tokens, rows = total(lambda step: step.shape.tokens), total(lambda step: step.shape.store_rows)
        run_seconds = total(seconds) if seconds else None
        return Length(
            steps=counts.total(),
            tokens=tokens,
            flops=total(self.flops),
            passes=rows / len(self.store.rows("train")) if self.store else None,
            seconds=run_seconds,
            tokens_per_second=tokens / run_seconds if run_seconds else None,
        )

    def flops(self, step: Step) -> int:
        """FLOPs of a step."""
        rows, length = step.shape.rows, step.shape.length
        masked = max_masked_positions(length, self.config.masking.mask_probability)
        return self.objective.step_flops(self.pair, step.roles, rows, length, masked)

    def local_rows(self, step: Step) -> int:
        """Rows of the blocks that one device gets in a step."""
        return math.ceil(step.shape.store_rows / self.devices)

    def micro_step(self, step: Step) -> Step:
        """A step with the rows that pass through the networks of one device at once."""
        local = self.local_rows(step)
        rows = min(local, self.config.micro_batch_size or local)
        return Step(step.roles, dataclasses.replace(step.shape, store_rows=rows))

    def step_seconds(self, measured: StepTiming | None) -> Callable[[Step], float] | None:
        """A function that gives the seconds of a step on one device, without waiting for others; None if unknown."""
        throughput = self.options.throughput

        def seconds(step: Step) -> float:
            fraction = self.local_rows(step) / step.shape.store_rows
            if measured is None:
                return fraction * step.shape.tokens / (throughput or 1.0)
            return fraction * self.flops(step) / measured.flops_per_second + measured.seconds_per_update

        return None if measured is None and throughput is None else seconds

    def memory(self) -> tuple[DeviceMemory, int]:
        """The peak memory of a device, and the bytes of a checkpoint."""
        kinds = map(self.micro_step, self.steps)
        by_size = sorted(kinds, key=lambda step: (step.shape.tokens, step.shape.length))
        largest = {step.roles: step for step in by_size}  # the last, and so the largest, of each
        is_gpu = self.target == "gpu"
        precision = self.config.precision or ("bf16" if is_gpu and not torch.cuda.is_available() else None)
        return count_memory(
            *(self.config, self.pair, self.manifest, largest.values()),
            Accelerator.choose(precision).dtype,
            is_gpu=is_gpu,
            accumulates=any(self.micro_step(step).shape.store_rows < self.local_rows(step) for step in self.steps),
            shards=self.devices if self.config.parallel == "fsdp" else 1,
        )

    def checkpoints(self, steps: int) -> int:
        """The most checkpoints that a run leaves: the newest, those of `keep_every`, and the best one."""
        options = self.config.checkpoint
        saved = math.ceil(steps / options.every)
        newest = min(saved, options.keep)
        older, every = saved - newest, math.lcm(options.every, options.keep_every or 1)
        multiples = older * options.every // every if options.keep_every else 0
        # The best checkpoint cannot be older than the first evaluation.
        best = older > multiples and older * options.every >= self.config.evaluation.every
        return newest + multiples + best


def count_steps(plan: Plan, curriculum: Curriculum, total: float, cost: Callable[[Step], float]) -> Counter[Step]:
    """Count the steps of each kind in a run.

    Runs with more than COUNTED_STEPS steps are counted in strides: all steps of a stride are taken to be of the kind of
    its first step. A stride is one step longer than a multiple of the plan's period, so that successive strides begin
    with different roles.

    Args:
        plan: the run's plan, which gives the roles of each step.
        curriculum: the run's curriculum, which gives the shape of each step.
        total: cost of the whole run.
        cost: gives the cost of a step, in the unit of `total`: 1, its seconds or its FLOPs.
    """
    cycle = [Step(plan.roles(0.0, n), curriculum.shape(n)) for n in range(plan.period)]
    strides = total * plan.period / (sum(map(cost, cycle)) * COUNTED_STEPS)
    stride = int(strides) // plan.period * plan.period + 1
    counts: Counter[Step] = Counter()
    done = 0.0
    while done < total:
        number = counts.total()
        step = Step(plan.roles(done / total, number), curriculum.shape(number))
        step_cost = cost(step)
        times = min(stride, math.ceil((total - done) / step_cost))
        counts[step] += times
        done += times * step_cost
    return counts


def read_size(size: str) -> float:
    """Bytes of a size such as `16GB` or `80 GiB`; ElektronError if it is not a size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(i?)b", size.strip().lower())
    if match is None or not float(match[1]):
        raise ElektronError(f"--memory-per-device must be a size such as 16GB or 80GiB, got {size!r}")
    return float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " ")


def assumed_manifest(config: EstimateConfig) -> Manifest:
    """A manifest of blocks that do not exist yet; ElektronError if their sizes are not given."""
    if config.vocab_size is None or config.seq_len is None:
        raise ElektronError("give --data, a folder of blocks, or --vocab-size and --seq-len if there are none yet")
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


def table(result: Estimate, config: EstimateConfig) -> str:
    """The estimate in three columns: names, values and notes."""
    length, memory, disk, measured = result.length, result.memory, result.disk, result.measured
    source, fits = "as given", ""
    if measured is not None:
        mode = "compiled" if measured.compiled else "eager"
        source = f"{measured.device}, {measured.precision}, {mode}, {measured.rows} rows at once"
    if result.fits is not None:
        verb = "fits" if result.fits else "does not fit"
        fits = f", {verb} into {config.memory_per_device}, {HEADROOM:.0%} of it left free"
    temporary = "and temporary tensors; less if compiled"
    if config.parallel == "fsdp":
        temporary = "temporary tensors, gathered weights and gradients"
    size = functools.partial(format_quantity, unit="bytes")
    # Name, value if it is known, how it is written, and a note.
    rows: list[tuple[str, Any, Callable[[Any], str], str]] = [
        *((f"parameters, {name}", n, "{:,}".format, "") for name, n in result.parameters.items()),
        ("steps", length.steps, "{:,}".format, ""),
        ("tokens", length.tokens, "{:.4g}".format, "padding included"),
        ("FLOPs", length.flops, "{:.4g}".format, "matrix products, forward and backward"),
        *([("passes over the corpus", length.passes, "{:.3g}".format, "")] if config.data else []),
        ("time", length.seconds, format_duration, "without evaluation and saving"),
        ("tokens per second", length.tokens_per_second, "{:,.0f}".format, source),
        ("memory per device", memory.total, size, f"{result.rows_at_once:,} rows at once{fits}"),
        ("  weights", memory.weights, size, "fp32"),
        ("  gradients", memory.gradients, size, ""),
        ("  optimizer", memory.optimizer, size, ""),
        ("  activations", memory.activations, size, temporary),
        *([("  measured", measured.memory, size, "by the probe")] if measured else []),
        ("checkpoint on disk", disk.checkpoint, size, f"at most {n} kept" if (n := disk.checkpoints) else ""),
        ("models on disk", disk.models, size, ""),
        ("total on disk", disk.total, size, f"in {config.out}"),
    ]
    lines = [f"{name:<25}{write(value):>13}  {note}" for name, value, write, note in rows if value is not None]
    if unknown := [name for name, value, *_ in rows if value is None]:
        lines.append(f"not known without --throughput or --probe true: {', '.join(unknown)}")
    return "\n".join(map(str.rstrip, lines))
