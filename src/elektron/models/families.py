"""The families: kinds of encoder that a pair can be made of.

A family names the transformers classes of its two networks, how sizes become their configuration, how packed rows are
encoded (`packed.py`), and what lies between hidden states and scores. `elektron` is the project's own (`elektron.py`),
`electra` the paper's architecture. `deberta-v2` adds disentangled attention (He et al. 2021a); `modernbert` (Warner et
al. 2024) alternates attention over the whole row with attention to near tokens. BERT, RoBERTa and their relatives are
continued from released checkpoints only.

Families without a class for replaced-token detection in transformers have token classifiers with the labels `original`
and `replaced`, whose first logit stays 0, so that softmax is the sigmoid of the second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import DebertaV2Config, ElectraConfig, ModernBertConfig, PreTrainedConfig, PreTrainedModel

from elektron.errors import ElektronError
from elektron.models.elektron import ElektronConfig
from elektron.models.heads import ElektronForMaskedLM, ElektronForPreTraining
from elektron.models.packed import (
    PackedPositions,
    encode,
    encode_deberta,
    encode_modernbert,
    encode_mpnet,
    first_position,
)

LABELS = {0: "original", 1: "replaced"}
LABEL_IDS = {label: number for number, label in LABELS.items()}
DROPOUTS = ("hidden_dropout_prob", "mlp_dropout", "dropout")
"""Names of the dropout on hidden states in configurations, the first that is there counts."""
POSITION_BUCKETS = 32
"""Relative positions that deberta-v2 tells apart on each side; farther ones share one by their logarithm."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one network."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    embedding_size: int
    max_position_embeddings: int
    dropout: float

    def smaller(self, width: float, num_hidden_layers: int) -> Sizes:
        """Sizes with `num_hidden_layers` layers at `width` times the width; heads shrink along (paper, §3.2)."""
        return dataclasses.replace(
            self,
            num_hidden_layers=num_hidden_layers,
            hidden_size=round(self.hidden_size * width),
            intermediate_size=round(self.intermediate_size * width),
            num_attention_heads=max(1, round(self.num_attention_heads * width)),
        )


NetworkLogits = Callable[[Any, Tensor], Tensor]
"""From a network and hidden states to logits."""


def classifier_logits(discriminator: Any, hidden_states: Tensor) -> Tensor:
    """The second logit of a token classifier; the first is 0."""
    return discriminator.classifier(discriminator.dropout(hidden_states))[..., 1]


@dataclass(frozen=True)
class Family:
    """One kind of encoder: its classes and what differs in using them."""

    name: str
    discriminator_class: type[PreTrainedModel]
    generator_class: type[PreTrainedModel]
    make_config: Callable[[Sizes, int, Mapping[str, int]], PreTrainedConfig]
    encode: Callable[[PreTrainedModel, Tensor, PackedPositions], Tensor]
    """Hidden states `(batch, length, hidden)` of an encoder for token ids; a token attends to its own document only."""
    token_logits: NetworkLogits
    """Scores `(…, vocabulary)` of a `generator_class` for hidden states `(…, hidden)`."""
    replaced_logits: NetworkLogits = classifier_logits
    """Logits `(…)` of a `discriminator_class` for hidden states `(…, hidden)`, positive for "replaced"."""
    encoder_layers: str = "encoder.layer"
    """Path, within the encoder, of its layers: their matrices Muon may take."""
    scale_invariant: bool = False
    """Whether the norms of those matrices have no effect on the function, so that Muon may keep them constant."""

    @property
    def classifies_tokens(self) -> bool:
        """Whether the discriminator is a token classifier with LABELS."""
        return self.discriminator_class.__name__.endswith("ForTokenClassification")


def named_arguments(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> dict[str, Any]:
    """The arguments that the configurations of these families call by the same names."""
    named = dataclasses.asdict(sizes)
    dropout = named.pop("dropout")
    return named | {
        "vocab_size": vocab_size,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "pad_token_id": special_ids["pad"],
    }


def electra_config(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> ElectraConfig:
    """The paper's architecture: post-norm, learned positions, gelu, initial σ 0.02."""
    return ElectraConfig(**named_arguments(sizes, vocab_size, special_ids))


def elektron_config(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> ElektronConfig:
    """The project's own architecture, see `elektron.py`."""
    named = named_arguments(sizes, vocab_size, special_ids)
    return ElektronConfig(**named, cls_token_id=special_ids["cls"], sep_token_id=special_ids["sep"])


def deberta_config(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> DebertaV2Config:
    """DeBERTaV3's way of attention, with projections for positions in every layer and few buckets.

    Content asks for positions and positions for content; no absolute positions, no segments. It has
    256 buckets for rows of 512; a bucket costs two columns of two matrix products for every token
    and layer, and small encoders do well with fewer (LTG-BERT, Samuel et al. 2023, has 32).
    """
    return DebertaV2Config(
        **named_arguments(sizes, vocab_size, special_ids),
        pooler_dropout=sizes.dropout,
        position_biased_input=False,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        share_att_key=False,
        position_buckets=POSITION_BUCKETS,
        norm_rel_ebd="layer_norm",
        id2label=LABELS,
        label2id=LABEL_IDS,
    )


def modernbert_config(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> ModernBertConfig:
    """ModernBERT in smaller; every third layer sees the whole row. Sentences are read by their mean."""
    named = dataclasses.asdict(sizes)
    del named["embedding_size"]  # as wide as the network
    dropout = named.pop("dropout")
    return ModernBertConfig(
        **named,
        vocab_size=vocab_size,
        attention_dropout=dropout,
        embedding_dropout=dropout,
        mlp_dropout=dropout,
        classifier_pooling="mean",
        pad_token_id=special_ids["pad"],
        cls_token_id=special_ids["cls"],
        sep_token_id=special_ids["sep"],
        bos_token_id=special_ids["cls"],
        eos_token_id=special_ids["sep"],
        id2label=LABELS,
        label2id=LABEL_IDS,
    )


def distilbert_token_logits(generator: Any, hidden_states: Tensor) -> Any:
    """By the head of `DistilBertForMaskedLM`, which has no module of its own."""
    states = generator.activation(generator.vocab_transform(hidden_states))
    return generator.vocab_projector(generator.vocab_layer_norm(states))


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="elektron",
            discriminator_class=ElektronForPreTraining,
            generator_class=ElektronForMaskedLM,
            make_config=elektron_config,
            encode=encode,
            token_logits=lambda network, states: network.logits(states),
            replaced_logits=lambda network, states: network.logits(states),
            encoder_layers="layers",
            scale_invariant=True,
        ),
        Family(
            name="electra",
            discriminator_class=transformers.ElectraForPreTraining,
            generator_class=transformers.ElectraForMaskedLM,
            make_config=electra_config,
            encode=encode,
            token_logits=lambda network, states: network.generator_lm_head(network.generator_predictions(states)),
            replaced_logits=lambda network, states: network.discriminator_predictions(states),
        ),
        Family(
            name="deberta-v2",
            discriminator_class=transformers.DebertaV2ForTokenClassification,
            generator_class=transformers.DebertaV2ForMaskedLM,
            make_config=deberta_config,
            encode=encode_deberta,
            token_logits=lambda network, states: network.cls(states),
        ),
        Family(
            name="modernbert",
            discriminator_class=transformers.ModernBertForTokenClassification,
            generator_class=transformers.ModernBertForMaskedLM,
            make_config=modernbert_config,
            encode=encode_modernbert,
            token_logits=lambda network, states: network.decoder(network.head(states)),
            replaced_logits=lambda network, states: network.classifier(network.drop(network.head(states)))[..., 1],
            encoder_layers="layers",
        ),
    )
}
"""Families that a pair can be built of."""


def only_released(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> PreTrainedConfig:
    """For families that are continued from a released checkpoint and never built from sizes."""
    raise ElektronError("encoders of this family are only continued: give --init-from")


def released(name: str, classes: str, token_logits: NetworkLogits, **options: Any) -> Family:
    """A family that is only continued, with the classes of transformers whose names begin with `classes`."""
    discriminator_class = getattr(transformers, f"{classes}ForTokenClassification")
    generator_class = getattr(transformers, f"{classes}ForMaskedLM")
    options = {"encode": encode, "make_config": only_released} | options
    return Family(name, discriminator_class, generator_class, token_logits=token_logits, **options)


RELEASED_FAMILIES: dict[str, Family] = FAMILIES | {
    family.name: family
    for family in (
        released("bert", "Bert", lambda network, states: network.cls(states)),
        released("roberta", "Roberta", lambda network, states: network.lm_head(states)),
        released("xlm-roberta", "XLMRoberta", lambda network, states: network.lm_head(states)),
        released("camembert", "Camembert", lambda network, states: network.lm_head(states)),
        released("mpnet", "MPNet", lambda network, states: network.lm_head(states), encode=encode_mpnet),
        released("distilbert", "DistilBert", distilbert_token_logits, encoder_layers="transformer.layer"),
    )
}
"""Families that a released checkpoint can be of, to continue from."""


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
        intermediate_size=getattr(config, "intermediate_size", None) or config.hidden_dim,
        num_attention_heads=config.num_attention_heads,
        embedding_size=getattr(config, "embedding_size", None) or config.hidden_size,
        max_position_embeddings=config.max_position_embeddings - first_position(config),
        dropout=next((getattr(config, n) for n in DROPOUTS if hasattr(config, n)), 0.0),
    )


def check_sizes(network: str, sizes: Sizes) -> None:
    """Refuse sizes that no Transformer can have.

    Raises:
        ElektronError: a width of 0, or heads that do not divide the width into even parts.
    """
    if min(getattr(sizes, field.name) for field in dataclasses.fields(sizes) if field.name != "dropout") < 1:
        raise ElektronError(f"the {network} would have a size of 0 ({sizes}): enlarge network.* or generator_width")
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
