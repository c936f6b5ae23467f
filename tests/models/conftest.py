import dataclasses

import pytest
import torch
from transformers.utils import logging

from elektron.models.families import FAMILIES, Sizes
from elektron.models.packed import PackedPositions, make_packed_positions
from elektron.models.pair import Pair, build_pair
from elektron.models.sharing import Sharing
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR, WIDE_EMBEDDINGS

VOCABULARY = 97
SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
SIZES = Sizes(
    num_hidden_layers=2,
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=4,
    embedding_size=24,
    max_position_embeddings=40,
    dropout=0.0,
)

logging.disable_progress_bar()


def fitting(family: str, sizes: Sizes = SIZES) -> Sizes:
    """The sizes, with embeddings as wide as the hidden states where the family needs that."""
    if family in WIDE_EMBEDDINGS:
        return dataclasses.replace(sizes, embedding_size=sizes.hidden_size)
    return sizes


def smaller(family: str, sizes: Sizes) -> Sizes:
    """Half the width, or half the layers."""
    if family in SHALLOWER_GENERATOR:
        return sizes.smaller(1.0, max(1, sizes.num_hidden_layers // 2))
    return sizes.smaller(0.5, sizes.num_hidden_layers)


def make_pair(
    family: str, sizes: Sizes = SIZES, generator_sizes: Sizes | None = None, sharing: Sharing = "embeddings"
) -> Pair:
    torch.manual_seed(3)
    sizes = fitting(family, sizes)
    pair = build_pair(
        FAMILIES[family], sizes, generator_sizes or smaller(family, sizes), VOCABULARY, SPECIAL_IDS, sharing
    )
    # Most families initialize output projections with std 0.02; larger ones let every layer affect the outputs.
    for name, parameter in pair.named_parameters():
        if parameter.ndim == 2 and "output" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return pair.eval()


def alone(ids: torch.Tensor) -> PackedPositions:
    """Rows that are one text each, without padding."""
    order = torch.arange(ids.shape[1]).expand_as(ids)
    return make_packed_positions(torch.zeros_like(ids), order, torch.zeros_like(ids))


@pytest.fixture(params=list(FAMILIES))
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(request.param)
