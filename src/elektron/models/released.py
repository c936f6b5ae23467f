"""Initialise a pair from a released encoder (`pretrain --init-from`).

The encoder becomes the discriminator. The generator is a released one, the same checkpoint as a masked language model,
or a smaller copy: the encoder's embeddings and as many of its bottom layers as the generator has. Heads are loaded if
the checkpoint has them; those that are newly initialised are logged.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from elektron.errors import ElektronError
from elektron.hub import load_configuration
from elektron.models.adaptation import VocabularyChange, adapted, kind_of_positions
from elektron.models.families import (
    LABEL_IDS,
    LABELS,
    RELEASED_FAMILIES,
    Family,
    Sizes,
    check_sizes,
    fix_first_logit,
    sizes_of,
)
from elektron.models.loading import load_network, load_pooler, load_with_new_head
from elektron.models.pair import DISCRIMINATOR, GENERATOR, Pair, build_pair
from elektron.models.sharing import Sharing, share

log = logging.getLogger(__name__)

Adapt = Callable[[PreTrainedModel], PreTrainedModel]
"""Returns a loaded network with another vocabulary, more positions or another dropout."""


def load_pair(
    name: str,
    generator_name: str | None,
    generator_sizes: Sizes | None,
    sharing: Sharing | None = None,
    same: bool = False,
    length: int = 0,
    vocabulary: VocabularyChange | None = None,
    dropout: float | None = None,
) -> Pair:
    """A pair to continue training from a released encoder.

    Args:
        name: folder or hub name of the encoder, with or without heads.
        generator_name: folder or hub name of a released generator.
        generator_sizes: sizes of a generator that is a smaller copy of the encoder. Without this, `generator_name`
            and `same`, there is no generator.
        sharing: which weights the networks share; None: the embeddings if they are equal, else nothing.
        same: whether the generator is the same checkpoint as a masked language model.
        length: number of tokens in a row that the networks must support.
        vocabulary: the change of their vocabulary, if it changes.
        dropout: their dropout probability, if it changes.

    Raises:
        ElektronError: a folder that holds no such model, an unknown family, two networks that cannot share their
            embeddings, or a generator without the head that it needs.
    """
    adapt = partial(adapted, length=length, vocabulary=vocabulary, dropout=dropout)
    config = load_configuration(name)
    family = released_family(name, config)
    if generator_name is not None:
        check_generator(name, config, generator_name, sharing)
    masked_lm, has_token_head = load_masked_lm(family, name, adapt)
    generator: PreTrainedModel | None = None
    if generator_name is not None:
        generator = adapt(load_network(family.generator_class, generator_name))
    elif same:
        if not has_token_head:
            raise ElektronError(
                f"{name} has no masked-language-model head, which a generator needs: give a generator after a comma, "
                "or choose --generator small with another plan than frozen_generator"
            )
        generator = copy.deepcopy(masked_lm)
    elif generator_sizes is not None:
        generator = smaller_copy(masked_lm, generator_sizes)
    discriminator, has_detection_head = load_discriminator(family, name, config, masked_lm, adapt)
    if generator is not None:
        sharing = resolve_sharing(generator, discriminator, sharing)
        share(generator, discriminator, sharing, released=True)
    pair = Pair(family, generator, discriminator)
    pair.pooler = load_pooler(name, config)
    if has_token_head:
        setattr(masked_lm, masked_lm.base_model_prefix, discriminator.base_model)
        masked_lm.tie_weights()
        pair.masked_lm = masked_lm
    positions = sizes_of(config).max_position_embeddings
    if length > positions:
        log.info(f"{name}: extended from {positions} to {length} positions: {kind_of_positions(masked_lm)}")
    if dropout is not None:
        log.info("%s: dropout changed from %g to %g", name, sizes_of(config).dropout, dropout)
    if generator is None:
        return pair
    new = []
    if not has_detection_head:
        new.append("the replaced-token-detection head")
        pair.new_parts.append(DISCRIMINATOR)
    if generator_sizes is not None and generator_name is None:
        if not has_token_head:
            new.append("the masked-language-model head")
        if not has_token_head or generator_sizes.hidden_size != sizes_of(config).hidden_size:
            pair.new_parts.append(GENERATOR)
    log.info("%s: newly initialized: %s", name, " and ".join(new) or "none")
    return pair


def pair_with_generator(
    family: Family, sizes: Sizes, generator_name: str, special_ids: Mapping[str, int], sharing: Sharing
) -> Pair:
    """A pair of a new discriminator with random weights and a released generator, which may be of another family.

    Raises:
        ElektronError: there is no such generator, or embeddings cannot be shared with it.
    """
    config = load_configuration(generator_name)
    generator_family = released_family(generator_name, config)
    if sharing == "gdes" and sizes_of(config).embedding_size != sizes.embedding_size:
        raise ElektronError(
            f"--sharing gdes needs equal embedding sizes: {generator_name} has {sizes_of(config).embedding_size}, "
            f"network.embedding_size is {sizes.embedding_size}"
        )
    generator = load_network(generator_family.generator_class, generator_name)
    discriminator = build_pair(family, sizes, None, config.vocab_size, special_ids).discriminator
    share(generator, discriminator, sharing)
    pair = Pair(family, generator, discriminator, generator_family)
    pair.new_parts = [DISCRIMINATOR]
    return pair


def load_masked_lm(family: Family, name: str, adapt: Adapt) -> tuple[PreTrainedModel, bool]:
    """The checkpoint as a masked language model, and whether its files have all weights of the language-model head."""
    network, new = load_with_new_head(family.generator_class, name)
    if new:
        fresh = family.generator_class(network.config)
        setattr(fresh, fresh.base_model_prefix, network.base_model)
        fresh.tie_weights()
        network = fresh
    return adapt(network), not new


def load_discriminator(
    family: Family, name: str, config: PreTrainedConfig, masked_lm: PreTrainedModel, adapt: Adapt
) -> tuple[PreTrainedModel, bool]:
    """The discriminator, and whether the checkpoint's files have its detection head.

    A sequence classifier, or a token classifier with other labels, has no detection head: only its encoder is used.
    """
    labels = {int(number): label for number, label in (config.id2label or {}).items()}
    architecture = (config.architectures or [""])[0]
    if architecture == family.discriminator_class.__name__ and (labels == LABELS or not family.classifies_tokens):
        return adapt(load_network(family.discriminator_class, name)), True
    config = copy.deepcopy(masked_lm.config)
    if family.classifies_tokens:
        config.id2label = dict(LABELS)
        config.label2id = dict(LABEL_IDS)
    discriminator = family.discriminator_class(config)
    setattr(discriminator, discriminator.base_model_prefix, masked_lm.base_model)
    fix_first_logit(discriminator)
    return discriminator, False


def smaller_copy(masked_lm: PreTrainedModel, sizes: Sizes) -> PreTrainedModel:
    """A generator of other sizes, with every weight of `masked_lm` whose shape matches: at least the embeddings."""
    check_sizes(GENERATOR, sizes)
    config: Any = copy.deepcopy(masked_lm.config)
    for field in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"):
        if getattr(sizes_of(config), field) != getattr(sizes, field):
            setattr(config, field, getattr(sizes, field))
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: sizes.num_hidden_layers]
    generator = type(masked_lm)(config)
    state = generator.state_dict()
    fitting = {
        key: value for key, value in masked_lm.state_dict().items() if key in state and state[key].shape == value.shape
    }
    generator.load_state_dict(fitting, strict=False)
    generator.tie_weights()
    parts = "embeddings and bottom layers" if config.hidden_size == masked_lm.config.hidden_size else "embeddings"
    size = f"{sizes.num_hidden_layers} layers of width {sizes.hidden_size}"
    log.info("the generator has %s and starts from the encoder's %s", size, parts)
    return generator


def resolve_sharing(generator: PreTrainedModel, discriminator: PreTrainedModel, sharing: Sharing | None) -> Sharing:
    """Which weights the networks share: `sharing`, or by default the embeddings if they are equal. Logs the choice."""
    ours, theirs = (network.base_model.embeddings.state_dict() for network in (discriminator, generator))
    equal = ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
    if equal:
        return sharing or "embeddings"
    if sharing is None:
        log.info("the embeddings of generator and discriminator differ: each keeps its own (--sharing none)")
    elif sharing in ("tokens", "embeddings", "all"):
        log.warning("--sharing %s: the generator's different embeddings are replaced by the discriminator's", sharing)
    return sharing or "none"


def check_generator(name: str, discriminator: PreTrainedConfig, generator_name: str, sharing: Sharing | None) -> None:
    """Raise ElektronError if a generator does not match the discriminator in vocabulary, family or shared sizes."""
    generator = load_configuration(generator_name)
    if sharing == "all" and sizes_of(discriminator) != sizes_of(generator):
        raise ElektronError(
            f"--sharing all needs networks of equal size, but {name} and {generator_name} differ: choose embeddings"
        )
    networks = (discriminator, generator)
    common = {"model_type": [config.model_type for config in networks]}
    if sharing not in (None, "none"):
        common["vocab_size"] = [config.vocab_size for config in networks]
        for field in ("embedding_size", "max_position_embeddings"):
            common[field] = [getattr(sizes_of(config), field) for config in networks]
    for field, (ours, theirs) in common.items():
        if ours != theirs:
            option = f" with --sharing {sharing}" if sharing else ""
            raise ElektronError(
                f"{generator_name} cannot be the generator of {name}{option}: "
                f"its {field} is {theirs}, the discriminator's {ours}"
            )


def released_family(name: str, config: PreTrainedConfig) -> Family:
    """The family of a released model.

    Raises:
        ElektronError: pre-training does not support its architecture.
    """
    if config.model_type not in RELEASED_FAMILIES:
        raise ElektronError(
            f"{name} is of family {config.model_type!r}; pre-training continues from {' or '.join(RELEASED_FAMILIES)}"
        )
    if getattr(config, "is_decoder", False):
        raise ElektronError(f"{name} is a {config.model_type} used as a decoder (is_decoder): give an encoder")
    return RELEASED_FAMILIES[config.model_type]
