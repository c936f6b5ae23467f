"""The formulas count what torch counts, for every family, objective and turn."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from elektron.models.families import FAMILIES
from elektron.pretraining.batches import GlobalBatch, MicroBatch
from elektron.pretraining.flops import StepFlops
from elektron.pretraining.objectives import OBJECTIVES, Turn
from tests.models.conftest import SPECIAL_IDS, VOCABULARY, Sizes
from tests.pretraining.objectives.batches import ONE, objective_of, pair_for

ROWS, LENGTH, SLOTS = 3, 20, 4


def sizes(embedding: int = 16) -> Sizes:
    return Sizes(
        layers=2, hidden=32, feed_forward=64, heads=4, embedding=embedding, max_positions=40,
        dropout=0.0,
    )  # fmt: skip


def make_batch() -> MicroBatch:
    ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH))
    return MicroBatch(
        input_ids=ids,
        masked_ids=ids.clone().fill_(SPECIAL_IDS["mask"]),
        masked_positions=torch.arange(SLOTS).repeat(ROWS, 1),
        weights=torch.ones(ROWS, SLOTS),
        uniforms=torch.rand(ROWS, SLOTS),
        piece_ids=torch.zeros_like(ids),
        position_ids=torch.arange(LENGTH).repeat(ROWS, 1),
        token_type_ids=torch.zeros_like(ids),
    )


def counted_and_computed(pair, name: str, turn: Turn) -> tuple[int, int]:
    """What torch counts in a step, and what the formula says."""
    for network in (pair.generator, pair.discriminator):
        if network is not None:
            # The counter does not know the CPU's fused kernel.
            network.set_attn_implementation("eager")
    batch, objective = make_batch(), objective_of(name)
    step = GlobalBatch([batch], float(ROWS * SLOTS), float(ROWS * LENGTH))
    with FlopCounterMode(display=False) as counter:
        output = objective(pair, batch, turn, ONE)
        if turn.generator and objective.generates:
            objective.generator_loss(output, step).backward()
        if turn.discriminator:
            objective.discriminator_loss(output, step).backward()
    computed = StepFlops(pair, objective)(turn, ROWS, LENGTH, SLOTS)
    return counter.get_total_flops(), computed


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("embedding", [16, 32])
def test_families(family, embedding):
    pair = pair_for("rtd", family, sizes=sizes(embedding)).train()
    counted, computed = counted_and_computed(pair, "rtd", Turn())
    assert computed == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_objectives(name):
    pair = pair_for(name, sizes=sizes()).train()
    counted, computed = counted_and_computed(pair, name, Turn())
    assert computed == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize(
    "turn",
    [
        Turn(generator=False),
        Turn(discriminator=False),
        Turn(generator=False, similarity=True),
    ],
)
def test_turns(turn):
    pair = pair_for("rtd", sizes=sizes()).train()
    if turn.similarity:
        pair.add_corrector()
    counted, computed = counted_and_computed(pair, "rtd", turn)
    assert computed == pytest.approx(counted, rel=0.01)
