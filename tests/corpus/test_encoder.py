"""Encoders reject token ids outside of the vocabulary, which a tokenizer with gaps in its numbering can have."""

import json
from typing import Any

import pytest

from elektron.corpus.engines import Encoder, Encoding
from elektron.corpus.manifest import Manifest
from elektron.errors import ElektronError

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


def encoding(word_id: int, vocab_size: int, **changes: Any) -> Encoding:
    """The encoding of a tokenizer with one word besides the special tokens."""
    vocabulary = {f"[{name.upper()}]": number for name, number in SPECIAL.items()}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary | {"word": word_id}},
    }
    seed = changes.pop("seed", 1)
    settings: dict[str, Any] = {
        "seq_len": 8,
        "packing": "dense",
        "vocab_size": vocab_size,
        "tokenizer": "fingerprint",
        "special_ids": SPECIAL,
        "all_special_ids": list(SPECIAL.values()),
        "corpus": [],
        "options": {},
    }
    return Encoding(json.dumps(tokenizer), Manifest(**settings | changes), seed)


@pytest.mark.parametrize("vocab_size", [65_535, 65_536, 120_000])
@pytest.mark.parametrize("packing", ["dense", "paper"])
def test_token_id_outside_vocabulary_raises_instead_of_wrapping(vocab_size: int, packing: str) -> None:
    rows = Encoder(encoding(vocab_size - 1, vocab_size, packing=packing)).pack(["word word"], 0).rows
    assert rows.max() == vocab_size - 1
    for past in (0, 65_536):
        encoder = Encoder(encoding(vocab_size + past, vocab_size, packing=packing))
        with pytest.raises(ElektronError, match=f"token id {vocab_size + past:,} is not in the vocabulary"):
            encoder.pack(["word word"], 0)


def test_special_token_outside_vocabulary_raises() -> None:
    with pytest.raises(ElektronError, match=r"token id 9 is not in the vocabulary of 6 entries .*a special token"):
        encoding(5, 6, all_special_ids=[0, 1, 2, 3, 9])
