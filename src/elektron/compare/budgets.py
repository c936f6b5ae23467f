"""How much compute a pre-training may use: a time of training, or operations counted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from elektron.errors import ElektronError

SECONDS = {"s": 1, "m": 60, "h": 3600}
OPERATIONS = "flops"
WRITTEN = re.compile(rf"\A(\d[\d.]*(?:e[+]?\d+)?)({'|'.join(SECONDS)}|{OPERATIONS})")


@dataclass(frozen=True)
class Budget:
    """An amount of one kind of compute."""

    kind: Literal["time", "flops"]
    amount: float
    """Seconds of training, or operations of forward and backward passes."""

    @property
    def name(self) -> str:
        """The shortest way to write it: `10m`, `90s`, `2e15flops`."""
        if self.kind == "flops":
            mantissa, _, exponent = f"{self.amount:.11e}".partition("e")
            return f"{float(mantissa):g}e{int(exponent)}{OPERATIONS}"
        unit = next(unit for unit in "hms" if self.amount % SECONDS[unit] == 0 or unit == "s")
        return f"{self.amount / SECONDS[unit]:.12g}{unit}"

    @property
    def length(self) -> dict[str, float]:
        """The setting of a pre-training that asks for it."""
        return {"flops": self.amount} if self.kind == "flops" else {"minutes": self.amount / 60}


def parse(text: str) -> Budget:
    """A budget as it is typed.

    Raises:
        ElektronError: it is none, or nothing could be done with it.
    """
    found = WRITTEN.fullmatch(text.strip().lower())
    try:
        amount = float(found[1]) if found else math.nan
    except ValueError:
        amount = math.nan
    if found is None or not 0 < amount < math.inf:
        raise ElektronError(
            f"--budget must be a time such as 600s, 10m or 2h, or operations such as 2e15flops, "
            f"got {text!r}"
        )
    if found[2] == OPERATIONS:
        return Budget("flops", amount)
    return Budget("time", amount * SECONDS[found[2]])


def parse_all(texts: Sequence[str]) -> list[Budget]:
    """All budgets, the smallest first.

    Raises:
        ElektronError: one is no budget, two are equal, or they are of both kinds: variants that
            are equal in one are not in the other, so that there would be no common scale.
    """
    budgets = [parse(text) for text in texts]
    if len({budget.kind for budget in budgets}) > 1:
        raise ElektronError(
            f"--budget {' '.join(texts)}: give all as times or all as operations, "
            "so that they have an order"
        )
    if len(set(budgets)) < len(budgets):
        raise ElektronError(f"--budget {' '.join(texts)}: one is given twice")
    return sorted(budgets, key=lambda budget: budget.amount)
