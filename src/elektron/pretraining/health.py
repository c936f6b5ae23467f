"""Checks whether replaced-token detection is being learned, and raises alarms if it is not.

What went wrong for users of earlier tools showed in these figures long before the end of a run:
a discriminator on the majority class, logits without spread, a generator that never left token
frequencies. The thresholds are wide: a healthy run raises no alarm, and its recall at 0.5 is
near 0 for its first thousands of steps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# An AUC of 0.5 is chance.
AUC_OF_CHANCE = 0.52
# Training metrics, each over `log_every` steps, whose mean AUC is judged.
AUC_WINDOW = 20
# No alarm before this many steps: the discriminator of a healthy run may need several hundred.
STEPS_OF_GRACE = 1000
# Standard deviation of the discriminator's logits below which it says the same of every token.
SPREAD_OF_NOTHING = 0.02
# A generator within this many nats of the unigram entropy knows token frequencies only.
PLATEAU_MARGIN = 0.15


@dataclass(frozen=True)
class Alarm:
    """A finding about a run."""

    name: str
    message: str


@dataclass
class Health:
    """Watches one run. Each alarm is raised once."""

    unigram_entropy: float
    warmup_steps: int
    aucs: deque[float] = field(default_factory=lambda: deque(maxlen=AUC_WINDOW))
    raised: set[str] = field(default_factory=set)

    def watch_training(self, auc: float | None) -> None:
        """Add the AUC of a line of training metrics."""
        if auc is not None:
            self.aucs.append(auc)

    def check(self, step: int, evaluation: dict[str, float | None]) -> list[Alarm]:
        """Alarms that an evaluation raises for the first time."""
        if step < self.warmup_steps + STEPS_OF_GRACE:
            return []
        alarms = [alarm for alarm in self.findings(evaluation) if alarm.name not in self.raised]
        self.raised.update(alarm.name for alarm in alarms)
        return alarms

    def findings(self, evaluation: dict[str, float | None]) -> list[Alarm]:
        """All alarms that an evaluation raises."""
        found = []
        # Without a generator it is the discriminator that fills in masks.
        who = "generator" if evaluation["generator_loss"] is not None else "discriminator"
        loss = evaluation["generator_loss"]
        loss = evaluation["correction_loss"] if loss is None else loss
        spread = evaluation["logit_spread"]
        learns = loss is not None and loss < self.unigram_entropy - PLATEAU_MARGIN
        if learns and len(self.aucs) == AUC_WINDOW and sum(self.aucs) / AUC_WINDOW < AUC_OF_CHANCE:
            found.append(
                Alarm(
                    "discriminator-at-chance",
                    "the generator learns but the discriminator tells replaced tokens no better "
                    "than chance: lower the learning rate, lengthen the warm-up, or make the "
                    "generator smaller",
                )
            )
        if spread is not None and spread < SPREAD_OF_NOTHING:
            found.append(
                Alarm(
                    "logits-without-spread",
                    "the discriminator says the same of every token (it sits on the majority "
                    "class): lower the learning rate or lengthen the warm-up",
                )
            )
        if not learns:
            found.append(
                Alarm(
                    f"{who}-at-unigrams",
                    f"the {who} knows token frequencies only (loss near their entropy of "
                    f"{self.unigram_entropy:.2f} nats): check the data with `elektron inspect`, "
                    "or raise the learning rate",
                )
            )
        return found
