"""Initial weights from counts of the corpus: token embeddings of new networks, output biases of new heads.

A run of minutes would spend most of its steps on learning which tokens are similar. Counting finds this in seconds: the
embeddings are the singular value decomposition of the positive pointwise mutual information of tokens within a window
(Levy and Goldberg 2014; Levy, Goldberg and Dagan 2015, with their smoothed context distribution and their square root
of the singular values).
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from elektron.corpus.blocks import BlockStore
from elektron.models.elektron import LEARNED_EMBEDDING_RMS
from elektron.models.pair import GENERATOR, Pair
from elektron.models.sharing import GdesEmbedding

log = logging.getLogger(__name__)

WINDOW = 5
"""Tokens on each side that are counted; the weight of the farthest is 1/WINDOW of that of the nearest."""
SMOOTHING = 0.75
"""Exponent of the context distribution."""
MAX_TOKENS = 2**24
"""Maximum number of tokens that are counted; of a larger corpus, evenly spaced rows are used."""


def initialize_embeddings(pair: Pair, store: BlockStore, seed: int) -> None:
    """Replace the random token embeddings of new networks by those computed from co-occurrences in the corpus.

    Their RMS stays the same, except in family `elektron` for a discriminator that neither shares its embeddings nor
    predicts tokens with them: its embeddings get a larger RMS, so that training changes their direction slowly and they
    retain the co-occurrences. Special tokens and tokens that do not occur in the sample keep their random embeddings.

    Args:
        pair: new networks, or a new discriminator beside a trained generator.
        store: the blocks of the run.
        seed: seed of the randomized decomposition.
    """
    networks = [pair.discriminator, pair.generator if GENERATOR in pair.new_parts else None]
    modules = dict.fromkeys(network.get_input_embeddings() for network in networks if network is not None)
    # In GDES embeddings, Δ stays 0: they start as the generator's.
    tables: list[Tensor] = [module.weight for module in modules if not isinstance(module, GdesEmbedding)]
    if not tables:
        return
    slow = pair.discriminator.get_input_embeddings().weight if has_slow_embeddings(pair) else None
    rows, manifest = store.rows("train"), store.manifest
    num_rows = min(len(rows), max(1, MAX_TOKENS // manifest.seq_len))
    sampled = np.unique(np.linspace(0, len(rows) - 1, num_rows).astype(int))
    tokens = len(sampled) * manifest.seq_len
    log.info(f"initializing token embeddings from the co-occurrences of {tokens:,} tokens")
    counts = cooccurrences(rows.take(sampled), manifest.vocab_size, manifest.all_special_ids)
    embeddings = torch.from_numpy(factorize(counts, max(table.shape[1] for table in tables), seed))
    has_counts = embeddings.any(dim=1)
    with torch.no_grad():
        for table in tables:
            width = min(table.shape[1], embeddings.shape[1])
            chosen = torch.nn.functional.normalize(embeddings[has_counts, :width]) * width**0.5
            rms = LEARNED_EMBEDDING_RMS if table is slow else table.square().mean().sqrt()
            table[: len(has_counts)][has_counts, :width] = chosen.to(table) * rms


def initialize_output_biases(pair: Pair, store: BlockStore) -> None:
    """Set the output biases of new heads that predict tokens to the logarithms of the tokens' frequencies.

    Otherwise a short run at a low learning rate spends its steps on learning frequencies, partly by changing all token
    embeddings.

    Args:
        pair: the networks.
        store: the blocks of the run.
    """
    counts = torch.from_numpy(store.token_counts).double() + 1
    biases = (counts / counts.sum()).log()
    with torch.no_grad():
        for part, head in ((GENERATOR, pair.generator), ("lm", pair.masked_lm)):
            bias = None if head is None else head.get_output_embeddings().bias
            if bias is not None and part in pair.new_parts:
                bias.fill_(float(biases.min()))  # also for unused entries after the last token
                bias[: len(biases)] = biases.to(bias)


def has_slow_embeddings(pair: Pair) -> bool:
    """Whether the discriminator normalises its token embeddings, does not share them, and has no output matrix."""
    embeddings = pair.discriminator.get_input_embeddings().weight
    is_shared = any(embeddings is parameter for parameter in pair.parameters_of(GENERATOR))
    output = (pair.masked_lm or pair.discriminator).get_output_embeddings()
    return pair.family.scale_invariant and output is None and not is_shared


def cooccurrences(rows: NDArray[np.int64], vocab_size: int, special_ids: list[int]) -> sparse.csr_matrix:
    """Weighted counts `(vocab_size, vocab_size)`, symmetric, of tokens within `WINDOW` of one another.

    Args:
        rows: token ids `(rows, length)`.
        vocab_size: entries in the vocabulary.
        special_ids: ids of tokens that are not counted and that end a window.
    """
    special = np.isin(rows, special_ids)
    text = special.cumsum(axis=1)
    counts = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        together = (text[:, :-distance] == text[:, distance:]) & ~special[:, :-distance]
        first, second = rows[:, :-distance][together], rows[:, distance:][together]
        weights = np.full(len(first), (WINDOW + 1 - distance) / WINDOW, dtype=np.float32)
        counts += sparse.csr_matrix((weights, (first, second)), shape=counts.shape)
    return counts + counts.T


def factorize(counts: sparse.csr_matrix, size: int, seed: int) -> NDArray[np.float32]:
    """The left singular vectors of the positive PMI, each times the square root of its singular value.

    Args:
        counts: symmetric, `(vocabulary, vocabulary)`.
        size: number of singular vectors; limited to the size of the vocabulary.
        seed: seed of the randomized decomposition (Halko et al. 2011).

    Returns:
        `(vocabulary, size)`, largest singular value first; rows of tokens without counts are 0.
    """
    pairs = counts.tocoo()
    frequencies = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    contexts = frequencies**SMOOTHING
    contexts /= max(contexts.sum(), 1.0)
    information = np.log(pairs.data / (frequencies[pairs.row] * contexts[pairs.col]))
    positive = information > 0
    matrix = sparse.csr_matrix((information[positive], (pairs.row[positive], pairs.col[positive])), shape=counts.shape)
    size = min(size, counts.shape[0])
    vectors, values, _ = randomized_svd(matrix, n_components=size, n_iter=3, random_state=seed)
    vectors[matrix.getnnz(axis=1) == 0] = 0  # these are 0 up to rounding
    return np.asarray(vectors * values**0.5, dtype=np.float32)
