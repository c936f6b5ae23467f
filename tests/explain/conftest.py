"""Untrained task models of three families, whose logits depend on every word."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import elektron.models  # noqa: F401
from elektron.corpus.tokenizer import load_tokenizer
from tests.finetuning.conftest import encoders  # noqa: F401

FAMILIES = ("elektron", "electra", "bert")
CLASSES = {
    "classification": (AutoModelForSequenceClassification, ["animal", "person", "plant"]),
    "regression": (AutoModelForSequenceClassification, ["score"]),
    "token-classification": (AutoModelForTokenClassification, ["B-X", "I-X", "O"]),
    "question-answering": (AutoModelForQuestionAnswering, ["start", "end"]),
    "discriminator": (AutoModelForPreTraining, ["original", "replaced"]),
}


@pytest.fixture(scope="session")
def models(tokenizer_folder, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Folders by task and family."""
    tokenizer = load_tokenizer(str(tokenizer_folder))
    folders = {}
    for family in FAMILIES:
        for task, (auto_class, labels) in CLASSES.items():
            if task == "discriminator" and family == "bert":
                continue
            torch.manual_seed(0)
            config = AutoConfig.for_model(
                family,
                vocab_size=len(tokenizer),
                embedding_size=16,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=48,
                initializer_range=0.2,
                id2label=dict(enumerate(labels)),
                label2id={label: number for number, label in enumerate(labels)},
            )
            model = auto_class.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            folder = tmp_path_factory.mktemp(f"{family}-{task}")
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            folders[task, family] = folder
    return folders
