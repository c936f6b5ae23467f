"""Elektron: a small bidirectional encoder made for replaced-token detection.

A Transformer encoder with what has proved itself since ELECTRA's: normalisation before each
sublayer (RMS, without learned gain), rotary positions (Su et al. 2021), queries and keys
normalised per head (Henry et al. 2020), squared ReLU (So et al. 2021), no biases, output
projections that start at zero. Embeddings may be narrower than the network, as in ELECTRA, so
that a small generator and a large discriminator can read the same table.

This file stands on torch and transformers alone: it travels with the saved weights, for readers
who do not have the elektron package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

# Which Auto class of transformers finds which class in which file.
AUTO_MAP = {
    "AutoConfig": "elektron.ElektronConfig",
    "AutoModel": "elektron.ElektronModel",
    "AutoModelForPreTraining": "heads.ElektronForPreTraining",
    "AutoModelForMaskedLM": "heads.ElektronForMaskedLM",
    "AutoModelForSequenceClassification": "heads.ElektronForSequenceClassification",
    "AutoModelForTokenClassification": "heads.ElektronForTokenClassification",
    "AutoModelForQuestionAnswering": "heads.ElektronForQuestionAnswering",
    "AutoModelForMultipleChoice": "heads.ElektronForMultipleChoice",
}


class ElektronConfig(PreTrainedConfig):
    """Sizes of an Elektron encoder.

    `embedding_size` may differ from `hidden_size`; a projection joins them. `classifier_pooling`
    says what sentence-level heads read: the `mean` over real tokens, or the first token (`cls`).
    `classifier_dropout` falls back to `hidden_dropout_prob`.
    """

    model_type = "elektron"

    vocab_size: int = 30522
    embedding_size: int = 128
    hidden_size: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    classifier_pooling: str = "mean"
    classifier_dropout: float | None = None
    pad_token_id: int | None = 0
    cls_token_id: int | None = None
    sep_token_id: int | None = None
    tie_word_embeddings: bool = True


def rms_norm(hidden_states: Tensor, eps: float) -> Tensor:
    """Scale the last dimension to a root mean square of 1."""
    return F.rms_norm(hidden_states, (hidden_states.shape[-1],), eps=eps)


def rotary_angles(position_ids: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines `(batch, 1, length, head_size / 2)` of the positions `(batch, length)`, in fp32."""
    steps = torch.arange(0, head_size, 2, device=position_ids.device, dtype=torch.float32)
    angles = position_ids[:, None, :, None].float() * theta ** (-steps / head_size)
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the two halves of each head `(batch, heads, length, head_size)` by its position's angles."""
    first, second = heads.chunk(2, dim=-1)
    turned = (first * cosines - second * sines, first * sines + second * cosines)
    return torch.cat(turned, dim=-1).to(heads.dtype)


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention written out, for those who want the weights; `attention_mask` is added to the scores."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.dropout(scores.softmax(dim=-1), p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


class ElektronEmbeddings(nn.Module):
    """Token embeddings, normalised. Positions enter in attention; there are no segment embeddings."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.norm_eps = config.norm_eps

    def forward(self, input_ids: Tensor) -> Tensor:
        """`(batch, length)` token ids to `(batch, length, embedding_size)`."""
        return rms_norm(self.word_embeddings(input_ids), self.norm_eps)


class StreamOutput(nn.Linear):
    """A matrix that adds to the stream of hidden states; it starts at zero, so each layer begins as the identity."""


class ElektronAttention(nn.Module):
    """Multi-head self-attention with normalised, rotated queries and keys."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_size**-0.5
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.output = StreamOutput(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        rotary: tuple[Tensor, Tensor],
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """`(batch, length, hidden_size)` to the same shape, and the weights where they are computed."""
        batch, length, width = hidden_states.shape
        shape = (batch, length, -1, self.head_size)
        query = self.query(hidden_states).view(shape).transpose(1, 2)
        key = self.key(hidden_states).view(shape).transpose(1, 2)
        value = self.value(hidden_states).view(shape).transpose(1, 2)
        query = rotate(rms_norm(query, self.config.norm_eps), *rotary)
        key = rotate(rms_norm(key, self.config.norm_eps), *rotary)
        attention: Callable[..., tuple[Tensor, Tensor | None]]
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        attended, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
            scaling=self.scaling,
            is_causal=False,
            **kwargs,
        )
        return self.output(attended.reshape(batch, length, width)), weights


class ElektronFeedForward(nn.Module):
    """Two matrices with a squared ReLU between them."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.output = StreamOutput(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """`(batch, length, hidden_size)` to the same shape."""
        return self.output(F.relu(self.inner(hidden_states)).square())


class ElektronLayer(GradientCheckpointingLayer):
    """Attention, then feed-forward; each reads normalised states and adds to the stream."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.attention = ElektronAttention(config)
        self.feed_forward = ElektronFeedForward(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.norm_eps = config.norm_eps

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        rotary: tuple[Tensor, Tensor],
        **kwargs: Any,
    ) -> Tensor:
        """`(batch, length, hidden_size)` to the same shape."""
        normed = rms_norm(hidden_states, self.norm_eps)
        attended, _ = self.attention(normed, attention_mask, rotary, **kwargs)
        hidden_states = hidden_states + self.dropout(attended)
        normed = rms_norm(hidden_states, self.norm_eps)
        return hidden_states + self.dropout(self.feed_forward(normed))


class ElektronPreTrainedModel(PreTrainedModel):
    """What all Elektron models share: initial weights, and the source files saved beside them."""

    config: ElektronConfig
    config_class = ElektronConfig
    base_model_prefix = "elektron"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": ElektronLayer, "attentions": ElektronAttention}  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Matrices normal with σ = fan-in^-½, the matrices that write to the stream zero, embeddings σ = 0.02."""
        if isinstance(module, StreamOutput):
            init.zeros_(module.weight)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=0.02)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Save weights and configuration, and beside them the source files that `AUTO_MAP` names."""
        self.config.auto_map = AUTO_MAP
        super().save_pretrained(save_directory, **kwargs)
        for name in sorted({target.split(".")[0] for target in AUTO_MAP.values()}):
            shutil.copyfile(
                Path(__file__).with_name(f"{name}.py"), Path(save_directory, f"{name}.py")
            )


class ElektronModel(ElektronPreTrainedModel):
    """The encoder: token ids in, normalised hidden states out."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.embeddings = ElektronEmbeddings(config)
        self.embeddings_project: nn.Module = nn.Identity()
        if config.embedding_size != config.hidden_size:
            self.embeddings_project = nn.Linear(
                config.embedding_size, config.hidden_size, bias=False
            )
        self.layers = nn.ModuleList(ElektronLayer(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embeddings."""
        self.embeddings.word_embeddings = value

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode `input_ids` `(batch, length)` to hidden states `(batch, length, hidden_size)`.

        `attention_mask` is `(batch, length)` with 1 for real tokens, or `(batch, 1, length, length)`
        for several texts in a row; `position_ids` `(batch, length)` restart where a text begins.
        `token_type_ids` are taken because tokenizers give them, and have no effect.
        """
        if inputs_embeds is None:
            inputs_embeds = self.embeddings(input_ids)
        hidden_states = self.dropout(self.embeddings_project(inputs_embeds))
        if position_ids is None:
            position_ids = torch.arange(hidden_states.shape[1], device=hidden_states.device)[None]
        head_size = self.config.hidden_size // self.config.num_attention_heads
        rotary = rotary_angles(position_ids, head_size, self.config.rope_theta)
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, rotary, **kwargs)
        return BaseModelOutput(last_hidden_state=rms_norm(hidden_states, self.config.norm_eps))
