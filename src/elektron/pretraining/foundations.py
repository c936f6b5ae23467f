"""What a run stands on: whole blocks, and a pair that fits them.

The pair is new, of the configured sizes, or a released one to continue from; then the run takes
over the released family, sizes and tokenizer.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from elektron.corpus.blocks import BlockStore
from elektron.corpus.manifest import SPLITS, Manifest
from elektron.corpus.unknown import GO_ON, TOO_MUCH
from elektron.corpus.vocabulary import fingerprint, load_tokenizer
from elektron.errors import ElektronError
from elektron.models.families import FAMILIES, Sizes, check_sizes, sizes_of
from elektron.models.pair import (
    DISCRIMINATOR,
    GENERATOR,
    Pair,
    build_pair,
    load_pair,
    pair_with_generator,
    released_family,
)
from elektron.pretraining.combinations import SHALLOWER_GENERATOR
from elektron.pretraining.config import NetworkConfig, PretrainConfig
from elektron.pretraining.objectives import OBJECTIVES
from elektron.pretraining.plans import Plan, make_plan
from elektron.pretraining.ramp import Ramp
from elektron.pretraining.words import WordFinder, load_segmenter
from elektron.released import load_configuration

log = logging.getLogger(__name__)


def like_the_released_pair(config: PretrainConfig) -> PretrainConfig:
    """The configuration with the family and the sizes of the pair it continues from, if any."""
    if config.init_from is None:
        return config
    name, _ = halves(config.init_from)
    released = load_configuration(name)
    family = released_family(name, released)
    if family.name != config.family:
        log.info("%s is of family %s: so is this run", name, family.name)
    sizes = dataclasses.asdict(sizes_of(released))
    del sizes["dropout"]
    if (family.name in SHALLOWER_GENERATOR) != (config.family in SHALLOWER_GENERATOR):
        # How a generator is made smaller was meant for the other kind of family.
        sizes |= {"generator_width": None, "generator_layers": None}
    network = dataclasses.replace(config.network, **sizes)
    return dataclasses.replace(config, family=family.name, network=network)


def open_blocks(config: PretrainConfig) -> BlockStore:
    """The blocks, whole and with something to train and to evaluate on."""
    if config.data is None:
        raise ElektronError(
            "--data is missing: the folder of blocks that `elektron prepare` has written"
        )
    store = BlockStore.open(config.data)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        # Once on each host; whatever a process reads later is checked when it is first touched.
        store.verify()
    check_rows(config, store)
    if store.manifest.unknown > TOO_MUCH and not config.allow_unknown:
        raise ElektronError(
            f"{config.data}: {store.manifest.unknown:.1%} of the characters of its text became [UNK]: prepare it "
            f"with another tokenizer (`elektron inspect --tokenizer` says why); {GO_ON}"
        )
    return store


def check_rows(config: PretrainConfig, store: BlockStore) -> None:
    """Refuse blocks on which the run cannot train or evaluate, or whose rows it cannot cut."""
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
    if store.manifest.packing != "dense" and config.ramp.first_length is not None:
        raise ElektronError(
            "--ramp.first-length cuts rows into parts, and rows packed as in the paper hold pairs of "
            "segments that belong together: prepare the blocks with --packing dense"
        )


def prepare_run(
    config: PretrainConfig, manifest: Manifest, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[Ramp, Plan, WordFinder | None]:
    """What a run needs besides its networks; all that can be known to be wrong is refused here.

    Without a tokenizer, of blocks that are not there yet, what depends on it is neither made nor checked.

    Raises:
        ElektronError: sizes that no network can have, rows that do not fit, released networks with
            another tokenizer, a plan without steps for it, no such segmenter.
    """
    sizes, generator_sizes = configured_sizes(config.network)
    check_sizes(DISCRIMINATOR, sizes)
    if OBJECTIVES[config.objective].generates and config.plan_options.generator is None:
        check_sizes(GENERATOR, generator_sizes)
    refuse_longer_rows(config, manifest.seq_len, sizes.max_positions)
    if tokenizer is not None:
        for name in released_networks(config):
            check_same_tokenizer(name, tokenizer, manifest.vocab_size)
    ramp = Ramp(config, manifest.seq_len)
    words = None
    if config.masking.unit == "whole_word" and tokenizer is not None:
        words = WordFinder(tokenizer, config.masking.segmenter)
    elif config.masking.segmenter is not None:
        load_segmenter(config.masking.segmenter)
    return ramp, make_plan(config, ramp.steps), words


def refuse_longer_rows(config: PretrainConfig, length: int, positions: int) -> None:
    """Raise ElektronError for rows that a network cannot read."""
    if length > positions:
        way = "raise --network.max-positions or "
        if released := released_networks(config):
            way = f"those of {' and '.join(released)} cannot be raised: "
        raise ElektronError(
            f"rows of {length} tokens are longer than the {positions} positions of the "
            f"networks: {way}prepare shorter rows with --seq-len {positions}"
        )


def released_networks(config: PretrainConfig) -> list[str]:
    """What the run begins with that is there already, each a folder or hub name."""
    if config.init_from is not None:
        return [half for half in halves(config.init_from) if half is not None]
    if config.plan_options.generator is not None:
        return [generator_of_run(config.plan_options.generator)]
    return []


def pair_for(config: PretrainConfig, manifest: Manifest) -> Pair:
    """The networks for rows as the manifest describes them; released ones are taken to know its tokens."""
    objective = OBJECTIVES[config.objective]
    sizes, generator_sizes = configured_sizes(config.network)
    sharing = config.sharing or "embeddings"
    ready_generator = config.plan_options.generator
    if config.init_from is not None:
        discriminator, generator = halves(config.init_from)
        pair = load_pair(
            discriminator,
            generator if objective.generates else None,
            generator_sizes if objective.generates else None,
            manifest.special_ids,
            sharing,
        )
    elif ready_generator is not None:
        pair = pair_with_generator(
            FAMILIES[config.family],
            sizes,
            generator_of_run(ready_generator),
            manifest.vocab_size,
            manifest.special_ids,
            sharing,
        )
    else:
        pair = build_pair(
            FAMILIES[config.family],
            sizes,
            generator_sizes if objective.generates else None,
            manifest.vocab_size,
            manifest.special_ids,
            sharing,
        )
    if objective.corrects or config.plan_options.similarity:
        pair.add_corrector()
    else:
        pair.corrector = None
    for network in (pair.discriminator, pair.generator):
        if network is not None:
            refuse_longer_rows(config, manifest.seq_len, network.config.max_position_embeddings)
    return pair


def halves(init_from: str) -> tuple[str, str | None]:
    """Discriminator and generator of DISCRIMINATOR[,GENERATOR], or of the folder of a run."""
    discriminator, _, generator = init_from.partition(",")
    run = Path(discriminator)
    if not generator and not (run / "config.json").exists():
        inside = [run / name for name in (DISCRIMINATOR, GENERATOR)]
        there = [str(path) if (path / "config.json").exists() else None for path in inside]
        if there[0] is not None:
            return there[0], there[1]
    return discriminator, generator or None


def generator_of_run(name: str) -> str:
    """The generator in the folder of a pre-training run, or what was named itself."""
    folder = Path(name)
    inner = folder / GENERATOR
    if not (folder / "config.json").exists() and (inner / "config.json").exists():
        return str(inner)
    if (folder / DISCRIMINATOR / "config.json").exists():
        raise ElektronError(
            f"{name} is a run without a generator; of objective mlm, {folder / DISCRIMINATOR} can be one"
        )
    return name


def configured_sizes(network: NetworkConfig) -> tuple[Sizes, Sizes]:
    """The discriminator's and the generator's sizes that a resolved configuration asks for."""
    assert network.dropout is not None
    assert network.embedding is not None
    assert network.generator_width is not None
    assert network.generator_layers is not None
    sizes = Sizes(
        network.layers,
        network.hidden,
        network.feed_forward,
        network.heads,
        network.embedding,
        network.max_positions,
        network.dropout,
    )
    return sizes, sizes.smaller(network.generator_width, network.generator_layers)


def check_same_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Refuse a released network on blocks of another tokenizer: its embeddings would mean other tokens."""
    released = load_tokenizer(name)
    if fingerprint(released) != fingerprint(tokenizer):
        raise ElektronError(
            f"the blocks were made with another tokenizer than {name}: "
            f"run `elektron prepare … --tokenizer {name}`"
        )
    entries: int = load_configuration(name).vocab_size
    if entries < vocab_size:
        raise ElektronError(
            f"{name} has {entries} embeddings and the blocks "
            f"{vocab_size} tokens: prepare them with its own tokenizer"
        )
