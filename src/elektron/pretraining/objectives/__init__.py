"""Pre-training objectives: what the networks predict, and at which tokens. `make_objective` makes one."""

from __future__ import annotations

from collections.abc import Mapping

from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.objectives.base import Objective, Output, UpdateRoles
from elektron.pretraining.objectives.detection import Electra15, Rtd
from elektron.pretraining.objectives.language_modeling import AllTokensMlm, Corrective, Mlm, ReplaceMlm

OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind for kind in (Rtd, Electra15, ReplaceMlm, AllTokensMlm, Mlm, Corrective)
}


def make_objective(config: PretrainConfig, special_ids: Mapping[str, int], vocab_size: int) -> Objective:
    """The objective of a resolved configuration; `special_ids` has the id of `mask`."""
    weights = (config.discriminator_weight, config.plan_options.similarity or 0.0)
    if config.objective == Mlm.name:
        return Mlm(*weights, mask_id=special_ids["mask"], vocab_size=vocab_size)
    return OBJECTIVES[config.objective](*weights)


__all__ = ["OBJECTIVES", "Objective", "Output", "UpdateRoles", "make_objective"]
