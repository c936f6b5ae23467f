"""What an estimate consists of, and how it is written as JSON. None is what cannot be known."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from elektron.estimate.disk import Disk
from elektron.estimate.memory import DeviceMemory
from elektron.estimate.probe import Probed


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    steps: int | None = None
    tokens: int | None = None
    """Padding included."""
    flops: int | None = None
    passes: float | None = None
    """Over the corpus."""
    seconds: float | None = None
    tokens_per_second: float | None = None
    """On all devices."""


@dataclass(frozen=True)
class Fit:
    """Whether a device has memory enough."""

    fits: bool
    advice: str | None
    """What would fit where it does not."""


@dataclass(frozen=True)
class Estimate:
    """What a run will cost."""

    parameters: dict[str, int]
    """Of each network as it is exported, and in all, with what they share counted once."""
    length: Length
    rows_at_once: int
    """Rows that pass through the networks of one device at once."""
    memory: DeviceMemory
    fit: Fit | None
    """None where the memory of a device was not told."""
    disk: Disk
    probed: Probed | None
    probed_formula: int | None
    """Memory by formula for the rows that were probed, to compare with what was measured."""

    def as_json(self) -> dict[str, Any]:
        """All figures as JSON has them; speeds as a list."""
        content = dataclasses.asdict(dataclasses.replace(self, probed=None))
        content["memory"]["total"] = self.memory.total
        content["disk"]["total"] = self.disk.total
        if self.probed is not None:
            content["probed"] = {
                "device": self.probed.device,
                "precision": self.probed.precision,
                "memory": self.probed.memory,
                "memory_by_formula": content.pop("probed_formula"),
                "speeds": [
                    turn._asdict() | {"length": length} | dataclasses.asdict(speed)
                    for (turn, length), speed in self.probed.speeds.items()
                ],
            }
        return content
