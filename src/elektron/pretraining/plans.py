"""Plans: which network is trained when.

A plan is asked before every step, with the share of the run that is done and the step's number. It
answers with the turn (who learns) and the temperature of the samples. `two_stage` has two stages,
with a schedule of the learning rate for each and something to do between them; the other plans have
one. What a plan needs of the past is a function of these numbers, so a resumed run needs nothing else.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from elektron.errors import ElektronError
from elektron.models.pair import Pair
from elektron.models.sharing import GdesEmbedding
from elektron.pretraining.config import PlanOptions, PretrainConfig
from elektron.pretraining.objectives import Turn

log = logging.getLogger(__name__)

START_TEMPERATURE = 2.0
TEMPERATURE_DECAY = 0.25


@dataclass(frozen=True)
class Plan:
    """`joint`, the paper's default: both networks learn at every step."""

    name: ClassVar[str] = "joint"

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """With the configured numbers, for a run of `steps` steps if that is known."""
        return cls()

    def turn(self, share: float, step: int) -> Turn:
        """Who learns in step number `step` (from 0), when `share` of the run is done."""
        return Turn()

    @property
    def period(self) -> int:
        """Steps after which, within a stage, the turns repeat."""
        return 1

    def temperature(self, share: float) -> float:
        """Of the generator's samples."""
        return 1.0

    def stage(self, share: float) -> int:
        """Which stage the run is in, counted from 0."""
        return 0

    def share_of_stage(self, share: float) -> float:
        """How much of its stage is done."""
        return share

    def judges(self, stage: int) -> bool:
        """Whether the discriminator learns in a stage, and so has anything to say."""
        return True

    @property
    def shortest_stage(self) -> float:
        """Share of the run that its shortest stage takes."""
        return 1.0

    def enter(self, stage: int, pair: Pair) -> None:
        """Do what has to be done between two stages."""

    def prepare(self, pair: Pair) -> None:
        """Do what has to be done before the first step."""


@dataclass(frozen=True)
class TwoStage(Plan):
    """The generator alone, then the discriminator against what it has become (paper, §3.2).

    Between the stages the generator's weights are copied into the discriminator where shapes allow;
    without that the discriminator may never leave the majority class. Each stage has a warm-up and a
    fall of the rate of its own. It is what the article calls the teacher's and the student's stage.
    """

    name: ClassVar[str] = "two_stage"

    boundary: float = 0.5
    """Share of the run that the first stage takes."""

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """`generator_steps` of all, or half.

        Raises:
            ElektronError: nothing is left for one of the two.
        """
        first = options.generator_steps or (steps or 2) // 2
        if steps is not None and not 0 < first < steps:
            raise ElektronError(
                f"plan two_stage has {steps} steps for two stages, and the first would take {first}: "
                "give more steps, or fewer to --plan-options.generator-steps"
            )
        if options.generator_steps is None:
            return cls()
        assert steps is not None
        return cls(options.generator_steps / steps)

    @property
    def shortest_stage(self) -> float:
        """Of the two."""
        return min(self.boundary, 1 - self.boundary)

    def turn(self, share: float, step: int) -> Turn:
        """One network in each stage."""
        second = self.stage(share) == 1
        return Turn(generator=not second, discriminator=second)

    def stage(self, share: float) -> int:
        """The second from the boundary on."""
        # A step's share is step / steps: at the boundary it may be off by rounding.
        return int(share >= self.boundary or math.isclose(share, self.boundary))

    def judges(self, stage: int) -> bool:
        """In the second stage."""
        return stage == 1

    def share_of_stage(self, share: float) -> float:
        """From 0 to 1 in each."""
        if self.stage(share) == 0:
            return share / self.boundary
        return max(0.0, share - self.boundary) / (1 - self.boundary)

    def enter(self, stage: int, pair: Pair) -> None:
        """Let the discriminator begin as the generator ended."""
        if stage == 1:
            copied, total = copy_weights(pair)
            log.info(
                "second stage: %d of the discriminator's %d encoder weights start as the "
                "generator's; the generator stays as it is",
                copied,
                total,
            )


@dataclass(frozen=True)
class Alternating(Plan):
    """Some steps for the generator, then some for the discriminator, in turn.

    With a similarity the discriminator also learns the generator's distribution over tokens at
    masked positions: it is what remains of the article's "updated in turn to maximise similarity".
    """

    name: ClassVar[str] = "alternating"

    generator_turn: int = 1
    discriminator_turn: int = 1
    similarity: bool = False

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """Single steps in turn, unless said otherwise.

        Raises:
            ElektronError: the run ends before the discriminator has a turn.
        """
        generator_turn = options.generator_turn or 1
        if steps is not None and generator_turn >= steps:
            raise ElektronError(
                f"the generator's first turn takes {generator_turn} of {steps} steps, and the "
                "discriminator has none: give more steps, or fewer to --plan-options.generator-turn"
            )
        return cls(generator_turn, options.discriminator_turn or 1, bool(options.similarity))

    def turn(self, share: float, step: int) -> Turn:
        """The generator first."""
        generator = step % (self.generator_turn + self.discriminator_turn) < self.generator_turn
        return Turn(generator, not generator, similarity=self.similarity and not generator)

    @property
    def period(self) -> int:
        """Both turns."""
        return self.generator_turn + self.discriminator_turn


@dataclass(frozen=True)
class Adversarial(Plan):
    """The generator learns to mislead the discriminator, by policy gradient (paper, appendix F)."""

    name: ClassVar[str] = "adversarial"

    def turn(self, share: float, step: int) -> Turn:
        """Both, and the generator from the discriminator's mistakes."""
        return Turn(adversarial=True)

    def prepare(self, pair: Pair) -> None:
        """A head that foresees the reward."""
        pair.add_baseline()


@dataclass(frozen=True)
class FrozenGenerator(Plan):
    """A ready-made generator, whose samples get harder as their temperature falls (Fast-ELECTRA, Dong et al. 2023).

    With T_0 at first and τ the share of the run in which the excess falls to a third (to 1/e),

        T(share) = 1 + (T_0 − 1) · exp(−share / τ).
    """

    name: ClassVar[str] = "frozen_generator"

    start: float = START_TEMPERATURE
    decay: float = TEMPERATURE_DECAY

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """The temperature and its fall."""
        return cls(
            START_TEMPERATURE if options.temperature is None else options.temperature,
            TEMPERATURE_DECAY if options.temperature_decay is None else options.temperature_decay,
        )

    def turn(self, share: float, step: int) -> Turn:
        """The discriminator only."""
        return Turn(generator=False)

    def temperature(self, share: float) -> float:
        """High at first."""
        return 1 + (self.start - 1) * math.exp(-share / self.decay)

    def prepare(self, pair: Pair) -> None:
        """No optimizer shall know the generator."""
        assert pair.generator is not None
        pair.generator.requires_grad_(False)


PLANS: dict[str, type[Plan]] = {
    plan.name: plan for plan in (Plan, TwoStage, Alternating, Adversarial, FrozenGenerator)
}


def make_plan(config: PretrainConfig, steps: int | None) -> Plan:
    """The configured plan, for a run of `steps` steps if that is known."""
    return PLANS[config.plan].of(config.plan_options, steps)


@torch.no_grad()
def copy_weights(pair: Pair) -> tuple[int, int]:
    """Copy the generator's encoder into the discriminator's where shapes are equal; how many weights, of how many.

    Disentangled embeddings read the generator's already.
    """
    assert pair.generator is not None
    source = dict(pair.generator.base_model.named_parameters())
    target = dict(pair.discriminator.base_model.named_parameters())
    apart = {
        f"{name}.weight"
        for name, module in pair.discriminator.base_model.named_modules()
        if isinstance(module, GdesEmbedding)
    }
    fitting = [
        name
        for name, parameter in target.items()
        if name in source and source[name].shape == parameter.shape and name not in apart
    ]
    for name in fitting:
        target[name].copy_(source[name])
    total = sum(parameter.numel() for parameter in target.values())
    return sum(target[name].numel() for name in fitting), total
