"""Whether replaced-token detection is being learned: the losses of networks that have learned nothing, and alarms."""

from __future__ import annotations

import math
from collections import deque

# The thresholds are wide: a healthy run raises no alarm.
CHANCE_AUC = 0.52  # an AUC of 0.5 is chance
AUC_WINDOW = 20  # lines of training metrics whose mean AUC is compared with chance
GRACE_STEPS = 1000  # no alarm before: the discriminator of a healthy run may need several hundred steps
CONSTANT_LOGIT_SPREAD = 0.02  # standard deviation below which all logits are nearly the same
UNIGRAM_MARGIN = 0.15  # nats below the unigram entropy: a generator above knows token frequencies only


def base_rate_loss(replaced_share: float) -> float:
    """The loss in nats of a discriminator that predicts the fraction of replaced tokens as probability for every token.

    It is the entropy of the Bernoulli distribution with that fraction.
    """
    return -sum(p * math.log(p) for p in (replaced_share, 1 - replaced_share) if p > 0)


def first_judged_step(warmup: float, steps: int | None) -> int:
    """The first step, of a run or of a stage of its plan, after which an evaluation can raise an alarm.

    Args:
        warmup: below 1 a fraction of the run, else a number of steps.
        steps: number of steps of the run, if known.
    """
    return int(warmup * (steps or 0) if warmup < 1 else warmup) + GRACE_STEPS


class Health:
    """Raises alarms, each once, if replaced-token detection is not being learned.

    They show failures long before the end of a run: a discriminator at chance, logits without spread (it predicts the
    majority class), or a generator that predicts token frequencies only.
    """

    def __init__(self, unigram_entropy: float, first_judged_step: int) -> None:
        self.unigram_entropy = unigram_entropy
        self.first_judged_step = first_judged_step
        self.aucs: deque[float] = deque(maxlen=AUC_WINDOW)
        self.raised: set[str] = set()

    def watch_training(self, auc: float | None) -> None:
        """Add the AUC of a line of training metrics."""
        if auc is not None:
            self.aucs.append(auc)

    def check(self, step: int, evaluation: dict[str, float | None]) -> dict[str, str]:
        """The messages, by alarm, of the alarms that an evaluation raises for the first time."""
        if step < self.first_judged_step:
            return {}
        # Without a generator (objective mlm), the discriminator predicts the masked tokens.
        name = "generator" if evaluation["generator_loss"] is not None else "discriminator"
        loss = evaluation["generator_loss" if name == "generator" else "lm_loss"]
        logit_std = evaluation["logit_spread"]
        learns = loss is not None and loss < self.unigram_entropy - UNIGRAM_MARGIN
        at_chance = len(self.aucs) == AUC_WINDOW and sum(self.aucs) / AUC_WINDOW < CHANCE_AUC
        alarms = {}
        if learns and at_chance:
            alarms["discriminator-at-chance"] = (
                "the generator learns but the discriminator detects replaced tokens no better than chance: "
                "lower the learning rate, lengthen the warm-up, or make the generator smaller"
            )
        if logit_std is not None and logit_std < CONSTANT_LOGIT_SPREAD:
            alarms["logits-without-spread"] = (
                "the discriminator predicts nearly the same for every token (the majority class): lower the "
                "learning rate or lengthen the warm-up"
            )
        if not learns:
            alarms[f"{name}-at-unigrams"] = (
                f"the {name} has learned only token frequencies (loss near their entropy of "
                f"{self.unigram_entropy:.2f} nats): check the data with `elektron inspect`, or raise the "
                "learning rate"
            )
        new = {alarm: message for alarm, message in alarms.items() if alarm not in self.raised}
        self.raised.update(new)
        return new
