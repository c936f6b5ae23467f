"""Alarms about a run: each is raised once for its own cause; and the loss at the base rate."""

import math

import pytest

from elektron.pretraining.health import AUC_WINDOW, GRACE_STEPS, Health, base_rate_loss, first_judged_step

LATE = GRACE_STEPS + 100
HEALTHY = {"generator_loss": 4.0, "logit_spread": 0.8}


def watched(auc: float) -> Health:
    health = Health(unigram_entropy=6.0, first_judged_step=first_judged_step(50, None))
    for _ in range(AUC_WINDOW):
        health.watch_training(auc)
    return health


def test_healthy_run_raises_no_alarm():
    assert watched(0.7).check(LATE, HEALTHY) == {}


@pytest.mark.parametrize(
    ("auc", "figures", "alarm"),
    [
        (0.505, HEALTHY, "discriminator-at-chance"),
        (0.7, HEALTHY | {"logit_spread": 0.001}, "logits-without-spread"),
        (0.7, HEALTHY | {"generator_loss": 5.95}, "generator-at-unigrams"),
    ],
)
def test_each_alarm_is_raised_once(auc, figures, alarm):
    health = watched(auc)
    assert list(health.check(LATE, figures)) == [alarm]
    assert health.check(LATE + 1000, figures) == {}


def test_generator_at_unigrams_suppresses_discriminator_at_chance():
    alarms = watched(0.5).check(LATE, HEALTHY | {"generator_loss": 6.2})
    assert list(alarms) == ["generator-at-unigrams"]


def test_no_alarm_is_raised_during_grace_steps():
    assert watched(0.5).check(GRACE_STEPS + 49, HEALTHY | {"generator_loss": 7.0}) == {}


def test_undefined_auc_raises_no_alarm():
    health = Health(unigram_entropy=6.0, first_judged_step=GRACE_STEPS)
    for _ in range(AUC_WINDOW):
        health.watch_training(None)
    assert health.check(LATE, HEALTHY) == {}


def test_lm_loss_at_unigrams_raises_alarm_without_generator():
    figures = {"generator_loss": None, "lm_loss": 5.95, "logit_spread": None}
    health = Health(unigram_entropy=6.0, first_judged_step=GRACE_STEPS)
    assert list(health.check(LATE, figures)) == ["discriminator-at-unigrams"]
    health = Health(unigram_entropy=6.0, first_judged_step=GRACE_STEPS)
    assert health.check(LATE, figures | {"lm_loss": 4.0}) == {}


def test_base_rate_loss_equals_binary_entropy():
    assert base_rate_loss(0.5) == pytest.approx(math.log(2))
    assert base_rate_loss(0.139) == pytest.approx(0.2743 + 0.1289, abs=1e-4)  # -0.139 ln 0.139 - 0.861 ln 0.861
    assert base_rate_loss(0.0) == base_rate_loss(1.0) == 0


@pytest.mark.parametrize(("warmup", "steps", "first"), [(0.1, 5000, 1500), (50, 5000, 1050), (0.1, None, 1000)])
def test_first_judged_step_is_after_warmup(warmup, steps, first):
    assert first_judged_step(warmup, steps) == first
