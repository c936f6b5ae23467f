"""The families: kinds of encoder that a pair can be made of.

A family names the transformers classes of its two networks, turns the sizes of a run into their
configurations, and says the few things in which one must be used differently from another: how
several texts of a row are kept apart, and what lies between hidden states and scores.

`elektron` is the project's own (see `elektron.py`), `electra` the paper's architecture. `deberta-v2`
adds disentangled attention (He et al. 2021a): in every layer, tokens also look at each other's
relative positions, by projections of their own. `modernbert` (Warner et al. 2024) alternates
attention over the whole row with attention to near tokens. The last two have no class for
replaced-token detection in transformers: their discriminators are token classifiers with the labels
`original` and `replaced`, whose first logit stays 0, so that softmax is the sigmoid of the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DebertaV2ForTokenClassification,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from elektron.errors import ElektronError
from elektron.models.elektron import ElektronConfig
from elektron.models.heads import ElektronForMaskedLM, ElektronForPreTraining

LABELS = {0: "original", 1: "replaced"}
POSITION_BUCKETS = 32
"""Relative positions that deberta-v2 tells apart on each side; farther ones share one by their logarithm."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one network; `embedding` is the width of the embeddings it reads."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    embedding_size: int
    max_position_embeddings: int
    dropout: float

    def smaller(self, width: float, num_hidden_layers: int) -> Sizes:
        """`layers` layers at `width` times the width; heads shrink along and never below one (paper, §3.2)."""
        return Sizes(
            num_hidden_layers=num_hidden_layers,
            hidden_size=round(self.hidden_size * width),
            intermediate_size=round(self.intermediate_size * width),
            num_attention_heads=max(1, round(self.num_attention_heads * width)),
            embedding_size=self.embedding_size,
            max_position_embeddings=self.max_position_embeddings,
            dropout=self.dropout,
        )


class PackedPositions(NamedTuple):
    """The document, position and segment of every token of packed rows."""

    document_ids: Tensor
    """`(batch, length)`: the document of the row that a token belongs to, -1 for padding."""
    position_ids: Tensor
    """`(batch, length)`: positions, restarting with each document."""
    token_type_ids: Tensor
    """`(batch, length)`: 1 in the second segment of `paper` packing."""
    attention_mask: Tensor
    """`(batch, 1, length, length)`: whether two tokens belong to the same document; made once for both networks."""


def make_packed_positions(
    document_ids: Tensor, position_ids: Tensor, token_type_ids: Tensor
) -> PackedPositions:
    """The positions of packed rows `(batch, length)`, with their attention mask."""
    same_document = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return PackedPositions(document_ids, position_ids, token_type_ids, same_document)


@dataclass(frozen=True)
class Family:
    """One kind of encoder: its classes and what differs in using them."""

    name: Literal["elektron", "electra", "deberta-v2", "modernbert"]
    discriminator_class: type[PreTrainedModel]
    generator_class: type[PreTrainedModel]
    make_config: Callable[[Sizes, int, Mapping[str, int]], PreTrainedConfig]
    encode: Callable[[PreTrainedModel, Tensor, PackedPositions], Tensor]
    """Hidden states `(batch, length, hidden)` of an encoder for token ids; a token attends to its own document only."""
    token_logits: Callable[[PreTrainedModel, Tensor], Tensor]
    """Scores `(…, vocabulary)` of a `generator_class` for hidden states `(…, hidden)`."""
    replaced_logits: Callable[[PreTrainedModel, Tensor], Tensor]
    """Logits `(…)` of a `discriminator_class` for hidden states `(…, hidden)`, positive for "replaced"."""
    encoder_layers: str
    """Path, within the encoder, of its layers: their matrices Muon may take."""
    scale_invariant: bool = False
    """Whether the norms of those matrices have no effect on the function, so that Muon may keep them constant."""


def encode_electra(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """`electra`, with segments."""
    states: Tensor = encoder(
        input_ids,
        attention_mask=packed.attention_mask,
        position_ids=packed.position_ids,
        token_type_ids=packed.token_type_ids,
    ).last_hidden_state
    return states


def encode_elektron(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """`elektron`, which has no segments."""
    states: Tensor = encoder(
        input_ids, attention_mask=packed.attention_mask, position_ids=packed.position_ids
    ).last_hidden_state
    return states


def encode_deberta(encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions) -> Tensor:
    """`deberta-v2`: its embeddings take one mask and its layers another, which its forward has not foreseen.

    Positions are relative and count within a row, so those within a text are what they would be if
    it stood alone.
    """
    embedded = encoder.embeddings(input_ids, mask=packed.document_ids >= 0)
    states: Tensor = encoder.encoder(
        embedded, packed.attention_mask, output_hidden_states=False
    ).last_hidden_state
    return states


def encode_modernbert(
    encoder: PreTrainedModel, input_ids: Tensor, packed: PackedPositions
) -> Tensor:
    """`modernbert`, which would not narrow a mask of ours to its windows."""
    order = torch.arange(input_ids.shape[1], device=input_ids.device)
    near = (order[:, None] - order).abs() <= encoder.config.local_attention // 2
    states: Tensor = encoder(
        input_ids,
        attention_mask={
            "full_attention": packed.attention_mask,
            "sliding_attention": packed.attention_mask & near,
        },
        position_ids=packed.position_ids,
    ).last_hidden_state
    return states


def electra_config(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> ElectraConfig:
    """The paper's architecture: post-norm, learned positions, gelu, initial σ 0.02."""
    return ElectraConfig(
        vocab_size=vocab_size,
        embedding_size=sizes.embedding_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.max_position_embeddings,
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
        embedding_size=sizes.embedding_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.max_position_embeddings,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
        pad_token_id=special_ids["pad"],
        cls_token_id=special_ids["cls"],
        sep_token_id=special_ids["sep"],
    )


def deberta_config(
    sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]
) -> DebertaV2Config:
    """DeBERTaV3's way of attention, with projections for positions in every layer and few buckets.

    Content asks for positions and positions for content; no absolute positions, no segments. It has
    256 buckets for rows of 512; a bucket costs two columns of two matrix products for every token
    and layer, and small encoders do well with fewer (LTG-BERT, Samuel et al. 2023, has 32).
    """
    return DebertaV2Config(
        vocab_size=vocab_size,
        embedding_size=sizes.embedding_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.max_position_embeddings,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
        pooler_dropout=sizes.dropout,
        pad_token_id=special_ids["pad"],
        position_biased_input=False,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        share_att_key=False,
        position_buckets=POSITION_BUCKETS,
        norm_rel_ebd="layer_norm",
        id2label=LABELS,
        label2id={label: index for index, label in LABELS.items()},
    )


def modernbert_config(
    sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]
) -> ModernBertConfig:
    """ModernBERT in smaller; every third layer sees the whole row. Sentences are read by their mean."""
    return ModernBertConfig(
        vocab_size=vocab_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.max_position_embeddings,
        attention_dropout=sizes.dropout,
        embedding_dropout=sizes.dropout,
        mlp_dropout=sizes.dropout,
        classifier_pooling="mean",
        pad_token_id=special_ids["pad"],
        cls_token_id=special_ids["cls"],
        sep_token_id=special_ids["sep"],
        bos_token_id=special_ids["cls"],
        eos_token_id=special_ids["sep"],
        id2label=LABELS,
        label2id={label: index for index, label in LABELS.items()},
    )


def electra_token_logits(generator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """By the head of `ElectraForMaskedLM`, which has no method for it."""
    logits: Tensor = generator.generator_lm_head(generator.generator_predictions(hidden_states))
    return logits


def elektron_token_logits(generator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """By the generator's own method."""
    logits: Tensor = generator.token_logits(hidden_states)
    return logits


def deberta_token_logits(generator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """By the head of `DebertaV2ForMaskedLM`."""
    logits: Tensor = generator.cls(hidden_states)
    return logits


def modernbert_token_logits(generator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """By the head of `ModernBertForMaskedLM`."""
    logits: Tensor = generator.decoder(generator.head(hidden_states))
    return logits


def electra_replaced_logits(discriminator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """By the head of `ElectraForPreTraining`."""
    logits: Tensor = discriminator.discriminator_predictions(hidden_states)
    return logits


def elektron_replaced_logits(discriminator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """By the discriminator's own method."""
    logits: Tensor = discriminator.replaced_logits(hidden_states)
    return logits


def deberta_replaced_logits(discriminator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """The second logit of the classifier; the first is 0."""
    logits: Tensor = discriminator.classifier(discriminator.dropout(hidden_states))[..., 1]
    return logits


def modernbert_replaced_logits(discriminator: PreTrainedModel, hidden_states: Tensor) -> Tensor:
    """The second logit of the classifier; the first is 0."""
    states = discriminator.drop(discriminator.head(hidden_states))
    logits: Tensor = discriminator.classifier(states)[..., 1]
    return logits


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="elektron",
            discriminator_class=ElektronForPreTraining,
            generator_class=ElektronForMaskedLM,
            make_config=elektron_config,
            encode=encode_elektron,
            token_logits=elektron_token_logits,
            replaced_logits=elektron_replaced_logits,
            encoder_layers="layers",
            scale_invariant=True,
        ),
        Family(
            name="electra",
            discriminator_class=ElectraForPreTraining,
            generator_class=ElectraForMaskedLM,
            make_config=electra_config,
            encode=encode_electra,
            token_logits=electra_token_logits,
            replaced_logits=electra_replaced_logits,
            encoder_layers="encoder.layer",
        ),
        Family(
            name="deberta-v2",
            discriminator_class=DebertaV2ForTokenClassification,
            generator_class=DebertaV2ForMaskedLM,
            make_config=deberta_config,
            encode=encode_deberta,
            token_logits=deberta_token_logits,
            replaced_logits=deberta_replaced_logits,
            encoder_layers="encoder.layer",
        ),
        Family(
            name="modernbert",
            discriminator_class=ModernBertForTokenClassification,
            generator_class=ModernBertForMaskedLM,
            make_config=modernbert_config,
            encode=encode_modernbert,
            token_logits=modernbert_token_logits,
            replaced_logits=modernbert_replaced_logits,
            encoder_layers="layers",
        ),
    )
}


@torch.no_grad()
def fix_first_logit(discriminator: PreTrainedModel) -> None:
    """Where the discriminator is a token classifier, let its logit for "original" be 0.

    It stays there: only the other one is in the loss, and weight decay keeps zeros.
    """
    classifier = getattr(discriminator, "classifier", None)
    if isinstance(classifier, nn.Linear):
        classifier.weight[0] = 0
        classifier.bias[0] = 0


def sizes_of(config: Any) -> Sizes:
    """The sizes that a model's configuration states."""
    return Sizes(
        num_hidden_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_attention_heads=config.num_attention_heads,
        embedding_size=getattr(config, "embedding_size", None) or config.hidden_size,
        max_position_embeddings=config.max_position_embeddings,
        dropout=getattr(config, "hidden_dropout_prob", getattr(config, "mlp_dropout", 0.0)),
    )


def check_sizes(network: str, sizes: Sizes) -> None:
    """Refuse sizes that no Transformer can have.

    Raises:
        ElektronError: a width of 0, or heads that do not divide the width into even parts.
    """
    if (
        min(
            sizes.num_hidden_layers,
            sizes.hidden_size,
            sizes.intermediate_size,
            sizes.num_attention_heads,
            sizes.embedding_size,
        )
        < 1
    ):
        raise ElektronError(
            f"the {network} would have a size of 0 ({sizes}): enlarge network.* or generator_width"
        )
    if sizes.hidden_size % sizes.num_attention_heads:
        raise ElektronError(
            f"the {network} cannot split a width of {sizes.hidden_size} over {sizes.num_attention_heads} heads: "
            "choose network.num_attention_heads (and network.generator_width) so that heads divide the width"
        )
    if sizes.hidden_size // sizes.num_attention_heads % 2:
        raise ElektronError(
            f"the {network}'s heads would be {sizes.hidden_size // sizes.num_attention_heads} wide, "
            "and positions need an even width: choose another network.num_attention_heads"
        )
