"""Where words begin: by the pieces of WordPiece, and by a segmenter where there are no spaces."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from elektron.errors import ElektronError
from elektron.pretraining.whole_words import WordFinder, runs

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "walk", "##ing", "##s", "dog", "."]
CHARACTERS = list("我们喜欢北京大学")


def pairs(text: str) -> list[str]:
    """A segmenter: two characters a word."""
    return [text[place : place + 2] for place in range(0, len(text), 2)]


def forgetful(text: str) -> list[str]:
    """A segmenter that loses a character."""
    return [text[1:]]


@pytest.fixture(scope="module")
def tokenizer():
    vocabulary = {piece: number for number, piece in enumerate(PIECES + CHARACTERS)}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def words(finder, tokenizer, text):
    ids = np.array([tokenizer(text, add_special_tokens=False)["input_ids"]])
    begins = finder.begin(ids)[0]
    found: list[str] = []
    for begin, piece in zip(begins, tokenizer.convert_ids_to_tokens(ids[0].tolist()), strict=True):
        if begin:
            found.append("")
        found[-1] += piece.removeprefix("##")
    return found


def test_pieces_belong_to_the_word_they_continue(tokenizer):
    finder = WordFinder(tokenizer, None)
    assert words(finder, tokenizer, "walking dogs.") == ["walking", "dogs", "."]


def test_without_a_segmenter_a_character_is_a_word(tokenizer):
    assert words(WordFinder(tokenizer, None), tokenizer, "我们 walks") == ["我", "们", "walks"]


def test_a_segmenter_joins_characters(tokenizer):
    finder = WordFinder(tokenizer, f"{__name__}:pairs")
    assert words(finder, tokenizer, "我们喜欢 walking 北京大学.") == [
        "我们", "喜欢", "walking", "北京", "大学", ".",
    ]  # fmt: skip
    # A run ends where something else stands, and a segmenter sees each run alone.
    assert words(finder, tokenizer, "我.们喜") == ["我", ".", "们喜"]


def test_jieba_knows_words(tokenizer):
    pytest.importorskip("jieba")
    finder = WordFinder(tokenizer, "jieba")
    assert words(finder, tokenizer, "我们喜欢北京大学") == ["我们", "喜欢", "北京大学"]


def test_segmenters_that_are_none_are_refused(tokenizer):
    for name, message in (
        ("pkuseg", "must be jieba or MODULE:FUNCTION"),
        ("no_such_module:cut", "no_such_module"),
        ("json:cut", "json has no function cut"),
    ):
        with pytest.raises(ElektronError, match=message):
            WordFinder(tokenizer, name)
    finder = WordFinder(tokenizer, f"{__name__}:forgetful")
    with pytest.raises(ElektronError, match="must keep every character"):
        words(finder, tokenizer, "我们")


def test_a_tokenizer_without_continuations_is_refused():
    inner = Tokenizer(models.BPE({"a": 0, "[UNK]": 1}, [], unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    with pytest.raises(ElektronError, match="this tokenizer is BPE"):
        WordFinder(tokenizer, None)


def test_runs():
    marked = np.array([True, True, False, True, False, False, True])
    assert runs(marked) == [(0, 2), (3, 4), (6, 7)]
    assert runs(np.zeros(3, bool)) == []
