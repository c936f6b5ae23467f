from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from elektron.corpus.blocks import BlockStore
from elektron.models.families import FAMILIES
from elektron.models.pair import Pair
from elektron.pretraining.config import NetworkConfig, resolve
from elektron.pretraining.initialization import (
    cooccurrences,
    factorize,
    initialize_embeddings,
    initialize_output_biases,
)
from elektron.pretraining.setup import pair_for
from tests.pretraining.conftest import TINY, tiny_config


def test_cooccurrences_decrease_with_distance_and_end_at_special_tokens() -> None:
    rows = np.array([[0, 3, 4, 5, 0, 4, 3, 0]])
    counts = cooccurrences(rows, vocab_size=6, special_ids=[0]).toarray()
    expected = np.zeros((6, 6))
    expected[3, 4] = expected[4, 3] = 2.0  # twice at distance 1
    expected[4, 5] = expected[5, 4] = 1.0
    expected[3, 5] = expected[5, 3] = 0.8  # distance 2
    np.testing.assert_allclose(counts, expected, rtol=1e-6)


def test_factorize_equals_exact_svd_of_positive_pmi() -> None:
    generator = np.random.default_rng(0)
    counts = generator.poisson(2.0, (12, 12)).astype(np.float32)
    counts += counts.T
    frequencies = counts.sum(1)
    contexts = frequencies**0.75 / (frequencies**0.75).sum()
    with np.errstate(divide="ignore"):
        ppmi = np.maximum(np.log(counts / np.outer(frequencies, contexts)), 0)
    vectors, values, _ = np.linalg.svd(ppmi)
    found = factorize(sparse.csr_matrix(counts), size=5, seed=1)
    # Up to the signs of the singular vectors.
    np.testing.assert_allclose(np.abs(found), np.abs(vectors[:, :5] * values[:5] ** 0.5), atol=1e-4)


def test_token_without_cooccurrences_has_zero_vector() -> None:
    counts = sparse.csr_matrix(np.array([[0, 2, 0], [2, 1, 0], [0, 0, 0]], dtype=np.float32))
    assert not factorize(counts, size=3, seed=1)[2].any()
    assert not factorize(sparse.csr_matrix((3, 3), dtype=np.float32), size=2, seed=1).any()


def new_pair(blocks: Path, **changes: object) -> Pair:
    torch.manual_seed(1)
    config = resolve(tiny_config(blocks, Path("out"), network=NetworkConfig(**TINY), **changes))
    return pair_for(config, BlockStore.open(blocks).manifest)


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({}, 20),
        ({"sharing": "embeddings"}, 1),
        ({"sharing": "gdes"}, 1),
        ({"family": "electra", "sharing": "none"}, 1),
        ({"objective": "corrective", "sharing": "none"}, 1),
    ],
)
def test_initialization_changes_seen_but_not_special_tokens(
    blocks: Path, settings: dict[str, str], factor: float
) -> None:
    store = BlockStore.open(blocks)
    random, pair = (new_pair(blocks, **settings) for _ in range(2))
    initialize_embeddings(pair, store, seed=1)
    special = store.manifest.all_special_ids
    for network, untouched in ((pair.generator, random.generator), (pair.discriminator, random.discriminator)):
        assert network is not None and untouched is not None
        ids = torch.arange(store.manifest.vocab_size)
        now, before = network.get_input_embeddings()(ids), untouched.get_input_embeddings()(ids)
        assert torch.equal(now[special], before[special])
        changed = (now != before).any(1)
        assert changed.float().mean() > 0.3
        scale = before.square().mean().sqrt() * (factor if network is pair.discriminator else 1)
        # Random initial embeddings have the scale 0.02 up to sampling error.
        found = now[changed].square().mean(1).sqrt()
        torch.testing.assert_close(found, scale.expand(len(found)), rtol=0.05, atol=0)


def test_a_trained_generator_keeps_its_embeddings(blocks: Path) -> None:
    random, pair = (new_pair(blocks, sharing="none") for _ in range(2))
    pair.new_parts.remove("generator")
    initialize_embeddings(pair, BlockStore.open(blocks), seed=1)
    assert pair.generator is not None and random.generator is not None
    assert torch.equal(pair.generator.get_input_embeddings().weight, random.generator.get_input_embeddings().weight)
    assert not torch.equal(
        pair.discriminator.get_input_embeddings().weight, random.discriminator.get_input_embeddings().weight
    )


def test_new_lm_heads_get_log_frequencies_as_biases(blocks: Path) -> None:
    store = BlockStore.open(blocks)
    pair = new_pair(blocks, objective="corrective", sharing="none")
    pair.new_parts.remove("generator")
    assert pair.masked_lm is not None
    used = store.manifest.vocab_size
    pair.masked_lm.resize_token_embeddings(used + 3)  # as checkpoints round their vocabulary up
    initialize_output_biases(pair, store)
    assert pair.generator is not None
    assert not pair.generator.get_output_embeddings().bias.any()
    shares, more = pair.masked_lm.get_output_embeddings().bias.exp().split([used, 3])
    assert more.max() <= shares.min()
    total = store.token_counts.sum() + len(shares)
    torch.testing.assert_close(shares, torch.from_numpy((store.token_counts + 1) / total).float())
    assert store.token_counts.sum() > 0 and not store.token_counts[store.manifest.all_special_ids].any()


def test_cooccurrence_init_is_default_only_for_new_elektron(tmp_path: Path) -> None:
    for family in FAMILIES:
        start = {} if family in ("elektron", "electra", "deberta-v2", "modernbert") else {"init_from": "x"}
        config = tiny_config(tmp_path, tmp_path, family=family, network=NetworkConfig(), **start)
        assert resolve(config).network.embedding_init == ("cooccurrence" if family == "elektron" else "random")
    continued = tiny_config(tmp_path, tmp_path, init_from="x", network=NetworkConfig())
    assert resolve(continued).network.embedding_init == "random"
