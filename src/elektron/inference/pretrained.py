"""Pre-trained models without fine-tuning: masked language models and discriminators, and their logits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from elektron.errors import ElektronError
from elektron.hub import load_configuration
from elektron.models.families import LABELS
from elektron.models.loading import load_network
from elektron.models.onnx_model import OnnxModel, exported_file

Kind = Literal["masked language model", "discriminator"]


def load_scorer(name: str) -> tuple[Kind, Any]:
    """A model that can score the tokens of a text, and how.

    Raises:
        ElektronError: it is of another kind.
    """
    config = load_configuration(name)
    architecture = (config.architectures or ["a bare encoder"])[0]
    if architecture.endswith("ForMaskedLM"):
        return "masked language model", load_network(AutoModelForMaskedLM, name)
    if (auto_class := discriminator_class(config)) is not None:
        if (file := exported_file(name)) is not None:
            return "discriminator", OnnxModel(file, ("logits",))
        return "discriminator", load_network(auto_class, name)
    raise ElektronError(f"{name} is {architecture}, and neither a masked language model nor a discriminator")


def discriminator_class(config: PreTrainedConfig) -> Any:
    """The Auto class of a pre-trained discriminator; None for any other model."""
    architecture = (config.architectures or ["a bare encoder"])[0]
    if architecture in ("ElectraForPreTraining", "ElektronForPreTraining"):
        return AutoModelForPreTraining
    labels = {int(number): label for number, label in (config.id2label or {}).items()}
    tags = architecture.endswith("ForTokenClassification") and labels == LABELS
    return AutoModelForTokenClassification if tags else None


def replaced_logits(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """A discriminator's logits `(batch, length)` of "replaced", in fp32."""
    logits: Tensor = model(input_ids, attention_mask=attention_mask).logits.float()
    # A token classifier has a logit for each of LABELS, a discriminator one.
    return logits[..., 1] - logits[..., 0] if logits.ndim == 3 else logits


def logits_at(
    model: PreTrainedModel,
    input_ids: Tensor,
    positions: Tensor,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """A masked language model's logits `(batch, vocabulary)` at one position of each row.

    The head, which is as expensive as a small encoder, runs at these positions only.
    """
    rows = torch.arange(len(input_ids), device=input_ids.device)

    def select(_module: Any, _arguments: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[rows, positions][:, None]
        return output

    hook = model.base_model.register_forward_hook(select)
    try:
        logits: Tensor = model(input_ids, attention_mask=attention_mask).logits
    finally:
        hook.remove()
    return logits[:, 0]
