"""What a device holds while a step runs, by formula.

Weights, gradients, optimizer state, and what the forward pass keeps for the backward pass
(`models/memory.py`), at the moment when all are there at once: the last micro-batch of a step. Weights,
gradients and state are fp32 whatever the precision of products; under bf16 the matrices are there a
second time, in two bytes. Every device has all of it, and its share of the rows.

Under `--parallel fsdp` every device has a part of weights, gradients and state, and whole what is at work
(`pretraining/sharding.py`): embeddings and heads, with their gradients, and an encoder layer with its
own while the next one is fetched. No device needs less than both networks whole: that is how they are built.

Left out are the device's own needs (about half a gigabyte of a GPU), gaps between what is allocated,
and batches of token ids; `HEADROOM` stands for them when a run is held against a device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import nn

from elektron.device import Device
from elektron.estimate.steps import Step
from elektron.models.memory import (
    WIDE,
    Storage,
    encoder_bytes,
    logits_bytes,
    replaced_head_bytes,
    token_head_bytes,
)
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.masking import slots_in_row
from elektron.pretraining.objectives import Objective, Turn
from elektron.pretraining.optimizers import PairOptimizer

HEADROOM = 0.1
"""Share of a device's memory that an estimate leaves free."""
MOMENTS = {"AdamW": 2, "Muon": 1}
"""Numbers of state for each parameter."""
GENERATOR_LOGITS = 3
"""Arrays of the generator's logits that sampling has at once: scores, probabilities, and their running sum."""
CORRECTOR_LOGITS = 2
"""Arrays of the corrector's logits: scores, and their gradient."""


@dataclass(frozen=True)
class DeviceMemory:
    """What a device holds at its fullest, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    weight_copies: int
    """Matrices in the precision of products, where that is not fp32."""
    activations: int
    """What is kept for the backward pass, log-probabilities of heads included."""
    logits: int
    """Scores of all tokens that come and go, of the head that has most."""
    together: int = 0
    """What is whole for the time that it is at work, where the networks are divided."""
    undivided: int = 0
    """The networks before they are divided, where they are: what a device has to hold at the start."""

    @property
    def at_work(self) -> int:
        """In a step, all at once."""
        return sum(asdict(self).values()) - self.undivided

    @property
    def total(self) -> int:
        return max(self.at_work, self.undivided)


class MemoryFormula:
    """The memory of a run's steps."""

    def __init__(
        self,
        config: PretrainConfig,
        pair: Pair,
        objective: Objective,
        storage: Storage,
        devices: int = 1,
    ) -> None:
        self.config = config
        self.pair = pair
        self.objective = objective
        self.storage = storage
        self.parameters = list(pair.parameters())
        self.parts = devices if config.parallel == "fsdp" else 1
        layers = [list(layer.parameters()) for layer in pair.encoder_layers()]
        inside = {p for parameters in layers for p in parameters}
        self.largest_layer = max(numbers(parameters) for parameters in layers)
        self.outside = [p for p in self.parameters if p not in inside]
        self.optimizer = optimizer_bytes(pair, config, self.parts)

    def __call__(self, step: Step, rows: int) -> DeviceMemory:
        """Of a step of that kind, when `rows` of its rows pass through the networks at once."""
        narrow = self.storage.narrow
        # Divided layers travel in the precision of products, and need no copies.
        copied = self.parameters if self.parts == 1 else self.outside
        matrices = numbers(p for p in copied if p.ndim >= 2)
        slots = slots_in_row(step.shape.length, self.config.masking.share)
        return DeviceMemory(
            weights=WIDE * numbers(self.parameters, self.parts),
            gradients=self.gradients(step.turn),
            optimizer=self.optimizer,
            weight_copies=narrow * matrices if narrow < WIDE else 0,
            activations=self.activations(step.turn, rows, step.shape.length, slots),
            logits=self.logits(step.turn, rows, step.shape.length, slots),
            together=self.together(),
            undivided=WIDE * numbers(self.parameters) if self.parts > 1 else 0,
        )

    def together(self) -> int:
        """Embeddings and heads with their gradients, a layer with its own, and the layer that comes next."""
        if self.parts == 1:
            return 0
        return 2 * WIDE * numbers(self.outside) + 3 * self.storage.narrow * self.largest_layer

    def gradients(self, turn: Turn) -> int:
        """Of the networks that learn; what they share has one from each where they are apart."""
        learning = [
            [p for p in self.pair.parameters_of(name) if p.requires_grad]
            for name, learns in ((DISCRIMINATOR, turn.discriminator), (GENERATOR, turn.generator))
            if learns
        ]
        found: Iterable[nn.Parameter] = (p for parameters in learning for p in parameters)
        if not self.config.optimizer.separate:
            found = set(found)
        return WIDE * numbers(found, self.parts)

    def activations(self, turn: Turn, rows: int, length: int, slots: int) -> int:
        """What the networks that learn keep."""
        total = 0
        if turn.generator and self.pair.generator is not None:
            config = self.pair.generator.config
            head = token_head_bytes(config, self.storage)
            if turn.adversarial:  # its choices are scored a second time
                head += logits_bytes(config)
            total += encoder_bytes(config, rows, length, self.storage) + rows * slots * head
        if turn.discriminator:
            total += self.discriminator(turn, rows, length, slots)
        return total

    def discriminator(self, turn: Turn, rows: int, length: int, slots: int) -> int:
        """What the discriminator keeps, with the heads that the objective and the turn ask for."""
        config, storage = self.pair.discriminator.config, self.storage
        total = encoder_bytes(config, rows, length, storage)
        if self.objective.detects:
            total += rows * length * replaced_head_bytes(config, storage)
        total += rows * self.corrected(length, slots) * token_head_bytes(config, storage)
        if (
            turn.similarity
        ):  # both networks' log-probabilities, and what the divergence makes of them
            head = token_head_bytes(config, storage) + 2 * logits_bytes(config)
            total += rows * slots * head
        return total

    def corrected(self, length: int, slots: int) -> int:
        """Positions of a row at which the discriminator predicts tokens."""
        if not self.objective.corrects:
            return 0
        return slots if self.objective.corrects_slots else length

    def logits(self, turn: Turn, rows: int, length: int, slots: int) -> int:
        """Scores that are there for a moment: those of the head that has most."""
        generated = slots * GENERATOR_LOGITS if self.pair.generator is not None else 0
        corrected = 0
        if turn.discriminator:
            compared = slots if turn.similarity else 0
            corrected = max(self.corrected(length, slots), compared) * CORRECTOR_LOGITS
        return rows * max(generated, corrected) * logits_bytes(self.pair.discriminator.config)


def numbers(parameters: Iterable[nn.Parameter], parts: int = 1) -> int:
    """How many there are in all of them, or in the largest part of each, which has its first rows."""
    return sum(math.ceil(p.shape[0] / parts) * p[0].numel() for p in parameters)


def optimizer_bytes(pair: Pair, config: PretrainConfig, parts: int = 1) -> int:
    """State of the optimizers when every parameter has been moved once, whole or of the largest part."""
    return sum(
        WIDE * MOMENTS[type(optimizer).__name__] * numbers(group["params"], parts)
        for optimizer in PairOptimizer(pair, config.optimizer).optimizers()
        for group in optimizer.param_groups
    )


def storage_of(config: PretrainConfig, target: Literal["cpu", "gpu"] | None) -> Storage:
    """How the device keeps numbers: this machine's, or one of the kind that is named.

    A GPU that is not here is taken to be fast in bf16, as all since 2020 are.
    """
    here = "gpu" if torch.cuda.is_available() else "cpu"
    kind = target or here
    if kind == here:
        narrow = Device.choose(config.precision).dtype.itemsize
    else:
        half = config.precision == "bf16" or (config.precision is None and kind == "gpu")
        narrow = 2 if half else WIDE
    return Storage(narrow, fused_dropout=kind == "gpu")


def rows_at_once(step: Step, devices: int, micro_batch: int | None) -> int:
    """Rows of a step that pass through the networks of one device at once."""
    share = math.ceil(step.shape.store_rows / devices)
    return min(share, micro_batch or share) * step.shape.parts


def fullest(
    formula: MemoryFormula, steps: Iterable[Step], devices: int, micro_batch: int | None
) -> DeviceMemory:
    """The memory of the kind of step that needs most."""
    found = [formula(step, rows_at_once(step, devices, micro_batch)) for step in steps]
    return max(found, key=lambda memory: memory.total)
