"""A configured run, of which nothing but sizes exists: where all figures of an estimate come together."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from elektron.corpus.blocks import BlockStore
from elektron.corpus.vocabulary import load_tokenizer
from elektron.errors import ElektronError
from elektron.estimate.asked import bytes_of, manifest_of, refuse_bad_values
from elektron.estimate.config import EstimateConfig
from elektron.estimate.disk import disk_of
from elektron.estimate.figures import Estimate, Fit, Length
from elektron.estimate.memory import (
    HEADROOM,
    DeviceMemory,
    MemoryFormula,
    fullest,
    optimizer_bytes,
    rows_at_once,
    storage_of,
)
from elektron.estimate.probe import Probed, probe
from elektron.estimate.steps import Step, count_steps
from elektron.models.pair import Pair
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.pretraining.flops import StepFlops
from elektron.pretraining.foundations import (
    check_rows,
    like_the_released_pair,
    pair_for,
    prepare_run,
    released_networks,
)
from elektron.pretraining.masking import slots_in_row
from elektron.pretraining.objectives import Turn, make_objective
from elektron.pretraining.ramp import Shape

NOMINAL_STEPS = 1000
"""Length of a run whose steps cannot be known, to see which kinds of step it has."""


class Run:
    """A configured run, of which nothing but sizes exists."""

    def __init__(self, config: EstimateConfig) -> None:
        """Check everything; raises ElektronError for what cannot work."""
        refuse_bad_values(config)
        self.asked = config
        self.config = resolve(like_the_released_pair(config))
        self.store = None if config.data is None else BlockStore.open(config.data)
        if self.store is not None:
            check_rows(self.config, self.store)
        self.manifest = self.store.manifest if self.store else manifest_of(config)
        self.devices = config.devices or config.nproc or 1
        tokenizer = load_tokenizer(str(self.store.tokenizer_folder)) if self.store else None
        self.ramp, self.plan, _ = prepare_run(self.config, self.manifest, tokenizer)
        if self.devices > self.ramp.batches[0]:
            raise ElektronError(
                f"{self.devices} devices cannot share the {self.ramp.batches[0]} rows of a step: "
                "raise --batch or lower --devices"
            )
        self.objective = make_objective(
            self.config, self.manifest.special_ids, self.manifest.vocab_size
        )
        self.pair = self.bare_pair(self.config)
        self.storage = storage_of(self.config, config.target)
        self.step_flops = StepFlops(self.pair, self.objective)

    def bare_pair(self, config: PretrainConfig) -> Pair:
        """The networks, without memory if they are new."""
        with torch.device("cpu" if released_networks(config) else "meta"):
            pair = pair_for(config, self.manifest)
            self.plan.prepare(pair)
        return pair

    def estimate(self) -> Estimate:
        """All figures."""
        kinds = self.count(self.ramp.steps or NOMINAL_STEPS, lambda step: 1)
        probed = self.probed(kinds) if self.asked.probe else None
        length = self.length(self.step_seconds(probed))
        formula = self.formula(self.pair, self.config)
        memory = self.memory(formula, kinds, self.config.micro_batch)
        unique = sum(parameter.numel() for parameter in self.pair.parameters())
        return Estimate(
            parameters=self.pair.parameter_counts(self.objective.detects) | {"total": unique},
            length=length,
            rows_at_once=max(
                rows_at_once(step, self.devices, self.config.micro_batch) for step in kinds
            ),
            memory=memory,
            fit=self.fit(formula, kinds, memory),
            disk=disk_of(
                self.config,
                self.pair,
                self.objective,
                optimizer_bytes(self.pair, self.config),
                length.steps,
                self.store.tokenizer_folder if self.store else None,
            ),
            probed=probed,
            probed_formula=None if probed is None else self.probed_memory(probed),
        )

    def length(self, seconds: Callable[[Step], float] | None) -> Length:
        """Steps and what follows from them, given how long one takes if that is known."""
        counts = self.counts(seconds)
        if counts is None:
            return Length()

        def summed(of: Callable[[Step], Any]) -> Any:
            return sum(number * of(step) for step, number in counts.items())

        tokens, took = summed(lambda step: step.shape.tokens), summed(seconds) if seconds else None
        rows = summed(lambda step: step.shape.store_rows)
        return Length(
            steps=counts.total(),
            tokens=tokens,
            flops=summed(self.flops),
            passes=rows / len(self.store.rows("train")) if self.store else None,
            seconds=took,
            tokens_per_second=tokens / took if took else None,
        )

    def counts(self, seconds: Callable[[Step], float] | None) -> Counter[Step] | None:
        """The run's steps by kind, if its length and what is known of its speed tell."""
        if self.ramp.steps is not None:
            return self.count(self.ramp.steps, lambda step: 1)
        if self.config.flops is not None:
            return self.count(self.config.flops, self.flops)
        if seconds is None or self.config.minutes is None:
            return None
        return self.count(self.config.minutes * 60, seconds)

    def count(self, total: float, cost: Callable[[Step], float]) -> Counter[Step]:
        """The steps that it takes to a total."""
        return count_steps(self.plan, self.ramp, total, cost)

    def flops(self, step: Step) -> int:
        """Of one step."""
        slots = slots_in_row(step.shape.length, self.config.masking.share)
        return self.step_flops(step.turn, step.shape.rows, step.shape.length, slots)

    def probed(self, kinds: Counter[Step]) -> Probed:
        """What is measured here, with as many rows at once as the run would have."""
        rows: dict[tuple[Turn, int], int] = {}
        for step in kinds:
            its = rows_at_once(step, self.devices, self.config.micro_batch) // step.shape.parts
            key = step.turn, step.shape.length
            rows[key] = max(rows.get(key, 0), its)
        return probe(self.config, self.plan, self.manifest, self.store, rows)

    def probed_memory(self, probed: Probed) -> int:
        """What the formula says of the rows that were probed, by networks that are not divided."""
        formula = MemoryFormula(self.config, self.pair, self.objective, self.storage)
        return max(
            formula(Step(turn, Shape(speed.rows, 1, length)), speed.rows).total
            for (turn, length), speed in probed.speeds.items()
        )

    def step_seconds(self, probed: Probed | None) -> Callable[[Step], float] | None:
        """How long a step takes, if that is known: its share of rows on one device, and no waiting for others."""
        if probed is not None:
            return lambda step: probed.speeds[step.turn, step.shape.length].seconds(
                self.share(step)
            )
        throughput = self.asked.throughput
        return None if throughput is None else lambda step: self.share(step) / throughput

    def share(self, step: Step) -> int:
        """Tokens of a step on the device that has most of them."""
        return rows_at_once(step, self.devices, None) * step.shape.length

    def formula(self, pair: Pair, config: PretrainConfig) -> MemoryFormula:
        """What steps of a pair need."""
        return MemoryFormula(config, pair, self.objective, self.storage, self.devices)

    def memory(
        self, formula: MemoryFormula, kinds: Counter[Step], micro_batch: int | None
    ) -> DeviceMemory:
        """The most that a device holds."""
        return fullest(formula, kinds, self.devices, micro_batch)

    def fit(self, formula: MemoryFormula, kinds: Counter[Step], memory: DeviceMemory) -> Fit | None:
        """Whether it fits into the memory of a device, if that was told."""
        if self.asked.memory_per_device is None:
            return None
        available = bytes_of(self.asked.memory_per_device) * (1 - HEADROOM)
        fits = memory.total <= available
        return Fit(fits, None if fits else self.advice(formula, kinds, available))

    def advice(self, formula: MemoryFormula, kinds: Counter[Step], available: float) -> str:
        """What to change for the run to fit: first fewer rows at once, or parts of the networks, then fewer layers."""
        found = [self.fewer_rows(formula, kinds, available), self.parts(kinds, available)]
        if ways := [way for way in found if way is not None]:
            return f"{' or '.join(ways)} would fit"
        if released_networks(self.config):
            return "not even --micro-batch 1 would fit, and the sizes are those of what is there"
        for layers in range(self.config.network.layers - 1, 0, -1):
            smaller = self.with_layers(layers)
            its = self.formula(self.bare_pair(smaller), smaller)
            if self.memory(its, kinds, 1).total <= available:
                change = f"--micro-batch 1 --network.layers {layers}"
                if self.asked.network.generator_layers is not None:
                    change += f" --network.generator-layers {smaller.network.generator_layers}"
                return f"only {change} would fit"
        return "not even one layer of this width would fit: lower --network.hidden"

    def fewer_rows(
        self, formula: MemoryFormula, kinds: Counter[Step], available: float
    ) -> str | None:
        """The largest --micro-batch that fits, of those that divide a device's rows."""
        rows = math.ceil(max(step.shape.store_rows for step in kinds) / self.devices)
        now = min(rows, self.config.micro_batch or rows)
        for micro_batch in (size for size in range(now - 1, 0, -1) if rows % size == 0):
            if self.memory(formula, kinds, micro_batch).total <= available:
                return f"--micro-batch {micro_batch}"
        return None

    def parts(self, kinds: Counter[Step], available: float) -> str | None:
        """`--parallel fsdp`, with the --micro-batch that it needs, where there are several devices and it fits."""
        if self.devices == 1 or self.config.parallel == "fsdp" or self.config.compile:
            return None
        divided = self.formula(self.pair, dataclasses.replace(self.config, parallel="fsdp"))
        if self.memory(divided, kinds, self.config.micro_batch).total <= available:
            return "--parallel fsdp"
        fewer = self.fewer_rows(divided, kinds, available)
        return None if fewer is None else f"--parallel fsdp {fewer}"

    def with_layers(self, layers: int) -> PretrainConfig:
        """The same run with fewer layers, those of the generator in proportion."""
        network = self.asked.network
        its = network.generator_layers
        if its is not None:
            its = max(1, round(its * layers / network.layers))
        smaller = dataclasses.replace(network, layers=layers, generator_layers=its)
        return resolve(dataclasses.replace(self.asked, network=smaller))
