"""Elektron: a small bidirectional encoder made for replaced-token detection.

A Transformer encoder with normalisation before and after each sublayer (Peri-LN, Kim et al. 2025): the input is
RMS-normalised, the output is RMS-normalised and scaled by a learned gain per channel before it is added to the residual
stream. It has rotary position embeddings (Su et al. 2021), queries and keys normalised per head (Henry et al. 2020),
squared ReLU (So et al. 2021) and no biases. Multiplying a matrix inside a layer by a positive number therefore does not
change the output: see `ElektronPreTrainedModel.normalize_matrices`. Embeddings may be narrower than the network, as in
ELECTRA, so that a small generator and a large discriminator can share them.

This file imports only torch and transformers. `save_pretrained` copies it next to the weights, so that they can be
loaded without the elektron package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    # With `trust_remote_code`, transformers copies into its cache only the files that this file imports. Without this
    # line heads.py would be missing there, and `save_pretrained`, which copies it, would fail.
    from .heads import ElektronForPreTraining  # noqa: F401

# Initial gain of each sublayer's normalised output: it keeps the RMS of the residual stream near 1.
INITIAL_GAIN = 0.3
# The forward pass normalises embeddings, so their scale only decides how much an optimizer step changes their
# direction. Embeddings that start from co-occurrences of the corpus are 20 times as large as random ones, and change
# 20 times as slowly.
INITIAL_EMBEDDING_RMS = 0.02
LEARNED_EMBEDDING_RMS = 0.4

# For each Auto class of transformers, the file and the class that implement it; saved in the configuration.
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
    """Configuration of an Elektron model.

    If `embedding_size` differs from `hidden_size`, a linear layer projects the embeddings. `classifier_pooling` is
    the pooling of sentence-level heads: the `mean` over real (non-padding) tokens, or the first token (`cls`).
    `classifier_dropout` defaults to `hidden_dropout_prob`.
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

    def __post_init__(self, **kwargs: Any) -> None:
        if self.classifier_pooling not in ("mean", "cls"):
            raise ValueError(f"classifier_pooling must be mean or cls, got {self.classifier_pooling!r}")
        if not (self.norm_eps > 0 and self.rope_theta > 0):
            raise ValueError("norm_eps and rope_theta must be positive")
        super().__post_init__(**kwargs)


def rms_norm(hidden_states: Tensor, eps: float) -> Tensor:
    """Scale the last dimension to a root mean square of 1; computes in fp32, returns the input's dtype."""
    single = hidden_states.float()
    # Products instead of `pow` or `F.rms_norm`, which return fp32 under autocast.
    scale = torch.rsqrt((single * single).mean(-1, keepdim=True) + eps)
    return (single * scale).to(hidden_states.dtype)


def rotary_angles(position_ids: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each `(batch, length, 1, 1, head_size / 2)` in fp32.

    Args:
        position_ids: `(batch, length)`.
        head_size: size of an attention head.
        theta: base of the rotary frequencies.
    """
    steps = torch.arange(0, head_size, 2, device=position_ids.device, dtype=torch.float32)
    angles = position_ids[:, :, None, None, None].float() * theta ** (-steps / head_size)
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Apply rotary position embeddings to queries or keys `(batch, length, ..., heads, head_size)`."""
    first, second = heads.chunk(2, dim=-1)
    rotated = (first * cosines - second * sines, first * sines + second * cosines)
    return torch.cat(rotated, dim=-1).to(heads.dtype)


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
    """Attention in plain operations, which also returns the weights; `attention_mask` is added to the scores."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.dropout(scores.softmax(dim=-1), p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


class ElektronEmbeddings(nn.Module):
    """RMS-normalised token embeddings. Attention applies the positions; there are no segment embeddings."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.norm_eps = config.norm_eps

    def forward(self, input_ids: Tensor) -> Tensor:
        """`(batch, length)` token ids to `(batch, length, embedding_size)`."""
        return rms_norm(self.word_embeddings(input_ids), self.norm_eps)


class FusedLinear(nn.Linear):
    """A linear layer without bias whose weight stacks `parts` matrices of one shape along the output dimension."""

    def __init__(self, in_features: int, out_features: int, parts: int) -> None:
        super().__init__(in_features, parts * out_features, bias=False)
        self.parts = parts


class ElektronGain(nn.Module):
    """A learned factor per channel."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((hidden_size,), INITIAL_GAIN))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """`(…, hidden_size)` to the same shape and dtype."""
        return hidden_states * self.weight.to(hidden_states.dtype)


class ElektronAttention(nn.Module):
    """Multi-head self-attention with normalised, rotated queries and keys."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_size**-0.5
        self.qkv = FusedLinear(config.hidden_size, config.hidden_size, parts=3)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None, rotary: tuple[Tensor, Tensor], **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`(batch, length, hidden_size)` to the same shape, and the attention weights if they are computed."""
        batch, length, hidden_size = hidden_states.shape
        qkv = self.qkv(hidden_states).view(batch, length, 3, -1, self.head_size)
        # Processing queries and keys together needs half as many operations.
        query_key = rotate(rms_norm(qkv[:, :, :2], self.config.norm_eps), *rotary)
        query, key = (heads.transpose(1, 2) for heads in query_key.unbind(2))
        value = qkv[:, :, 2].transpose(1, 2)
        attention: Callable[..., tuple[Tensor, Tensor | None]]
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
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
        return self.output(attended.reshape(batch, length, hidden_size)), weights


class ElektronFeedForward(nn.Module):
    """Two matrices with a squared ReLU between them."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """`(batch, length, hidden_size)` to the same shape."""
        activated = F.relu(self.inner(hidden_states))
        return self.output(activated * activated)


class ElektronLayer(GradientCheckpointingLayer):
    """Attention and feed-forward; the input and the output of each are normalised, and the output is scaled."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__()
        self.attention = ElektronAttention(config)
        self.attention_gain = ElektronGain(config.hidden_size)
        self.feed_forward = ElektronFeedForward(config)
        self.feed_forward_gain = ElektronGain(config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.norm_eps = config.norm_eps

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None, rotary: tuple[Tensor, Tensor], **kwargs: Any
    ) -> Tensor:
        """`(batch, length, hidden_size)` to the same shape."""
        normed = rms_norm(hidden_states, self.norm_eps)
        output, _ = self.attention(normed, attention_mask, rotary, **kwargs)
        output = self.attention_gain(rms_norm(output, self.norm_eps))
        hidden_states = hidden_states + self.dropout(output)
        output = self.feed_forward(rms_norm(hidden_states, self.norm_eps))
        output = self.feed_forward_gain(rms_norm(output, self.norm_eps))
        return hidden_states + self.dropout(output)


class ElektronPreTrainedModel(PreTrainedModel):
    """Base class of all Elektron models: initialises weights, and saves the source files with them."""

    config: ElektronConfig
    config_class = ElektronConfig
    base_model_prefix = "elektron"
    _input_embed_layer = "word_embeddings"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # Trainer divides the losses of accumulated batches itself
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": ElektronLayer, "attentions": ElektronAttention}  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Matrices: normal with σ = fan_in^-½; embeddings: normal with σ = 0.02; gains: constant."""
        if isinstance(module, ElektronGain):
            init.constant_(module.weight, INITIAL_GAIN)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=INITIAL_EMBEDDING_RMS)

    @torch.no_grad()
    def normalize_matrices(self) -> None:
        """Give each matrix inside the layers its initial Frobenius norm, `sqrt(out_features)`.

        The output of the network stays the same, because the result of each matrix is normalised (that of the
        values after attention and its output matrix, which are linear in them). What changes is how much an optimizer
        step of a given size changes the direction of the matrix.
        """
        for layer in self.modules():
            if isinstance(layer, ElektronLayer):
                for module in layer.modules():
                    if isinstance(module, nn.Linear):
                        parts = getattr(module, "parts", 1)
                        matrices = module.weight.view(parts, -1, module.in_features)
                        norms = torch.linalg.matrix_norm(matrices, keepdim=True)
                        matrices.mul_(matrices.shape[1] ** 0.5 / norms.clamp(min=1e-12))

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Save weights and configuration, and next to them the source files that `AUTO_MAP` names."""
        self.config.auto_map = AUTO_MAP
        super().save_pretrained(save_directory, **kwargs)
        for name in sorted({target.split(".")[0] for target in AUTO_MAP.values()}):
            shutil.copyfile(Path(__file__).with_name(f"{name}.py"), Path(save_directory, f"{name}.py"))


class ElektronModel(ElektronPreTrainedModel):
    """The encoder: token ids in, normalised hidden states out."""

    # The weights of the heads in heads.py: a checkpoint may contain a head.
    _keys_to_ignore_on_load_unexpected = [r"^(dense|prediction|decoder|classifier|qa_outputs)\."]  # noqa: RUF012

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.embeddings = ElektronEmbeddings(config)
        self.embeddings_project: nn.Module = nn.Identity()
        if config.embedding_size != config.hidden_size:
            self.embeddings_project = nn.Linear(config.embedding_size, config.hidden_size, bias=False)
        self.layers = nn.ModuleList(ElektronLayer(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.post_init()

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

        `attention_mask` is `(batch, length)` with 1 for real tokens, or `(batch, 1, length, length)` for packed
        rows; `position_ids` `(batch, length)` then restart with each text. `token_type_ids` are ignored; they are
        accepted because tokenizers return them.
        """
        if inputs_embeds is None:
            inputs_embeds = self.embeddings(input_ids)
        hidden_states = self.dropout(self.embeddings_project(inputs_embeds))
        device_type = hidden_states.device.type
        if torch.is_autocast_enabled(device_type):
            # Keeping the residual stream in the lower precision too halves the memory traffic.
            hidden_states = hidden_states.to(torch.get_autocast_dtype(device_type))
        if position_ids is None:
            position_ids = torch.arange(hidden_states.shape[1], device=hidden_states.device)[None]
        head_size = self.config.hidden_size // self.config.num_attention_heads
        rotary = rotary_angles(position_ids, head_size, self.config.rope_theta)
        mask = create_bidirectional_mask(config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, rotary, **kwargs)
        return BaseModelOutput(last_hidden_state=rms_norm(hidden_states, self.config.norm_eps))
