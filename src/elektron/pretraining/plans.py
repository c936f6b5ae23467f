"""Plans: which network is trained when.

Before every step a plan gives the update roles and the sampling temperature, as functions of the step and of the
fraction of the run that is done. `two_stage` has two stages, each with its own learning-rate schedule; the other plans
have one. Plans have no state, so resuming needs nothing else.
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
from elektron.pretraining.objectives import UpdateRoles

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """`joint`, the paper's default: both networks are trained at every step."""

    name: ClassVar[str] = "joint"
    period: int = 1
    """Steps after which the roles repeat within a stage."""

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """The plan with its configured options, for a run of `steps` steps if that is known."""
        return cls()

    def roles(self, fraction: float, step: int) -> UpdateRoles:
        """The update roles in step number `step` (from 0), when `fraction` of the run is done."""
        return UpdateRoles()

    def temperature(self, fraction: float) -> float:
        """Sampling temperature of the generator."""
        return 1.0

    def stage(self, fraction: float) -> int:
        """The stage that the run is in, from 0."""
        return 0

    def stage_fraction(self, fraction: float) -> float:
        """The fraction of the current stage that is done, from 0 to 1."""
        return fraction

    def trains_discriminator(self, stage: int) -> bool:
        """Whether the discriminator is trained in a stage, and so is worth evaluating."""
        return True

    @property
    def shortest_stage(self) -> float:
        """Fraction of the run that its shortest stage takes."""
        return 1.0

    def start_stage(self, stage: int, pair: Pair) -> None:
        """Prepare the networks for a stage."""

    def prepare(self, pair: Pair) -> None:
        """Change the networks before the first step and before the optimizer is made."""


@dataclass(frozen=True)
class TwoStage(Plan):
    """The generator alone, then the discriminator against the frozen generator (paper, §3.2).

    Between the stages the generator's weights are copied into the discriminator where shapes match; otherwise the
    discriminator may keep predicting the majority class ("original"). Each stage has its own warm-up and decay. The
    article (docs/article.md) calls them the teacher's and the student's stage.
    """

    name: ClassVar[str] = "two_stage"
    boundary: float = 0.5
    """Fraction of the run that the first stage takes."""

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """`generator_steps` of all steps, or half of them.

        Raises:
            ElektronError: no step is left for one of the stages.
        """
        first = options.generator_steps or (steps or 2) // 2
        if steps is not None and not 0 < first < steps:
            raise ElektronError(
                f"plan two_stage has {steps} steps for two stages, and the first would take {first}: "
                "give more steps, or fewer to --plan-options.generator-steps"
            )
        return cls() if options.generator_steps is None or steps is None else cls(boundary=first / steps)

    @property
    def shortest_stage(self) -> float:
        return min(self.boundary, 1 - self.boundary)

    def roles(self, fraction: float, step: int) -> UpdateRoles:
        second = self.stage(fraction) == 1
        return UpdateRoles(generator=not second, discriminator=second)

    def stage(self, fraction: float) -> int:
        # A step's fraction is step / steps: at the boundary it may be off by rounding.
        return int(fraction >= self.boundary or math.isclose(fraction, self.boundary))

    def trains_discriminator(self, stage: int) -> bool:
        return stage == 1

    def stage_fraction(self, fraction: float) -> float:
        first, left = self.boundary, 1 - self.boundary
        return max(0.0, fraction - first) / left if self.stage(fraction) else fraction / first

    def start_stage(self, stage: int, pair: Pair) -> None:
        """Start the discriminator from the generator's weights."""
        if stage == 1:
            copied, total = copy_weights(pair)
            what = f"{copied} of the discriminator's {total} encoder weights were copied from the generator"
            log.info(f"second stage: {what}, which is frozen from here on")


@dataclass(frozen=True)
class Alternating(Plan):
    """Some steps for the generator, then some for the discriminator, alternating.

    With `similarity`, the discriminator is also trained towards the generator's token distribution at masked
    positions, as the article describes ("updated in turn to maximise similarity").
    """

    name: ClassVar[str] = "alternating"
    generator_turn: int = 1
    similarity: bool = False

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        """One step each, unless configured otherwise.

        Raises:
            ElektronError: the run ends before the discriminator is trained.
        """
        generator_turn = options.generator_turn or 1
        if steps is not None and generator_turn >= steps:
            raise ElektronError(
                f"plan alternating trains the generator for the first {generator_turn} steps, and the run has {steps}: "
                "give more steps, or a lower --plan-options.generator-turn, to train the discriminator"
            )
        period = generator_turn + (options.discriminator_turn or 1)
        return cls(period, generator_turn, bool(options.similarity))

    def roles(self, fraction: float, step: int) -> UpdateRoles:
        generator = step % self.period < self.generator_turn
        return UpdateRoles(generator, not generator, similarity=self.similarity and not generator)


@dataclass(frozen=True)
class Adversarial(Plan):
    """The generator is trained to fool the discriminator, by policy gradient (paper, appendix F)."""

    name: ClassVar[str] = "adversarial"

    def roles(self, fraction: float, step: int) -> UpdateRoles:
        return UpdateRoles(adversarial=True)

    def prepare(self, pair: Pair) -> None:
        """Add the head that predicts the reward."""
        pair.add_baseline()


@dataclass(frozen=True)
class FrozenGenerator(Plan):
    """A pre-trained generator whose sampling temperature decays to 1 (Fast-ELECTRA, Dong et al. 2023).

    With T_0 the initial temperature and τ the fraction of the run in which its excess over 1 decays to 1/e,

        T(fraction) = 1 + (T_0 − 1) · exp(−fraction / τ).
    """

    name: ClassVar[str] = "frozen_generator"
    start: float = 2.0
    decay: float = 0.25

    @classmethod
    def of(cls, options: PlanOptions, steps: int | None) -> Plan:
        return cls(
            start=cls.start if options.temperature is None else options.temperature,
            decay=options.temperature_decay or cls.decay,
        )

    def roles(self, fraction: float, step: int) -> UpdateRoles:
        return UpdateRoles(generator=False)

    def temperature(self, fraction: float) -> float:
        return 1 + (self.start - 1) * math.exp(-fraction / self.decay)

    def prepare(self, pair: Pair) -> None:
        """Freeze the generator before the optimizer is made."""
        assert pair.generator is not None
        pair.generator.requires_grad_(False)


PLANS: dict[str, type[Plan]] = {plan.name: plan for plan in (Plan, TwoStage, Alternating, Adversarial, FrozenGenerator)}


def make_plan(config: PretrainConfig, steps: int | None) -> Plan:
    """The configured plan, for a run of `steps` steps if that is known."""
    return PLANS[config.plan].of(config.plan_options, steps)


@torch.no_grad()
def copy_weights(pair: Pair) -> tuple[int, int]:
    """Copy the generator's encoder weights into the discriminator's where shapes match.

    Gradient-disentangled embeddings are skipped: they contain the generator's already.

    Returns:
        How many weights were copied, and how many the discriminator's encoder has.
    """
    assert pair.generator is not None
    encoder = pair.discriminator.base_model
    source = dict(pair.generator.base_model.named_parameters())
    disentangled = {f"{name}.weight" for name, module in encoder.named_modules() if isinstance(module, GdesEmbedding)}
    copied = total = 0
    for name, parameter in encoder.named_parameters():
        total += parameter.numel()
        fits = name in source and source[name].shape == parameter.shape
        if fits and name not in disentangled:
            parameter.copy_(source[name])
            copied += parameter.numel()
    return copied, total
