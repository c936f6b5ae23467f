"""The FLOP formulas agree with torch's counter within 1 % for every family, objective and update role."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from elektron.models.families import FAMILIES, RELEASED_FAMILIES
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.objectives import OBJECTIVES, UpdateRoles
from tests.models.conftest import SPECIAL_IDS, VOCABULARY, Sizes
from tests.models.test_released import load, make
from tests.pretraining.objectives.batches import ONE, objective_of, pair_for

ROWS, LENGTH, SLOTS = 3, 20, 4


def sizes(embedding: int = 16) -> Sizes:
    return Sizes(
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        embedding_size=embedding,
        max_position_embeddings=40,
        dropout=0.0,
    )


def make_batch() -> MicroBatch:
    ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH))
    return MicroBatch(
        input_ids=ids,
        masked_ids=ids.clone().fill_(SPECIAL_IDS["mask"]),
        masked_positions=torch.arange(SLOTS).repeat(ROWS, 1),
        weights=torch.ones(ROWS, SLOTS),
        uniforms=torch.rand(ROWS, SLOTS),
        document_ids=torch.zeros_like(ids),
        position_ids=torch.arange(LENGTH).repeat(ROWS, 1),
        token_type_ids=torch.zeros_like(ids),
    )


def counted_and_computed(pair, name: str, roles: UpdateRoles) -> tuple[int, int]:
    """The FLOPs of a step as torch counts them, and by the formula."""
    for network in (pair.generator, pair.discriminator):
        if network is not None:
            # The counter does not support the fused kernel of the CPU.
            network.set_attn_implementation("eager")
    batch, objective = make_batch(), objective_of(name)
    step = GlobalBatch([batch], float(ROWS * SLOTS), float(ROWS * LENGTH))
    with FlopCounterMode(display=False) as counter:
        output = objective(pair, batch, roles, ONE)
        if roles.generator and objective.generates:
            objective.generator_loss(output, step).backward()
        if roles.discriminator:
            objective.discriminator_loss(output, step).backward()
    computed = objective.step_flops(pair, roles, ROWS, LENGTH, SLOTS)
    return counter.get_total_flops(), computed


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("embedding", [16, 32])
def test_step_flops_match_torch_counter_for_families(family, embedding):
    pair = pair_for("rtd", family, sizes=sizes(embedding)).train()
    counted, computed = counted_and_computed(pair, "rtd", UpdateRoles())
    assert computed == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("family", RELEASED_FAMILIES)
def test_step_flops_match_torch_counter_for_released_encoders(family, tmp_path):
    pair = load(make(family, "ForMaskedLM", tmp_path)).train()
    counted, computed = counted_and_computed(pair, "rtd", UpdateRoles())
    assert computed == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_step_flops_match_torch_counter_for_objectives(name):
    pair = pair_for(name, sizes=sizes()).train()
    counted, computed = counted_and_computed(pair, name, UpdateRoles())
    assert computed == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize(
    "roles",
    [UpdateRoles(generator=False), UpdateRoles(discriminator=False), UpdateRoles(generator=False, similarity=True)],
)
def test_step_flops_match_torch_counter_for_update_roles(roles):
    pair = pair_for("rtd", sizes=sizes()).train()
    if roles.similarity:
        pair.add_masked_lm()
    counted, computed = counted_and_computed(pair, "rtd", roles)
    assert computed == pytest.approx(counted, rel=0.01)
