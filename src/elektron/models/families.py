"""The families: encoder architectures of the generator and the discriminator.

A `Family` holds the transformers classes of both networks, makes their configuration from sizes, encodes packed rows
(`packed.py`) and computes logits from hidden states. `elektron` is the project's own architecture (`elektron.py`),
`electra` the paper's. `deberta-v2` adds disentangled attention (He et al. 2021a); `modernbert` (Warner et al. 2024)
alternates attention over the whole row with attention to near tokens. BERT, RoBERTa and their relatives are only
continued from released checkpoints.

Where transformers has no class for replaced-token detection, the discriminator is a token classifier with the labels
`original` and `replaced`. Its first logit stays 0, so that the softmax probability of `replaced` is the sigmoid of the
second.
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
DROPOUTS = (
    *("hidden_dropout_prob", "mlp_dropout", "dropout"),  # of hidden states: `sizes_of` reads the first that exists
    *("attention_probs_dropout_prob", "hidden_dropout", "attention_dropout", "embedding_dropout", "classifier_dropout"),
    *("seq_classif_dropout", "qa_dropout", "classifier_dropout_prob", "summary_last_dropout"),
)
"""Names of dropout probabilities in the configurations of different families."""
POSITION_BUCKETS = 32
"""Buckets of relative positions of deberta-v2 on each side; far positions share logarithmic buckets."""


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
        """Sizes with `num_hidden_layers` layers, and `width` times the widths and the heads (paper, §3.2)."""
        return dataclasses.replace(
            self,
            num_hidden_layers=num_hidden_layers,
            hidden_size=round(self.hidden_size * width),
            intermediate_size=round(self.intermediate_size * width),
            num_attention_heads=max(1, round(self.num_attention_heads * width)),
        )


NetworkLogits = Callable[[Any, Tensor], Tensor]
"""Computes logits from a network and hidden states."""


def classifier_logits(discriminator: Any, hidden_states: Tensor) -> Tensor:
    """The logits of "replaced" of a token classifier; those of "original" are 0."""
    return discriminator.classifier(discriminator.dropout(hidden_states))[..., 1]


@dataclass(frozen=True)
class Family:
    """An encoder architecture: its transformers classes, and the functions that differ between architectures."""

    name: str
    discriminator_class: type[PreTrainedModel]
    generator_class: type[PreTrainedModel]
    make_config: Callable[[Sizes, int, Mapping[str, int]], PreTrainedConfig]
    encode: Callable[[PreTrainedModel, Tensor, PackedPositions], Tensor]
    """Hidden states `(batch, length, hidden)` of an encoder for token ids; a token attends to its own document only."""
    token_logits: NetworkLogits
    """Logits `(…, vocabulary)` of a `generator_class` for hidden states `(…, hidden)`."""
    replaced_logits: NetworkLogits = classifier_logits
    """Logits `(…)` of a `discriminator_class` for hidden states `(…, hidden)`, positive for "replaced"."""
    encoder_layers: str = "encoder.layer"
    """Path of the Transformer layers within the encoder; Muon may optimize their matrices."""
    scale_invariant: bool = False
    """Whether the norms of the layers' matrices do not affect the output, so that Muon may keep them constant."""

    @property
    def classifies_tokens(self) -> bool:
        """Whether the discriminator is a token classifier with LABELS."""
        return self.discriminator_class.__name__.endswith("ForTokenClassification")


def named_arguments(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> dict[str, Any]:
    """The configuration arguments that have the same names in several families."""
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
    """DeBERTaV3's disentangled attention, with position projections in every layer and few buckets.

    Attention scores have content-to-position and position-to-content terms; there are no absolute positions and no
    segments. DeBERTaV3 has 256 buckets for rows of 512 tokens. Each bucket adds two columns to two matrix products for
    every token and layer, and small encoders do well with fewer (LTG-BERT, Samuel et al. 2023, has 32).
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
    """A smaller ModernBERT: every third layer attends to the whole row; sentence-level heads pool by the mean."""
    named = dataclasses.asdict(sizes)
    del named["embedding_size"]  # ModernBERT's embeddings are as wide as the network
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
    """Logits of the head of `DistilBertForMaskedLM`, whose layers do not form one module."""
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
"""Families that can be trained from random weights."""


def no_config_from_sizes(sizes: Sizes, vocab_size: int, special_ids: Mapping[str, int]) -> PreTrainedConfig:
    """The `make_config` of families that are only continued from released checkpoints: raises ElektronError."""
    raise ElektronError("this family cannot be trained from random weights: give --init-from")


def released(name: str, classes: str, token_logits: NetworkLogits, **options: Any) -> Family:
    """A family that is only continued; `classes` is the prefix of its class names in transformers."""
    discriminator_class = getattr(transformers, f"{classes}ForTokenClassification")
    generator_class = getattr(transformers, f"{classes}ForMaskedLM")
    options = {"encode": encode, "make_config": no_config_from_sizes} | options
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
"""Families whose released checkpoints can be continued."""


@torch.no_grad()
def fix_first_logit(discriminator: PreTrainedModel) -> None:
    """If the discriminator is a token classifier, set the weights of its logit for "original" to 0.

    They stay 0: the loss uses only the other logit, and weight decay does not change zeros.
    """
    classifier = getattr(discriminator, "classifier", None)
    if isinstance(classifier, nn.Linear):
        classifier.weight[0] = 0
        classifier.bias[0] = 0


def sizes_of(config: Any) -> Sizes:
    """The sizes in a model's configuration."""
    return Sizes(
        num_hidden_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=getattr(config, "intermediate_size", None) or config.hidden_dim,
        num_attention_heads=config.num_attention_heads,
        embedding_size=getattr(config, "embedding_size", None) or config.hidden_size,
        max_position_embeddings=config.max_position_embeddings - first_position(config),
        dropout=next((getattr(config, n) for n in DROPOUTS if hasattr(config, n)), 0.0),
    )


def set_dropout(config: Any, dropout: float) -> None:
    """Set every dropout probability of a model's configuration."""
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)


def check_sizes(network: str, sizes: Sizes) -> None:
    """Check that a Transformer can have these sizes.

    Raises:
        ElektronError: a size is 0, or the heads do not divide the width into even parts.
    """
    if min(getattr(sizes, field.name) for field in dataclasses.fields(sizes) if field.name != "dropout") < 1:
        raise ElektronError(f"the {network} would have a size of 0 ({sizes}): increase network.* or generator_width")
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
