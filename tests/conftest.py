"""Shared fixtures: a small artificial corpus, its tokenizer and its blocks."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers.utils import logging

from elektron import accelerator as module
from elektron.terminal import output_enabled

# Hypothesis draws the same examples in every run, so an unrelated change does not fail on a new example.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

SMALL_ELECTRA = {
    "embedding_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
}
"""Sizes of an ElectraConfig whose random weights give different answers."""
SUBJECTS = ["the cat", "the dog", "a small bird", "my old friend", "the red fox", "her brother"]
VERBS = ["sees", "likes", "follows", "finds", "meets", "forgets"]
OBJECTS = [
    "the blue house",
    "a long road",
    "some warm bread",
    "the open door",
    "an apple",
    "the river",
]


def sentences(count: int, seed: int = 0) -> list[str]:
    chooser = random.Random(seed)
    return [f"{chooser.choice(SUBJECTS)} {chooser.choice(VERBS)} {chooser.choice(OBJECTS)} ." for _ in range(count)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no GPU")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: small tensors gain nothing from several, which wait for one another on a busy machine."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()


@pytest.fixture(scope="session", autouse=True)
def same_precision() -> Iterator[None]:
    """Compute in fp32 where a test sets no precision, also on processors that are faster in bf16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "cpu_is_fast_in_bf16", lambda: False)
        yield


@pytest.fixture(autouse=True)
def shown() -> Iterator[None]:
    """Enable the output that commands print."""
    with output_enabled():
        yield


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of 400 documents separated by blank lines."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    lines = sentences(1600)
    path.write_text("\n\n".join("\n".join(lines[i : i + 4]) for i in range(0, 1600, 4)))
    return path


@pytest.fixture(scope="session")
def tokenizer_folder(corpus_file: Path) -> Path:
    from elektron.corpus.config import TokenizerConfig
    from elektron.corpus.tokenizer import train_tokenizer

    out = corpus_file.with_name("tokenizer")
    train_tokenizer(TokenizerConfig(corpus=[str(corpus_file)], out=out, vocab_size=90))
    return out


def prepare_blocks(corpus: Path, tokenizer: Path, out: Path, **options: object) -> Path:
    from elektron.corpus.config import PrepareConfig
    from elektron.corpus.prepare import prepare

    settings = {"seq_len": 32, "validation": 0.1, "workers": 1} | options
    prepare(PrepareConfig(corpus=[str(corpus)], tokenizer=str(tokenizer), out=out, **settings))
    return out


@pytest.fixture(scope="session")
def blocks(corpus_file: Path, tokenizer_folder: Path) -> Path:
    return prepare_blocks(corpus_file, tokenizer_folder, corpus_file.with_name("blocks"))


@pytest.fixture(scope="session")
def paper_blocks(corpus_file: Path, tokenizer_folder: Path) -> Path:
    out = corpus_file.with_name("paper-blocks")
    return prepare_blocks(corpus_file, tokenizer_folder, out, packing="paper")
