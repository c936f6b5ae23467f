"""The pair: a generator and a discriminator that read the same embeddings.

A pair is built from a *family*, which names the transformers classes and how the sizes of a run
become their configurations. Everything a family shares between the two networks is its
`embeddings` module, one object in both: token, position and type embeddings and their
LayerNorm for `electra`, token embeddings for `elektron`. The generator's output matrix is the
token embedding itself. What lies behind the embeddings is each network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from elektron.errors import ElektronError
from elektron.models.elektron import ElektronConfig
from elektron.models.heads import ElektronForMaskedLM, ElektronForPreTraining


@dataclass(frozen=True)
class Sizes:
    """The sizes of one network; `embedding` is the width of the embeddings it reads."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    embedding: int
    max_positions: int
    dropout: float

    def narrower(self, share: float) -> Sizes:
        """The same depth at `share` of the width; heads shrink along and never below one (paper, §3.2)."""
        return Sizes(
            layers=self.layers,
            hidden=round(self.hidden * share),
            feed_forward=round(self.feed_forward * share),
            heads=max(1, round(self.heads * share)),
            embedding=self.embedding,
            max_positions=self.max_positions,
            dropout=self.dropout,
        )


def electra_config(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> ElectraConfig:
    """The paper's architecture: post-norm, learned positions, gelu, initial σ 0.02."""
    return ElectraConfig(
        vocab_size=vocab_size,
        embedding_size=sizes.embedding,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        max_position_embeddings=sizes.max_positions,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
        pad_token_id=special_ids["pad"],
    )


def elektron_config(
    sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]
) -> ElektronConfig:
    """The project's own architecture, see `elektron.py`."""
    return ElektronConfig(
        vocab_size=vocab_size,
        embedding_size=sizes.embedding,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        max_position_embeddings=sizes.max_positions,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
        pad_token_id=special_ids["pad"],
        cls_token_id=special_ids["cls"],
        sep_token_id=special_ids["sep"],
    )


def electra_token_logits(generator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """Scores `(…, vocabulary)` by the head of `ElectraForMaskedLM`, which has no method for it."""
    logits: Tensor = generator.generator_lm_head(generator.generator_predictions(hidden_states))
    return logits


def elektron_token_logits(generator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """Scores `(…, vocabulary)` by the generator's head."""
    logits: Tensor = generator.token_logits(hidden_states)
    return logits


@dataclass(frozen=True)
class Family:
    """One kind of encoder: its classes and what differs in using them."""

    name: Literal["elektron", "electra"]
    discriminator_class: type[PreTrainedModel]
    generator_class: type[PreTrainedModel]
    make_config: Callable[[Sizes, int, Mapping[str, int]], PreTrainedConfig]
    token_logits: Callable[[PreTrainedModel, Tensor], Tensor]
    encoder_matrices: str
    """Path, within the encoder, of the layers whose matrices Muon may take."""


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="elektron",
            discriminator_class=ElektronForPreTraining,
            generator_class=ElektronForMaskedLM,
            make_config=elektron_config,
            token_logits=elektron_token_logits,
            encoder_matrices="layers",
        ),
        Family(
            name="electra",
            discriminator_class=ElectraForPreTraining,
            generator_class=ElectraForMaskedLM,
            make_config=electra_config,
            token_logits=electra_token_logits,
            encoder_matrices="encoder.layer",
        ),
    )
}


class Pair(nn.Module):
    """Generator and discriminator with one embeddings module between them."""

    def __init__(
        self, family: Family, generator: PreTrainedModel, discriminator: PreTrainedModel
    ) -> None:
        super().__init__()
        self.family = family
        self.discriminator = discriminator
        self.generator = generator
        generator.base_model.embeddings = discriminator.base_model.embeddings
        generator.tie_weights()

    def generator_states(self, input_ids: Tensor, **context: Tensor) -> Tensor:
        """The generator's hidden states `(batch, length, generator width)`."""
        states: Tensor = self.generator.base_model(input_ids, **context).last_hidden_state
        return states

    def token_logits(self, hidden_states: Tensor) -> Tensor:
        """The generator's scores `(…, vocabulary)` for hidden states `(…, generator width)`."""
        return self.family.token_logits(self.generator, hidden_states)

    def replaced_logits(self, input_ids: Tensor, **context: Tensor) -> Tensor:
        """The discriminator's logits `(batch, length)`, positive for "replaced"."""
        logits: Tensor = self.discriminator(input_ids, **context).logits
        return logits

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of each network, the shared embeddings counted in both."""
        return {
            name: sum(parameter.numel() for parameter in network.parameters())
            for name, network in (
                ("generator", self.generator),
                ("discriminator", self.discriminator),
            )
        }

    def save(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write `generator/` and `discriminator/` under `folder`, each with weights, config and tokenizer."""
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            network.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)


def check_sizes(network: str, sizes: Sizes) -> None:
    """Refuse sizes that no Transformer can have.

    Raises:
        ElektronError: a width of 0, or heads that do not divide the width into even parts.
    """
    if min(sizes.layers, sizes.hidden, sizes.feed_forward, sizes.heads, sizes.embedding) < 1:
        raise ElektronError(
            f"the {network} would have a size of 0 ({sizes}): enlarge network.* or generator_width"
        )
    if sizes.hidden % sizes.heads:
        raise ElektronError(
            f"the {network} cannot split a width of {sizes.hidden} over {sizes.heads} heads: "
            "choose network.heads (and network.generator_width) so that heads divide the width"
        )
    if sizes.hidden // sizes.heads % 2:
        raise ElektronError(
            f"the {network}'s heads would be {sizes.hidden // sizes.heads} wide, "
            "and positions need an even width: choose another network.heads"
        )


def build_pair(
    family: Family,
    sizes: Sizes,
    generator_width: float,
    vocab_size: int,
    special_ids: Mapping[str, int],
) -> Pair:
    """A pair with initial weights, drawn from torch's global generator.

    Args:
        family: the kind of encoder.
        sizes: the discriminator's sizes.
        generator_width: the generator's width as a share of the discriminator's.
        vocab_size: entries in the vocabulary.
        special_ids: ids of `pad`, `cls` and `sep`.

    Raises:
        ElektronError: the sizes cannot be had.
    """
    generator_sizes = sizes.narrower(generator_width)
    check_sizes("discriminator", sizes)
    check_sizes("generator", generator_sizes)
    return Pair(
        family,
        family.generator_class(family.make_config(generator_sizes, vocab_size, special_ids)),
        family.discriminator_class(family.make_config(sizes, vocab_size, special_ids)),
    )


def load_pair(
    discriminator_name: str,
    generator_name: str | None,
    generator_width: float,
    special_ids: Mapping[str, int],
) -> Pair:
    """A released pair, to train on. Without a generator, one of `generator_width` starts afresh.

    Args:
        discriminator_name: folder or hub name of the discriminator.
        generator_name: folder or hub name of the generator.
        generator_width: width of a fresh generator as a share of the discriminator's.
        special_ids: ids of `pad`, `cls` and `sep`, for a fresh generator.

    Raises:
        ElektronError: a folder that holds no such model, an unknown family, or two networks
            that cannot share their embeddings.
    """
    config = pretrained_config(discriminator_name)
    family = released_family(discriminator_name, config)
    discriminator = load_network(family.discriminator_class, discriminator_name)
    if generator_name is None:
        sizes = sizes_of(config).narrower(generator_width)
        check_sizes("generator", sizes)
        generator = family.generator_class(
            family.make_config(sizes, config.vocab_size, special_ids)
        )
        return Pair(family, generator, discriminator)
    generator_config = pretrained_config(generator_name)
    for field in ("model_type", "vocab_size", "embedding_size", "max_position_embeddings"):
        ours, theirs = getattr(config, field), getattr(generator_config, field, None)
        if ours != theirs:
            raise ElektronError(
                f"{generator_name} cannot share embeddings with {discriminator_name}: "
                f"its {field} is {theirs}, the discriminator's {ours}"
            )
    return Pair(family, load_network(family.generator_class, generator_name), discriminator)


def pretrained_config(name: str) -> PreTrainedConfig:
    """The configuration of a folder or hub model, or one line about why there is none."""
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ElektronError(
            f"no model can be read from {name!r} (a folder or hub name is expected): {reason}"
        ) from error


def released_family(name: str, config: PreTrainedConfig) -> Family:
    """The family of a released model.

    Raises:
        ElektronError: it is of none that can be pre-trained.
    """
    if config.model_type not in FAMILIES:
        raise ElektronError(
            f"{name} is of family {config.model_type!r}; "
            f"pre-training continues from {' or '.join(FAMILIES)}"
        )
    return FAMILIES[config.model_type]


def load_network(model_class: type[PreTrainedModel], name: str) -> PreTrainedModel:
    """A network whose every weight comes from the file; safetensors only.

    Raises:
        ElektronError: weights are missing, as when a generator is given for a discriminator.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its table of what does not fit becomes one line below
    try:
        network, report = model_class.from_pretrained(
            name,
            output_loading_info=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise ElektronError(f"the weights of {name!r} cannot be read: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
    unfit = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if unfit:
        raise ElektronError(
            f"{name!r} is no {model_class.__name__}: {len(unfit)} of its weights are missing or "
            f"of another size, such as {unfit[0]}; is it the right half of the pair?"
        )
    return network


def sizes_of(config: Any) -> Sizes:
    """The sizes that a model's configuration states."""
    return Sizes(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        feed_forward=config.intermediate_size,
        heads=config.num_attention_heads,
        embedding=config.embedding_size,
        max_positions=config.max_position_embeddings,
        dropout=config.hidden_dropout_prob,
    )
