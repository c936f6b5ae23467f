"""Load encoders by name, and copy their weights into the models of tasks.

A name is a folder or hub name of a discriminator that elektron trained, or of any encoder that
transformers knows; `scratch:RECIPE` is the architecture of a recipe with random weights. For a generator
a warning is logged, because it is probably a mistake.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

import elektron.models  # noqa: F401  (registers the family with the Auto classes)
from elektron.corpus.tokenizer import load_tokenizer, special_ids
from elektron.errors import ElektronError, first_line
from elektron.finetuning.recipe import SCRATCH
from elektron.hub import LOAD_ERRORS, load_configuration
from elektron.models.elektron import LEARNED_EMBEDDING_RMS, ElektronModel
from elektron.models.families import FAMILIES, check_sizes, set_dropout
from elektron.models.loading import POOLER, load_bare_encoder
from elektron.models.pair import DISCRIMINATOR, network_of_run

log = logging.getLogger(__name__)

UNLIMITED = 1 << 30
"""Longest input in tokens of an encoder with relative positions, which has no limit."""
PROBE_TOKENS = 4


@dataclass(frozen=True)
class Encoder:
    """An encoder with its tokenizer, from which task models are made."""

    name: str
    """Folder, hub name or `scratch:RECIPE`."""
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    weights: dict[str, Tensor] | None
    """State dict of the encoder without heads; None for random weights, which each new model initializes itself."""

    @property
    def pretrained(self) -> bool:
        return self.weights is not None

    def from_scratch(self) -> Encoder:
        """The same architecture and vocabulary with random weights."""
        return Encoder(f"scratch of {self.name}", self.config, self.tokenizer, None)

    def config_for(self, head: dict[str, Any], dropout: float | None) -> PreTrainedConfig:
        """A copy of the configuration with the settings of a head, and with another dropout unless that is None."""
        config = copy.deepcopy(self.config)
        if dropout is not None:
            set_dropout(config, dropout)
        config.architectures = None
        config.update(head)
        return config

    def load_into(self, module: nn.Module) -> None:
        """Load the weights into the encoder of a new model.

        Raises:
            ElektronError: weights are missing, other than those of a pooler.
        """
        if self.weights is None:
            return
        missing = module.load_state_dict(self.weights, strict=False).missing_keys
        if missing := [name for name in missing if name.partition(".")[0] != POOLER]:
            raise ElektronError(
                f"{self.name}: {len(missing)} weights of the encoder that this task needs are not in its "
                f"files, such as {min(missing)}: it cannot be used for this task"
            )

    def count_loaded(self, model: PreTrainedModel) -> dict[str, int]:
        """How many parameters of a task model are pretrained, and how many are new."""
        parameters = encoder_of(model).named_parameters()
        loaded = sum(parameter.numel() for name, parameter in parameters if name in (self.weights or {}))
        return {"loaded": loaded, "new": model.num_parameters() - loaded}


def longest_input(config: PreTrainedConfig) -> int:
    """Longest input of an encoder in tokens; UNLIMITED if its positions are relative.

    In RoBERTa and similar families, the position embeddings up to the row for padding are not used.

    Raises:
        ElektronError: no encoder can be made from the configuration.
    """
    positions = getattr(config, "max_position_embeddings", None) or UNLIMITED
    if positions == -1:  # XLNet: no limit
        return UNLIMITED
    try:
        with torch.device("meta"):
            encoder = AutoModel.from_config(config)
    except LOAD_ERRORS as error:
        raise ElektronError(
            f"no {config.model_type} can be built with the sizes in its config.json ({first_line(error)})"
        ) from error
    padding = (
        module.padding_idx
        for name, module in encoder.named_modules()
        if name.endswith("position_embeddings") and hasattr(module, "padding_idx")
    )
    return int(positions) - max((row + 1 for row in padding if row is not None), default=0)


@torch.no_grad()
def is_causal(name: str, encoder: PreTrainedModel) -> bool:
    """Whether attention is causal, as in GPT and other decoders, found by running it on a few tokens.

    Raises:
        ElektronError: the encoder cannot run on token ids.
    """
    try:
        ids = torch.arange(1, 1 + PROBE_TOKENS)[None] % encoder.config.vocab_size
        other = ids.clone()
        other[0, -1] = 0
        first, second = (encoder.eval()(read).last_hidden_state[:, 0] for read in (ids, other))
    except LOAD_ERRORS as error:
        raise ElektronError(
            f"{name} cannot read {PROBE_TOKENS} tokens ({first_line(error)}): is it a text encoder?"
        ) from error
    return bool(torch.equal(first, second))


def check_token_ids(name: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Raise ElektronError if a tokenizer has ids for which the network has no embedding."""
    highest = max(*tokenizer.get_vocab().values(), *tokenizer("a", "a")["input_ids"])
    if highest >= vocab_size:
        raise ElektronError(
            f"{name}: its tokenizer has the token id {highest:,}, but the model has {vocab_size:,} embeddings: they "
            "do not belong to the same model"
        )


def load_encoder(name: str) -> Encoder:
    """Load an encoder and its tokenizer from a folder or the hub; of a pre-training run, the discriminator.

    Raises:
        ElektronError: no encoder can be read there, or its tokenizer has another vocabulary.
    """
    if discriminator := network_of_run(name, DISCRIMINATOR):
        log.info("%s is a pre-training run: the model is %s", name, discriminator)
        name = discriminator
    config = load_configuration(name)
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise ElektronError(f"{name} is a {config.model_type} with a decoder: give an encoder")
    encoder, weights = load_bare_encoder(name)
    if is_causal(name, encoder):
        raise ElektronError(
            f"{name} is a {config.model_type}, a decoder, which reads a text in one direction only: give an encoder"
        )
    tokenizer = load_tokenizer(name)
    check_token_ids(name, tokenizer, config.vocab_size)
    is_masked_lm = (config.architectures or [""])[0].endswith("ForMaskedLM")
    if config.model_type in FAMILIES and is_masked_lm and not hasattr(config, "pretraining_objective"):
        log.warning("%s is a generator: usually the discriminator in the folder beside it is fine-tuned", name)
    if isinstance(encoder, ElektronModel):
        rescale_embeddings(encoder.embeddings.word_embeddings.weight)
        encoder.normalize_matrices()
    return Encoder(name, config, tokenizer, weights)


def scratch_encoder(recipe: str, tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """The discriminator of a pre-training recipe with random weights, for a tokenizer's vocabulary.

    Args:
        recipe: name or path of the recipe.
        tokenizer: the tokenizer, which determines the size of the vocabulary.

    Raises:
        ElektronError: there is no such recipe.
    """
    from elektron.pretraining.config import resolve
    from elektron.pretraining.setup import configured_sizes
    from elektron.recipes import pretrain_config

    settings = resolve(pretrain_config(recipe))
    sizes, _ = configured_sizes(settings.network)
    check_sizes("encoder", sizes)
    config = FAMILIES[settings.family].make_config(sizes, len(tokenizer), special_ids(tokenizer))
    return Encoder(f"{SCRATCH}{recipe}", config, tokenizer, None)


@torch.no_grad()
def rescale_embeddings(embeddings: Tensor) -> None:
    """Scale each row to a root mean square of `LEARNED_EMBEDDING_RMS`.

    Family `elektron` normalizes embeddings, so their scale has no effect on the output. It has one on training: the
    size of Adam's steps does not depend on the scale, so a step changes the direction of a long row less. At the scale
    of random rows, tens of steps would overwrite what the rows have learned from the corpus.
    """
    size = embeddings.square().mean(dim=1, keepdim=True).sqrt()
    embeddings.mul_(LEARNED_EMBEDDING_RMS / size.clamp(min=LEARNED_EMBEDDING_RMS * 1e-3))


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The pretrained part of a model of any task."""
    return model.encoder if model.config.is_encoder_decoder else model.base_model
