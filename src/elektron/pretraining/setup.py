"""Set up a run: open its blocks, check the settings against them, and build or load the networks.

New networks have the configured sizes. With `init_from`, the run takes the family and sizes of the released encoder
(`models/released.py`).
"""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

from transformers import PreTrainedTokenizerBase

from elektron.corpus.blocks import BlockStore
from elektron.corpus.manifest import SPLITS, Manifest
from elektron.corpus.tokenizer import fingerprint, load_tokenizer
from elektron.corpus.unknown import ALLOW_ADVICE, MAX_FRACTION
from elektron.errors import ElektronError
from elektron.hub import load_configuration
from elektron.models.adaptation import VocabularyChange
from elektron.models.families import FAMILIES, Sizes, check_sizes, sizes_of
from elektron.models.packed import mixes_documents
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair, build_pair, network_of_run
from elektron.models.released import load_pair, pair_with_generator, released_family
from elektron.pretraining.compatibility import SHALLOWER_GENERATOR
from elektron.pretraining.config import NetworkConfig, PretrainConfig
from elektron.pretraining.masking import WordFinder, load_segmenter
from elektron.pretraining.objectives import OBJECTIVES
from elektron.pretraining.plans import Plan, make_plan
from elektron.pretraining.schedules import Curriculum

log = logging.getLogger(__name__)

GENERATORS = {"same": "the same checkpoint as a masked language model", "small": "a smaller copy of the encoder"}


def with_released_sizes(config: PretrainConfig) -> PretrainConfig:
    """The configuration with the family and sizes of the networks that it continues from, if any.

    Raises:
        ElektronError: there is no such encoder, or sizes are given that it does not have.
    """
    if config.init_from is None:
        return config
    name, source, generator_name = continued_networks(config)
    released = load_configuration(name)
    family = released_family(name, released)
    if family.name != config.family:
        log.info("%s is of family %s, which the run uses", name, family.name)
    sizes: dict[str, Any] = dataclasses.asdict(sizes_of(released))
    if source == "same":
        sizes |= {"generator_width": 1.0, "generator_layers": sizes["num_hidden_layers"]}
    elif generator_name is not None:
        generator = sizes_of(load_configuration(generator_name))
        sizes["generator_layers"] = generator.num_hidden_layers
        if family.name not in SHALLOWER_GENERATOR:
            sizes["generator_width"] = generator.hidden_size / sizes["hidden_size"]
    for field in dataclasses.fields(config.network):
        value, released_size = getattr(config.network, field.name), sizes.get(field.name)
        if value is None or released_size is None:
            continue
        if field.name == "dropout" or (field.name == "max_position_embeddings" and value > released_size):
            sizes[field.name] = value  # dropout can be changed, and positions can be added
        elif value != released_size:
            option = f"--network.{field.name.replace('_', '-')}"
            raise ElektronError(
                f"{option} {value:g} contradicts {config.init_from}, which has {released_size:g}: remove the option"
            )
    layers, available = config.network.generator_layers, sizes["num_hidden_layers"]
    if source == "small" and layers is not None and layers > available:
        raise ElektronError(
            f"--network.generator-layers {layers} is too large: {config.init_from} has {available} layers to copy"
        )
    changes: dict[str, Any] = {"family": family.name, "network": dataclasses.replace(config.network, **sizes)}
    return dataclasses.replace(config, **changes)


def continued_networks(config: PretrainConfig) -> tuple[str, str | None, str | None]:
    """What a run with `init_from` continues: the encoder, the source of the generator, and a released generator.

    The networks are folders or hub names. The source is `released`, `same` or `small`, or None without a generator.

    Raises:
        ElektronError: `released` is chosen but no generator is named, or `same` or `small` although one is.
    """
    assert config.init_from is not None
    name, comma, given_generator = config.init_from.partition(",")
    encoder = network_of_run(name, DISCRIMINATOR) or name
    if not OBJECTIVES[config.objective].generates:
        return encoder, None, None
    generator = given_generator or network_of_run(name, GENERATOR)
    if config.generator == "released" and generator is None:
        raise ElektronError(
            f"--generator released: {config.init_from} has no generator: give one, or choose same or small"
        )
    if config.generator in ("same", "small") and comma:
        raise ElektronError(f"--generator {config.generator} and a generator in --init-from cannot be used together")
    copied = "same" if config.plan == "frozen_generator" else "small"
    source = config.generator or (copied if generator is None else "released")
    return encoder, source, generator if source == "released" else None


def open_blocks(config: PretrainConfig) -> BlockStore:
    """Open and verify the blocks."""
    if config.data is None:
        raise ElektronError("--data is missing: give the folder of blocks that `elektron prepare` wrote")
    store = BlockStore.open(config.data)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        # Once on each host; other ranks check what they read when they first read it.
        store.verify()
    check_rows(config, store)
    if store.manifest.unknown > MAX_FRACTION and not config.allow_unknown:
        raise ElektronError(
            f"{config.data}: {store.manifest.unknown:.1%} of the characters of its text became [UNK]: prepare it "
            f"with another tokenizer (`elektron inspect --tokenizer` says why); {ALLOW_ADVICE}"
        )
    return store


def check_rows(config: PretrainConfig, store: BlockStore) -> None:
    """Raise ElektronError if blocks lack training or validation rows, or if the curriculum cannot split their rows."""
    for split in SPLITS:
        if not len(store.rows(split)):
            raise ElektronError(f"{config.data} has no {split} rows: prepare more documents, or change --validation")
    if store.manifest.packing == "dense" and config.family == "electra":
        log.info(
            "the blocks have dense packing, unlike the paper: a row holds several texts, each with its own attention"
        )
    if store.manifest.packing != "dense" and config.curriculum.first_length is not None:
        raise ElektronError(
            "--curriculum.first-length splits rows, which separates the pairs of --packing paper: use --packing dense"
        )


def prepare_run(
    config: PretrainConfig, manifest: Manifest, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[Curriculum, Plan, WordFinder | None]:
    """Run all checks that need no networks, and make the curriculum, the plan and the word finder of a run.

    Without a tokenizer (for blocks that do not exist yet), everything that depends on it is skipped.

    Raises:
        ElektronError: sizes are invalid, rows are longer than the networks' positions, a released network has another
            tokenizer, the run is too short for its plan, or there is no such segmenter.
    """
    sizes, generator_sizes = configured_sizes(config.network)
    check_sizes(DISCRIMINATOR, sizes)
    if OBJECTIVES[config.objective].generates and config.plan_options.generator is None:
        check_sizes(GENERATOR, generator_sizes)
    if config.init_from is None:
        refuse_longer_rows(config, manifest.seq_len, sizes.max_position_embeddings)
    if tokenizer is not None and not config.replace_tokenizer:
        for name in released_networks(config):
            check_same_tokenizer(config, name, tokenizer, manifest.vocab_size)
    curriculum = Curriculum(config, manifest.seq_len)
    words = None
    if config.masking.unit == "whole_word" and tokenizer is not None:
        words = WordFinder(tokenizer, config.masking.segmenter)
    elif config.masking.segmenter is not None:
        load_segmenter(config.masking.segmenter)
    return curriculum, make_plan(config, curriculum.steps), words


def refuse_longer_rows(config: PretrainConfig, length: int, positions: int) -> None:
    """Raise ElektronError for rows that are longer than the networks' positions."""
    if length > positions:
        advice = "raise --network.max-position-embeddings or "
        if released := released_networks(config):
            advice = f"the positions of {' and '.join(released)} are not extended: "
        raise ElektronError(
            f"rows of {length} tokens are longer than the {positions} positions of the "
            f"networks: {advice}prepare shorter rows with --seq-len {positions}"
        )


def released_networks(config: PretrainConfig) -> list[str]:
    """The folders or hub names of the networks that the run starts from."""
    if config.init_from is not None:
        encoder, _, generator = continued_networks(config)
        return [encoder] if generator is None else [encoder, generator]
    if config.plan_options.generator is not None:
        return [generator_of_run(config.plan_options.generator)]
    return []


def pair_for(config: PretrainConfig, manifest: Manifest, tokenizer: PreTrainedTokenizerBase | None = None) -> Pair:
    """Build or load the networks for the rows that the manifest describes, and for the blocks' tokenizer."""
    for name in released_networks(config):
        if manifest.packing == "dense" and mixes_documents(load_configuration(name)):
            raise ElektronError(
                f"{name} has a convolution, which mixes documents of a packed row: prepare the blocks with "
                "--packing paper"
            )
    objective, ready_generator = OBJECTIVES[config.objective], config.plan_options.generator
    sizes, generator_sizes = configured_sizes(config.network)
    arguments = (manifest.special_ids, config.sharing or "embeddings")
    if config.init_from is not None:
        pair = continued_pair(config, manifest, tokenizer)
    elif ready_generator is not None:
        pair = pair_with_generator(FAMILIES[config.family], sizes, generator_of_run(ready_generator), *arguments)
    else:
        smaller = generator_sizes if objective.generates else None
        pair = build_pair(FAMILIES[config.family], sizes, smaller, manifest.vocab_size, *arguments)
    pair.vocab_size = manifest.vocab_size
    if objective.predicts_tokens or config.plan_options.similarity:
        if pair.masked_lm is None:
            pair.new_parts.append("lm")
            if config.init_from is not None:
                log.info("%s: the masked-language-model head is newly initialized", config.init_from)
        pair.add_masked_lm()
    else:
        pair.masked_lm = None
    for network in (pair.discriminator, pair.generator):
        if network is not None:
            refuse_longer_rows(config, manifest.seq_len, sizes_of(network.config).max_position_embeddings)
    return pair


def continued_pair(config: PretrainConfig, manifest: Manifest, tokenizer: PreTrainedTokenizerBase | None) -> Pair:
    """The pair of a run with `init_from`; the tokenizer's `model_max_length` grows with the positions."""
    name, source, generator_name = continued_networks(config)
    if source is not None and config.generator is None:
        log.info("the generator is %s (--generator %s)", generator_name or GENERATORS[source], source)
    vocabulary = None
    if config.replace_tokenizer and tokenizer is not None:
        released = load_tokenizer(name)
        if generator_name and fingerprint(load_tokenizer(generator_name)) != fingerprint(released):
            raise ElektronError(f"{name} and {generator_name} have different tokenizers")
        embeddings = load_configuration(name).vocab_size
        if fingerprint(released) != fingerprint(tokenizer) or embeddings < manifest.vocab_size:
            vocabulary = VocabularyChange.between(released, tokenizer)
    sizes, generator_sizes = configured_sizes(config.network)
    released_sizes = sizes_of(load_configuration(name))
    pair = load_pair(
        name,
        generator_name,
        generator_sizes if source == "small" else None,
        config.sharing,
        same=source == "same",
        length=max(manifest.seq_len, sizes.max_position_embeddings),
        vocabulary=vocabulary,
        dropout=None if sizes.dropout == released_sizes.dropout else sizes.dropout,
    )
    positions = sizes_of(pair.discriminator.config).max_position_embeddings
    if tokenizer is not None and positions > released_sizes.max_position_embeddings:
        tokenizer.model_max_length = max(tokenizer.model_max_length, positions)
    return pair


def generator_of_run(name: str) -> str:
    """The generator in the folder of a pre-training run, or the name itself."""
    generator = network_of_run(name, GENERATOR)
    if generator is None and (discriminator := network_of_run(name, DISCRIMINATOR)):
        raise ElektronError(f"{name} is a run without a generator: if its objective is mlm, give {discriminator}")
    return generator or name


def configured_sizes(network: NetworkConfig) -> tuple[Sizes, Sizes]:
    """The sizes of discriminator and generator in a resolved configuration."""
    values = dataclasses.asdict(network)
    sizes = Sizes(**{field.name: values[field.name] for field in dataclasses.fields(Sizes)})
    return sizes, sizes.smaller(values["generator_width"], values["generator_layers"])


def check_same_tokenizer(
    config: PretrainConfig, name: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int
) -> None:
    """Raise ElektronError if a released network has another tokenizer than the blocks, or too few embeddings."""
    released = load_tokenizer(name)
    if fingerprint(released) != fingerprint(tokenizer):
        alternative = ", or add --replace-tokenizer true" if config.init_from is not None else ""
        raise ElektronError(
            f"the blocks were made with another tokenizer than {name}: "
            f"run `elektron prepare … --tokenizer {name}`{alternative}"
        )
    entries: int = load_configuration(name).vocab_size
    if entries < vocab_size:
        advice = "add the missing embeddings with --replace-tokenizer true"
        if config.init_from is None:
            advice = "resize the embeddings with transformers"
        raise ElektronError(f"{name} has {entries} embeddings, but its tokenizer has {vocab_size} tokens: {advice}")
