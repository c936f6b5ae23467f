"""Counting in strides, against taking every step."""

from collections import Counter

import pytest

from elektron.estimate.steps import count_steps, step_at
from elektron.pretraining.config import PlanOptions, PretrainConfig, RampConfig
from elektron.pretraining.plans import make_plan
from elektron.pretraining.ramp import Ramp

PLANS = {
    "joint": PlanOptions(),
    "two_stage": PlanOptions(),
    "alternating": PlanOptions(generator_turn=2, discriminator_turn=3),
}
RAMPS = [
    RampConfig(),
    RampConfig(first_batch=2, batch_share=0.7),
    RampConfig(first_length=8, first_batch=4, length_share=0.3),
]


def one_by_one(plan, ramp, total, cost):
    found, number, done = Counter(), 0, 0.0
    while done < total:
        step = step_at(plan, ramp, done / total, number)
        found[step] += 1
        number += 1
        done += cost(step)
    return found


@pytest.mark.parametrize("ramp", RAMPS, ids=str)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("steps", [7, 8, 100, 1013])
def test_steps(plan, ramp, steps):
    config = PretrainConfig(plan=plan, plan_options=PLANS[plan], ramp=ramp, steps=steps, batch=16)
    shapes, its_plan = Ramp(config, 32), make_plan(config, steps)
    found = count_steps(its_plan, shapes, steps, lambda step: 1)
    assert found == one_by_one(its_plan, shapes, steps, lambda step: 1)
    assert found.total() == steps


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("total", [1, 500, 12_345, 99_999])
def test_amounts(plan, total):
    """Of time or operations, where steps are of different cost."""
    config = PretrainConfig(plan=plan, plan_options=PLANS[plan], flops=total, batch=16)
    shapes, its_plan = Ramp(config, 32), make_plan(config, None)

    def cost(step):
        return 10 + 7 * step.turn.generator + 30 * step.turn.discriminator

    found = count_steps(its_plan, shapes, total, cost)
    assert found == one_by_one(its_plan, shapes, total, cost)
