"""A small corpus of made-up words, and a tokenizer trained on it."""

import random
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.vocabulary import train_tokenizer

SYLLABLES = "ka lo mi ser tan du vel or ith gra".split()
VOCAB_SIZE = 120


def make_text(documents: int, seed: int = 0) -> str:
    """Documents of a few lines, a blank line between them."""
    chooser = random.Random(seed)

    def word() -> str:
        return "".join(chooser.choices(SYLLABLES, k=chooser.randint(1, 4)))

    def line() -> str:
        return " ".join(word() for _ in range(chooser.randint(3, 25))) + "."

    return "\n\n".join(
        "\n".join(line() for _ in range(chooser.randint(1, 6))) for _ in range(documents)
    )


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 documents."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(make_text(300), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer_folder(corpus_file: Path) -> Path:
    """A tokenizer for `corpus_file`."""
    out = corpus_file.parent / "tokenizer"
    train_tokenizer(TokenizerConfig([str(corpus_file)], out, vocab_size=VOCAB_SIZE))
    return out


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerBase:
    from elektron.corpus.vocabulary import load_tokenizer

    return load_tokenizer(str(tokenizer_folder))
