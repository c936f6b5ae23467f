"""Change of vocabulary: the old tokens from which each new one starts, for all kinds of tokenizers."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from elektron.errors import ElektronError
from elektron.models.adaptation import VocabularyChange, adapted
from elektron.models.families import RELEASED_FAMILIES
from tests.models.test_released import make

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


def wrapped(tokenizer: Tokenizer, special: dict[str, str]) -> PreTrainedTokenizerFast:
    named = {f"{kind}_token": token for kind, token in special.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def wordpiece(*pieces: str) -> PreTrainedTokenizerFast:
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL.values(), *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return wrapped(tokenizer, SPECIAL)


def byte_level(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*ROBERTA.values(), *alphabet, *("".join(merge) for merge in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return wrapped(tokenizer, ROBERTA)


def unigram(*pieces: str) -> PreTrainedTokenizerFast:
    scored = [(piece, -1.0) for piece in [*ROBERTA.values(), *pieces]]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return wrapped(tokenizer, ROBERTA)


def starts(
    change: VocabularyChange, old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast
) -> dict[str, list[str]]:
    """For each new token the old tokens that it starts from."""
    return {token: old.convert_ids_to_tokens(change.pieces[token_id]) for token, token_id in new.get_vocab().items()}


OLD = wordpiece("token", "##ization", "##s", "the", "s", "play", "##ing", "ing", ",")


def test_shared_tokens_keep_embedding_and_new_ones_start_from_pieces(caplog: pytest.LogCaptureFixture) -> None:
    new = wordpiece("the", "tokenization", "tokens", "##ings", "λ", "Play", ",")
    with caplog.at_level(logging.INFO, "elektron"):
        found = starts(VocabularyChange.between(OLD, new), OLD, new)
    assert found["the"] == ["the"] and found["[MASK]"] == ["[MASK]"] and found[","] == [","]
    assert found["tokenization"] == ["token", "##ization"]
    assert found["tokens"] == ["token", "##s"]
    assert found["##ings"] == ["##ing", "##s"]  # inside a word
    assert found["Play"] == ["play"]  # as the old tokenizer lowercases
    assert found["λ"] == []
    assert "12 tokens: 7 keep their embedding, 4 start from the mean of their pieces, 1 from" in caplog.text


def test_from_wordpiece_to_byte_level_and_sentencepiece() -> None:
    merges = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"))
    new = byte_level(*merges)
    found = starts(VocabularyChange.between(OLD, new), OLD, new)
    assert found["Ġthe"] == ["the"]
    assert found["ing"] == ["##ing"]
    assert found["<mask>"] == ["[MASK]"] and found["<pad>"] == ["[PAD]"] and found["<s>"] == ["[CLS]"]
    sentencepiece = unigram("▁the", "ing", "▁tokens")
    found = starts(VocabularyChange.between(OLD, sentencepiece), OLD, sentencepiece)
    assert found["▁the"] == ["the"] and found["ing"] == ["##ing"]
    assert found["▁tokens"] == ["token", "##s"]


def test_from_byte_level_and_sentencepiece_to_wordpiece() -> None:
    merges = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"), ("Ġ", "p"))
    old, new = byte_level(*merges), wordpiece("the", "##ing", "##e", "p", "pe", "é")
    found = starts(VocabularyChange.between(old, new), old, new)
    assert found["the"] == ["Ġthe"] and found["##ing"] == ["ing"] and found["##e"] == ["e"]
    assert found["pe"] == ["Ġp", "e"]
    assert len(found["é"]) == 2  # its bytes
    assert found["[MASK]"] == ["<mask>"]
    old = unigram("▁the", "ing", "▁", "p", "e", "▁p")
    found = starts(VocabularyChange.between(old, new), old, new)
    assert found["the"] == ["▁the"] and found["##ing"] == ["ing"] and found["##e"] == ["e"]
    assert found["pe"] == ["▁p", "e"]


def test_new_embeddings_and_biases_are_means_of_pieces() -> None:
    new = wordpiece("the", "tokens", "λ")
    change = VocabularyChange.between(OLD, new)
    config = BertConfig(
        vocab_size=len(OLD), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    before = BertForMaskedLM(config)
    torch.nn.init.normal_(before.cls.predictions.bias)
    after = adapted(before, 0, change)
    assert after.config.vocab_size == len(new) == len(after.cls.predictions.bias)
    assert after.get_output_embeddings().weight is after.get_input_embeddings().weight
    ids = OLD.convert_tokens_to_ids(["token", "##s"])
    for old, changed in (
        (before.get_input_embeddings().weight, after.get_input_embeddings().weight),
        (before.cls.predictions.bias, after.cls.predictions.bias),
    ):
        the, tokens, lam = (new.convert_tokens_to_ids(token) for token in ("the", "tokens", "λ"))
        assert torch.equal(changed[the], old[OLD.convert_tokens_to_ids("the")])
        torch.testing.assert_close(changed[tokens], old[ids].mean(0))
        torch.testing.assert_close(changed[lam], old.mean(0))


def test_tokens_beyond_the_embeddings_start_from_the_mean_of_all() -> None:
    change = VocabularyChange.between(OLD, OLD)
    table = torch.randn(len(OLD) - 1, 4)
    changed = change.applied(table)
    assert torch.equal(changed[:-1], table)
    torch.testing.assert_close(changed[-1], table.mean(0))


def test_positions_of_roberta_move_with_the_padding_id() -> None:
    old, new = byte_level(("t", "h")), wordpiece("t", "##h")
    config = RobertaConfig(
        vocab_size=len(old), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    before = RobertaForMaskedLM(config)
    after = adapted(before, 0, VocabularyChange.between(old, new))
    assert (after.config.pad_token_id, after.config.max_position_embeddings) == (0, 33)
    tables = [n.roberta.embeddings.position_embeddings.weight for n in (before, after)]
    assert torch.equal(tables[0][2:], tables[1][1:])


def test_padding_id_beyond_positions_raises() -> None:
    old = byte_level(("t", "h"))
    config = RobertaConfig(
        vocab_size=len(old), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    change = VocabularyChange([[]] * 200, {"pad": 150, "unk": 1, "cls": 2, "sep": 3, "mask": 4})
    with pytest.raises(ElektronError, match="padding token's id, which is 150"):
        adapted(RobertaForMaskedLM(config), 0, change)


@pytest.mark.parametrize("family", sorted(set(RELEASED_FAMILIES) - {"elektron", "mpnet"}))
@pytest.mark.parametrize("tied", [True, False])
def test_every_family_takes_another_vocabulary(family: str, tied: bool, tmp_path: Path) -> None:
    old, new = byte_level(("t", "h")), byte_level(("t", "h"), ("th", "e"))
    folder = make(family, "ForMaskedLM", tmp_path, vocab_size=len(old), tie_word_embeddings=tied)
    before = AutoModelForMaskedLM.from_pretrained(folder).eval()
    after = adapted(before, 0, VocabularyChange.between(old, new)).eval()
    ids = torch.tensor([old("that")["input_ids"]])
    assert ids.tolist() == [new("that")["input_ids"]]
    with torch.no_grad():
        logits = [network(ids).logits[..., : len(old)] for network in (before, after)]
    torch.testing.assert_close(*logits)
    outputs = [
        network.get_output_embeddings().weight is network.get_input_embeddings().weight for network in (before, after)
    ]
    assert outputs == [tied, tied]
