"""Which steps a run is made of: how many of each kind.

Steps that have the same turn and shape cost the same, and a run has few kinds of them. They are
counted as the loop would come to them, but in strides: as long as neither stage nor shape changes,
turns repeat, and whole repetitions are taken at once.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from elektron.pretraining.objectives import Turn
from elektron.pretraining.plans import Plan
from elektron.pretraining.ramp import Ramp, Shape


class Step(NamedTuple):
    """One kind of step."""

    turn: Turn
    shape: Shape


Cost = Callable[[Step], float]
"""How far a step brings a run, in the unit of its length: 1, seconds or operations."""


def count_steps(plan: Plan, ramp: Ramp, total: float, cost: Cost) -> Counter[Step]:
    """How many steps of each kind bring a run to `total`."""
    found: Counter[Step] = Counter()
    number, done = 0, 0.0
    while done < total:
        cycle = [step_at(plan, ramp, done / total, number + place) for place in range(plan.period)]
        length = sum(map(cost, cycle))
        times = whole_cycles(plan, ramp, total, number, done, length)
        # Where a stage or the run ends within a cycle, its steps are taken one at a time.
        taken = cycle if times else cycle[:1]
        for step in taken:
            found[step] += max(1, times)
        number += max(1, times) * len(taken)
        done += max(1, times) * (length if times else cost(cycle[0]))
    return found


def step_at(plan: Plan, ramp: Ramp, share: float, number: int) -> Step:
    """The step of that number, when `share` of the run is done."""
    return Step(plan.turn(share, number), ramp.shape(number))


def whole_cycles(
    plan: Plan, ramp: Ramp, total: float, number: int, done: float, length: float
) -> int:
    """How many cycles of turns, each of so much of the run, begin and end alike from here on."""

    def state(cycles: int) -> tuple[int, Shape] | None:
        reached = done + cycles * length
        if reached >= total:
            return None
        return plan.stage(reached / total), ramp.shape(number + cycles * plan.period)

    here = state(0)
    most = math.ceil((total - done) / length) + 1
    first_other = bisect.bisect_left(range(most), True, key=lambda cycles: state(cycles) != here)
    # The cycle that ends elsewhere may change within; one of a single step cannot.
    return first_other if plan.period == 1 else first_other - 1
