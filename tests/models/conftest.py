import pytest
import torch
from transformers.utils import logging

from elektron.models.pair import FAMILIES, Pair, Sizes, build_pair

VOCABULARY = 97
SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
SIZES = Sizes(
    layers=2, hidden=32, feed_forward=64, heads=4, embedding=24, max_positions=40, dropout=0.0
)

logging.disable_progress_bar()


def make_pair(family: str, sizes: Sizes = SIZES, generator_width: float = 0.5) -> Pair:
    torch.manual_seed(3)
    pair = build_pair(FAMILIES[family], sizes, generator_width, VOCABULARY, SPECIAL_IDS)
    # Output projections start at zero; tests want networks that do something.
    for name, parameter in pair.named_parameters():
        if parameter.ndim == 2 and "output" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return pair.eval()


@pytest.fixture(params=list(FAMILIES))
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(request.param)
