"""Attention for training on CPUs: two batched matrix products and a softmax where SDPA is slower.

The fused CPU kernel of SDPA is fast in the forward pass and on long rows. In its backward pass in bf16 it splits short
rows into many small products: there, two batched products and a softmax take a half to a fifth of its time (AVX-512,
32 to 256 tokens). The function is registered with transformers and selected by `config._attn_implementation`, which is
never saved.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "elektron"
LONGEST_ROW = 256
"""In tokens; on longer rows the fused kernel is faster."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of `(batch, heads, length, head_size)`, with the arguments and results of `sdpa`.

    The attention mask is boolean, with True for positions that are attended to, or is added to the scores.
    """
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    if (
        not trains_in_bf16(query)
        or key.shape[2] > LONGEST_ROW
        or key.shape[1] != query.shape[1]
        or (causal and attention_mask is None)
        or kwargs.get("position_bias") is not None
        or kwargs.get("softcap") is not None
    ):
        options = kwargs | {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        # The lowest number instead of -inf, so that a query without any key does not become NaN.
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask.to(scores.dtype)
    weights = F.dropout(scores.softmax(dim=-1), p=dropout, training=dropout > 0)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


def trains_in_bf16(query: Tensor) -> bool:
    """Whether there will be a backward pass through bf16 attention on a CPU."""
    if query.device.type != "cpu" or not (torch.is_grad_enabled() and query.requires_grad):
        return False
    autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if autocast else query.dtype
    return dtype == torch.bfloat16


def use_fast_attention(network: PreTrainedModel) -> PreTrainedModel:
    """Switch all modules of a network that use SDPA to `attention`, and return the network.

    Models with their own attention, such as DeBERTa, and those configured to compute attention weights (`eager`) stay
    unchanged.
    """
    for module in network.modules():
        if (
            isinstance(module, PreTrainedModel)
            and not module.config.sub_configs
            and module.config._attn_implementation == "sdpa"
            and module._can_set_attn_implementation()
        ):
            module.set_attn_implementation(NAME)
    return network


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
