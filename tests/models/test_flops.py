"""The formula counts what torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from elektron.models.flops import step_flops
from elektron.pretraining.batches import MicroBatch
from elektron.pretraining.objectives import rtd
from tests.models.conftest import SPECIAL_IDS, VOCABULARY, Sizes, make_pair


@pytest.mark.parametrize("family", ["elektron", "electra"])
@pytest.mark.parametrize("embedding", [16, 32])
def test_forward_and_backward_of_a_step(family, embedding):
    rows, length, slots = 3, 20, 4
    sizes = Sizes(
        layers=2, hidden=32, feed_forward=64, heads=4, embedding=embedding, max_positions=40,
        dropout=0.0,
    )  # fmt: skip
    pair = make_pair(family, sizes).train()
    for network in (pair.generator, pair.discriminator):
        network.set_attn_implementation("eager")  # the counter does not know the CPU's fused kernel
    ids = torch.randint(5, VOCABULARY, (rows, length))
    batch = MicroBatch(
        input_ids=ids,
        masked_ids=ids.clone().fill_(SPECIAL_IDS["mask"]),
        masked_positions=torch.arange(slots).repeat(rows, 1),
        weights=torch.ones(rows, slots),
        uniforms=torch.rand(rows, slots),
        piece_ids=torch.zeros_like(ids),
        position_ids=torch.arange(length).repeat(rows, 1),
        token_type_ids=torch.zeros_like(ids),
    )
    with FlopCounterMode(display=False) as counter:
        output = rtd(pair, batch)
        (output.generator_loss + output.discriminator_loss).backward()
    assert step_flops(pair, rows, length, slots) == pytest.approx(
        counter.get_total_flops(), rel=0.01
    )
