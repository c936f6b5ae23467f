"""The hand-over from pre-training: an encoder by name, and what of it went into a task's model.

`DIR_OR_NAME` is a discriminator that elektron trained, or any encoder that transformers knows;
`scratch:RECIPE` is the architecture of a recipe with random weights. What looks like a mistake is
said aloud: a generator, weights that were never trained, a vocabulary for another language.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

import elektron.models  # noqa: F401  (registers the family with the Auto classes)
from elektron.corpus.vocabulary import load_tokenizer, special_ids
from elektron.errors import ElektronError
from elektron.models.elektron import INITIAL_GAIN, ElektronGain, ElektronModel
from elektron.models.families import FAMILIES, check_sizes
from elektron.released import load_configuration, load_network

log = logging.getLogger(__name__)

SCRATCH = "scratch:"
DISCRIMINATOR = "discriminator"

# Root mean square of an initial embedding.
INITIAL_SIZE = 0.02


@dataclass(frozen=True)
class Encoder:
    """An encoder that task models are made of, as many as one likes."""

    name: str
    """As it was asked for."""
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    weights: dict[str, Tensor] | None
    """Of the encoder alone; None stands for random weights, drawn anew for each model."""

    @property
    def pretrained(self) -> bool:
        return self.weights is not None

    @property
    def longest_input(self) -> int:
        """Tokens that it can read at once."""
        positions = getattr(self.config, "max_position_embeddings", None) or 512
        # RoBERTa and its kin count positions from behind the padding's.
        offset = self.config.pad_token_id + 1 if self.config.model_type in OFFSET_POSITIONS else 0
        return int(positions) - offset

    def from_scratch(self) -> Encoder:
        """The same architecture and vocabulary with random weights."""
        return Encoder(f"scratch of {self.name}", self.config, self.tokenizer, None)

    def config_for(self, head: dict[str, Any], dropout: float | None) -> PreTrainedConfig:
        """Its configuration with a head's settings and, where given, another dropout."""
        config = copy.deepcopy(self.config)
        for name in DROPOUTS:
            if dropout is not None and hasattr(config, name):
                setattr(config, name, dropout)
        config.architectures = None
        config.update(head)
        return config

    def fill(self, module: nn.Module) -> None:
        """Put the weights into the encoder of a new model, and say how many found their place.

        Raises:
            ElektronError: hardly any did.
        """
        if self.weights is None:
            return
        own = module.state_dict()
        fitting = {
            name: weight
            for name, weight in self.weights.items()
            if name in own and own[name].shape == weight.shape
        }
        if len(fitting) < len(own) / 2:
            raise ElektronError(
                f"{self.name}: of {len(own)} weights of the encoder only {len(fitting)} are in its "
                "files: it is no encoder for this task"
            )
        module.load_state_dict(fitting, strict=False)
        missing = sorted(own.keys() - fitting.keys())
        if missing:
            log.warning(
                "%s: %d weights of the encoder are not in its files and start at random: %s",
                self.name,
                len(missing),
                ", ".join(missing[:3]),
            )

    def hand_over(self, model: PreTrainedModel) -> dict[str, int]:
        """How many weights of a task model were loaded, and how many are new."""
        total = sum(parameter.numel() for parameter in model.parameters())
        if self.weights is None:
            return {"loaded_weights": 0, "new_weights": total}
        loaded = {name: weight.numel() for name, weight in self.weights.items()}
        from elektron.finetuning.tasks.base import encoder_of

        found = sum(
            parameter.numel()
            for name, parameter in encoder_of(model).named_parameters()
            if loaded.get(name) == parameter.numel()
        )
        return {"loaded_weights": found, "new_weights": total - found}


OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "mpnet")
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "dropout",
    "classifier_dropout",
)


def check_encoder(name: str) -> None:
    """Refuse what names no encoder, at once: `load_encoder` and `scratch_encoder` come when rows have been read.

    Raises:
        ElektronError: there is no such recipe, or no configuration of a model can be read there.
    """
    from elektron.recipes import pretrain_config, recipe_names

    if name.startswith(SCRATCH):
        pretrain_config(name.removeprefix(SCRATCH))
        return
    if name in recipe_names() and not Path(name).exists():
        raise ElektronError(
            f"{name} is a recipe: did you mean {SCRATCH}{name}, its network with random weights?"
        )
    load_configuration(_without_run(name))


def load_encoder(name: str) -> Encoder:
    """An encoder from a folder or the hub, with the tokenizer that lies beside it.

    The folder of a pre-training run stands for its discriminator.

    Raises:
        ElektronError: no encoder can be read there, or its tokenizer has another vocabulary.
    """
    asked, name = name, _without_run(name)
    if name != asked:
        log.info("%s is a pre-training run: the model is %s", asked, name)
    config = load_configuration(name)
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise ElektronError(f"{name} is a {config.model_type} with a decoder: give an encoder")
    tokenizer = load_tokenizer(name)
    if len(tokenizer) > config.vocab_size:
        raise ElektronError(
            f"{name}: its tokenizer has {len(tokenizer):,} entries and the model "
            f"{config.vocab_size:,}: they do not belong together"
        )
    encoder = _load_weights(name)
    _say_what_looks_wrong(name, config, encoder)
    if isinstance(encoder, ElektronModel):
        to_initial_scale(encoder.embeddings.word_embeddings.weight)
        encoder.normalize_matrices()
    return Encoder(name, config, tokenizer, encoder.state_dict())


def scratch_encoder(recipe: str, tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """The discriminator of a pre-training recipe with random weights, for a tokenizer's vocabulary.

    Args:
        recipe: name or path.
        tokenizer: any.

    Raises:
        ElektronError: there is no such recipe.
    """
    from elektron.pretraining.config import resolve
    from elektron.pretraining.foundations import configured_sizes
    from elektron.recipes import pretrain_config

    settings = resolve(pretrain_config(recipe))
    sizes, _ = configured_sizes(settings.network)
    check_sizes("encoder", sizes)
    config = FAMILIES[settings.family].make_config(sizes, len(tokenizer), special_ids(tokenizer))
    return Encoder(f"{SCRATCH}{recipe}", config, tokenizer, None)


def _without_run(name: str) -> str:
    """The name of a model; that of a pre-training run's folder stands for its discriminator."""
    inside = Path(name) / DISCRIMINATOR
    is_run = not (Path(name) / "config.json").exists() and (inside / "config.json").exists()
    return str(inside) if is_run else name


def _load_weights(name: str) -> PreTrainedModel:
    """The bare encoder; safetensors only."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # heads that are not wanted here are no news
    try:
        encoder: PreTrainedModel = load_network(AutoModel, name)
    finally:
        transformers_logging.set_verbosity(verbosity)
    return encoder


def _say_what_looks_wrong(name: str, config: PreTrainedConfig, encoder: PreTrainedModel) -> None:
    (architecture,) = (config.architectures or [""])[:1]
    kept = hasattr(config, "pretraining_objective")
    if config.model_type in FAMILIES and architecture.endswith("ForMaskedLM") and not kept:
        log.warning(
            "%s is a generator: what is fine-tuned is the discriminator, usually the folder beside it",
            name,
        )
    if untrained(encoder):
        log.warning("%s was never trained: its weights are initial ones", name)


@torch.no_grad()
def to_initial_scale(embeddings: Tensor) -> None:
    """Give each row the size that it had before training.

    Family `elektron` normalises what it looks up, so that the size of a row has no effect (beyond the
    epsilon of the norm) but one: how fast the row can turn. Pre-training makes rows ten times as
    long, and Adam's steps, which do not grow with them, then turn them a tenth as far.
    """
    size = embeddings.square().mean(dim=1, keepdim=True).sqrt()
    embeddings.mul_(INITIAL_SIZE / size.clamp(min=INITIAL_SIZE * 1e-3))


@torch.no_grad()
def untrained(encoder: nn.Module) -> bool:
    """Whether biases, norms and gains all have the constants that they start with."""
    constants = [(p, 0.0) for name, p in encoder.named_parameters() if name.endswith("bias")]
    for module in encoder.modules():
        if isinstance(module, ElektronGain):
            constants.append((module.weight, INITIAL_GAIN))
        elif isinstance(module, nn.LayerNorm):
            constants.append((module.weight, 1.0))
    return bool(constants) and not any(bool((p != start).any()) for p, start in constants)
