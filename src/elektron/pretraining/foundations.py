"""What a run stands on: whole blocks, and a pair that fits them.

The pair is new, of the configured sizes, or a released one to continue from; then the run takes
over the released family, sizes and tokenizer.
"""

from __future__ import annotations

import dataclasses
import logging

from transformers import PreTrainedTokenizerBase

from elektron.corpus.blocks import SPLITS, BlockStore
from elektron.corpus.vocabulary import fingerprint, load_tokenizer
from elektron.errors import ElektronError
from elektron.models.pair import (
    FAMILIES,
    Pair,
    Sizes,
    build_pair,
    load_pair,
    pretrained_config,
    released_family,
    sizes_of,
)
from elektron.pretraining.config import NetworkConfig, PretrainConfig

log = logging.getLogger(__name__)


def like_the_released_pair(config: PretrainConfig) -> PretrainConfig:
    """The configuration with the family and the sizes of the pair it continues from, if any."""
    if config.init_from is None:
        return config
    name = config.init_from.partition(",")[0]
    released = pretrained_config(name)
    family = released_family(name, released)
    if family.name != config.family:
        log.info("%s is of family %s: so is this run", name, family.name)
    sizes = sizes_of(released)
    network = dataclasses.replace(
        config.network,
        **{
            field: value for field, value in dataclasses.asdict(sizes).items() if field != "dropout"
        },
    )
    return dataclasses.replace(config, family=family.name, network=network)


def open_blocks(config: PretrainConfig) -> BlockStore:
    """The blocks, whole and with something to train and to evaluate on."""
    if config.data is None:
        raise ElektronError(
            "--data is missing: the folder of blocks that `elektron prepare` has written"
        )
    store = BlockStore.open(config.data)
    store.verify()
    for split in SPLITS:
        if not len(store.rows(split)):
            raise ElektronError(
                f"{config.data} has no {split} rows: prepare it again from more documents "
                "or with another --validation"
            )
    if store.manifest.packing == "dense" and config.family == "electra":
        log.info(
            "the blocks are packed densely, not as the paper packs: several texts a row, "
            "each under its own attention"
        )
    return store


def make_pair(
    config: PretrainConfig, store: BlockStore, tokenizer: PreTrainedTokenizerBase
) -> Pair:
    """A new pair of the configured sizes, or a released one to continue from."""
    manifest, network = store.manifest, config.network
    if config.init_from is not None:
        discriminator, _, generator = config.init_from.partition(",")
        pair = load_pair(
            discriminator, generator or None, network.generator_width, manifest.special_ids
        )
        check_same_tokenizer(discriminator, pair, tokenizer, manifest.vocab_size)
    else:
        pair = build_pair(
            FAMILIES[config.family],
            configured_sizes(network),
            network.generator_width,
            manifest.vocab_size,
            manifest.special_ids,
        )
    longest = pair.discriminator.config.max_position_embeddings
    if manifest.seq_len > longest:
        raise ElektronError(
            f"rows of {manifest.seq_len} tokens are longer than the {longest} positions of the "
            "networks: raise --network.max-positions or prepare shorter rows with --seq-len"
        )
    return pair


def configured_sizes(network: NetworkConfig) -> Sizes:
    """The discriminator's sizes that a resolved configuration asks for."""
    assert network.dropout is not None
    return Sizes(
        network.layers,
        network.hidden,
        network.feed_forward,
        network.heads,
        network.embedding,
        network.max_positions,
        network.dropout,
    )


def check_same_tokenizer(
    name: str, pair: Pair, tokenizer: PreTrainedTokenizerBase, vocab_size: int
) -> None:
    """Refuse to continue a pair on blocks of another tokenizer: its embeddings would mean other tokens."""
    released = load_tokenizer(name)
    if fingerprint(released) != fingerprint(tokenizer):
        raise ElektronError(
            f"the blocks were made with another tokenizer than {name}: "
            f"run `elektron prepare … --tokenizer {name}`"
        )
    if pair.discriminator.config.vocab_size < vocab_size:
        raise ElektronError(
            f"{name} has {pair.discriminator.config.vocab_size} embeddings and the blocks "
            f"{vocab_size} tokens: prepare them with its own tokenizer"
        )
