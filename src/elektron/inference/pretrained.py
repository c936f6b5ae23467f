"""Pre-trained models without fine-tuning: masked language models and discriminators, and their logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.encoders import check_token_ids
from elektron.finetuning.tasks.base import TASK_FILE
from elektron.hub import load_configuration, optional_file
from elektron.models.families import LABELS
from elektron.models.loading import load_network
from elektron.models.onnx_model import OnnxModel, exported_file
from elektron.models.pair import DISCRIMINATOR, network_of_run


@dataclass(frozen=True)
class Scorer:
    """A pre-trained model that scores the tokens of a text, with its tokenizer."""

    network: Any
    tokenizer: PreTrainedTokenizerBase
    mask_id: int | None
    """Id of [MASK] for a masked language model; None for a discriminator."""

    @property
    def kind(self) -> str:
        """`discriminator` or `masked language model`."""
        return "discriminator" if self.mask_id is None else "masked language model"


def load_scorer(name: str) -> Scorer:
    """Load a masked language model or a discriminator by folder or hub name.

    Raises:
        ElektronError: the model is neither, or its tokenizer does not belong to it.
    """
    config = load_configuration(name)
    tokenizer = load_tokenizer(name)
    architecture = (config.architectures or ["a bare encoder"])[0]
    mask_id: int | None = None
    if architecture.endswith("ForMaskedLM"):
        mask_id = tokenizer.mask_token_id
        if mask_id is None:
            raise ElektronError(f"{name}: its tokenizer has no mask token")
        network = load_network(AutoModelForMaskedLM, name)
    elif (auto_class := discriminator_class(config)) is None:
        raise ElektronError(f"{name} is {architecture}, and neither a masked language model nor a discriminator")
    elif (file := exported_file(name)) is not None:
        network = OnnxModel(file, ("logits",))
    else:
        network = load_network(auto_class, name)
    check_token_ids(name, tokenizer, network.config.vocab_size)
    return Scorer(network.eval(), tokenizer, mask_id)


def load_discriminator(model: str, task: str | None) -> Scorer | None:
    """Load the pre-trained discriminator of a run or a folder, in PyTorch; None for any other model.

    Args:
        model: folder or hub name.
        task: the task that the user gave, which says that the model is fine-tuned.

    Raises:
        ElektronError: there is no such model, or it is an exported one.
    """
    name = network_of_run(model, DISCRIMINATOR) or model
    if exported_file(name) is not None:
        raise ElektronError(
            f"{name} is an exported model, which has no gradients and cannot be exported again: give the folder that "
            "it was exported from"
        )
    if task is not None or discriminator_class(load_configuration(name)) is None:
        return None
    return load_scorer(name) if optional_file(name, TASK_FILE) is None else None


def discriminator_class(config: PreTrainedConfig) -> Any:
    """The Auto class of a pre-trained discriminator; None for any other model."""
    architecture = (config.architectures or ["a bare encoder"])[0]
    if architecture in ("ElectraForPreTraining", "ElektronForPreTraining"):
        return AutoModelForPreTraining
    labels = {int(number): label for number, label in (config.id2label or {}).items()}
    tags = architecture.endswith("ForTokenClassification") and labels == LABELS
    return AutoModelForTokenClassification if tags else None


def replaced_logits(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Compute a discriminator's logits of "replaced", `(batch, length)`, in fp32; inputs are `(batch, length)`."""
    logits: Tensor = model(input_ids, attention_mask=attention_mask).logits.float()
    # A token classifier has two logits for each token, one for each of LABELS; other discriminators have one.
    return logits[..., 1] - logits[..., 0] if logits.ndim == 3 else logits


def logits_at(
    model: PreTrainedModel, input_ids: Tensor, positions: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    """Compute a masked language model's logits at one position of each row.

    The head, which is as expensive as a small encoder, runs at these positions only.

    Args:
        model: a masked language model.
        input_ids: `(batch, length)`.
        positions: the position in each row, `(batch,)`.
        attention_mask: `(batch, length)`, 1 for real tokens (default: all are).

    Returns:
        Logits, `(batch, vocabulary)`.
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
