"""A small encoder of each family with the tokenizer of the small test language, and labelled files."""

import gc
import json
import random
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from elektron.corpus.tokenizer import load_tokenizer
from elektron.models.families import FAMILIES, Sizes
from elektron.models.pair import build_pair
from tests.conftest import OBJECTS, SUBJECTS, VERBS

SIZES = Sizes(
    num_hidden_layers=2,
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=2,
    embedding_size=16,
    max_position_embeddings=64,
    dropout=0.0,
)


@pytest.fixture(scope="session", autouse=True)
def frozen_imports() -> None:
    """Freeze library objects so that the garbage collection of each training does not scan them."""
    import transformers.trainer  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def encoders(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Discriminator folders by family, with weights moved off their initial values."""
    tokenizer = load_tokenizer(str(tokenizer_folder))
    ids = {kind: getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "cls", "sep")}
    folders = {}
    for name in ("elektron", "electra"):
        torch.manual_seed(1)
        pair = build_pair(FAMILIES[name], SIZES, SIZES.smaller(0.5, 2), len(tokenizer), ids)
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp(name)
        pair.save(folder, tokenizer, "rtd", detects=True)
        folders[name] = folder / "discriminator"
    return folders


@pytest.fixture(scope="session")
def families(
    encoders: dict[str, Path], tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folders of `encoders`, and one of family bert."""
    tokenizer = load_tokenizer(str(tokenizer_folder))
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("bert")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {**encoders, "bert": folder}


def labelled_sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Random sentences labelled by their subject, an animal or a person."""
    chooser = random.Random(seed)
    rows = []
    for _ in range(count):
        subject = chooser.choice(SUBJECTS)
        animal = any(word in subject for word in ("cat", "dog", "bird", "fox"))
        text = f"{subject} {chooser.choice(VERBS)} {chooser.choice(OBJECTS)} ."
        rows.append((text, "animal" if animal else "person"))
    return rows


def write_tsv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TSV files train, eval and test of `labelled_sentences`."""
    folder = tmp_path_factory.mktemp("animals")
    return {
        name: write_tsv(folder / f"{name}.tsv", labelled_sentences(count, seed), ("sentence", "label"))
        for name, count, seed in (("train", 200, 1), ("eval", 60, 2), ("test", 60, 3))
    }
