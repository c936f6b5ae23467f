"""A tiny batch, and objectives that run on it."""

import torch

from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.config import PlanOptions, PretrainConfig
from elektron.pretraining.objectives import UpdateRoles, make_objective
from tests.models.conftest import SPECIAL_IDS, VOCABULARY, make_pair

ONE = torch.ones(())
USED = [(0, 2, 11), (0, 6, 20), (1, 1, 30)]
"""Row, position and original token of the used slots of `make_batch`."""


def make_batch() -> MicroBatch:
    """Two rows: two texts and one text with padding; the second row uses one of its two slots."""
    input_ids = torch.tensor([[2, 10, 11, 12, 3, 2, 20, 3], [2, 30, 31, 32, 3, 0, 0, 0]])
    masked_ids = input_ids.clone()
    masked_ids[0, 2] = masked_ids[0, 6] = masked_ids[1, 1] = 4
    return MicroBatch(
        input_ids=input_ids,
        masked_ids=masked_ids,
        masked_positions=torch.tensor([[2, 6], [1, 3]]),
        weights=torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
        uniforms=torch.tensor([[0.1, 0.9], [0.5, 0.3]]),
        document_ids=torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, -1, -1, -1]]),
        position_ids=torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 3, 4, 0, 0, 0]]),
        token_type_ids=torch.zeros(2, 8, dtype=torch.long),
    )


def whole(batch: MicroBatch) -> GlobalBatch:
    """The micro-batch as the whole batch of a step, with 3 masked tokens of 13."""
    return GlobalBatch([batch], masked_tokens=3.0, real_tokens=13.0)


def objective_of(name: str, **options):
    config = PretrainConfig(objective=name, plan_options=PlanOptions(**options))
    return make_objective(config, SPECIAL_IDS, VOCABULARY)


def pair_for(name: str, family: str = "elektron", **changes):
    """A pair with the heads that an objective needs."""
    pair = make_pair(family, **changes)
    objective = objective_of(name)
    if not objective.generates:
        pair.generator = None
    if objective.predicts_tokens:
        torch.manual_seed(4)
        pair.add_masked_lm()
    return pair.eval()


def run(name: str, pair, batch: MicroBatch, roles: UpdateRoles | None = None, **options):
    return objective_of(name, **options)(pair, batch, roles or UpdateRoles(), ONE)


def with_gradient(module) -> set[str]:
    """Names of the parameters with a non-zero gradient."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
