"""Counting steps in strides, compared with counting them one by one."""

from collections import Counter

import pytest

from elektron.estimate import estimate
from elektron.estimate.estimate import Step, count_steps
from elektron.pretraining.config import CurriculumConfig, PlanOptions, PretrainConfig
from elektron.pretraining.plans import make_plan
from elektron.pretraining.schedules import Curriculum

PLANS = {
    "joint": PlanOptions(),
    "two_stage": PlanOptions(),
    "alternating": PlanOptions(generator_turn=2, discriminator_turn=3),
}
RAMPS = [
    CurriculumConfig(),
    CurriculumConfig(first_batch_size=2, batch_fraction=0.7),
    CurriculumConfig(first_length=8, first_batch_size=4, length_fraction=0.3),
]


def one_by_one(plan, curriculum, total, cost):
    counts, number, done = Counter(), 0, 0.0
    while done < total:
        step = Step(plan.roles(done / total, number), curriculum.shape(number))
        counts[step] += 1
        number += 1
        done += cost(step)
    return counts


@pytest.mark.parametrize("curriculum", RAMPS, ids=str)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("steps", [7, 8, 100, 1013])
def test_step_budget_equals_counting_one_by_one(plan, curriculum, steps):
    config = PretrainConfig(plan=plan, plan_options=PLANS[plan], curriculum=curriculum, steps=steps, batch_size=16)
    shapes, its_plan = Curriculum(config, 32), make_plan(config, steps)
    counts = count_steps(its_plan, shapes, steps, lambda step: 1)
    assert counts == one_by_one(its_plan, shapes, steps, lambda step: 1)
    assert counts.total() == steps


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("total", [1, 500, 12_345, 99_999])
def test_flops_budget_equals_counting_one_by_one(plan, total):
    """Steps differ in cost, as with a budget of time or FLOPs."""
    config = PretrainConfig(plan=plan, plan_options=PLANS[plan], flops=total, batch_size=16)
    shapes, its_plan = Curriculum(config, 32), make_plan(config, None)

    def cost(step):
        return 10 + 7 * step.roles.generator + 30 * step.roles.discriminator

    counts = count_steps(its_plan, shapes, total, cost)
    assert counts == one_by_one(its_plan, shapes, total, cost)


@pytest.mark.parametrize("curriculum", RAMPS, ids=str)
@pytest.mark.parametrize("plan", PLANS)
def test_strides_approximate_counting_one_by_one(plan, curriculum, monkeypatch):
    """The count of each kind of step is within a few strides of the exact one, and the total is exact."""
    monkeypatch.setattr(estimate, "COUNTED_STEPS", 200)
    config = PretrainConfig(plan=plan, plan_options=PLANS[plan], curriculum=curriculum, steps=10_007, batch_size=16)
    shapes, its_plan = Curriculum(config, 32), make_plan(config, 10_007)
    counts = count_steps(its_plan, shapes, 10_007, lambda step: 1)
    exact = one_by_one(its_plan, shapes, 10_007, lambda step: 1)
    assert counts.total() == 10_007
    assert counts.keys() == exact.keys()
    assert all(abs(counts[step] - exact[step]) < 10_007 / 50 for step in exact)
