"""Choice of masked positions, and starts of words."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.vocabulary import train_backend_tokenizer
from elektron.errors import ElektronError
from elektron.pretraining.masking import WordFinder, choose_words, mask_rows, max_masked_positions

SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
NEVER_MASKED = [0, 1, 2, 3, 4]


def text_rows(rows: int, length: int, real: int) -> np.ndarray:
    """[CLS] text [SEP] and padding, `real` tokens in all."""
    ids = np.zeros((rows, length), np.int64)
    ids[:, :real] = 10 + np.arange(real)
    ids[:, 0], ids[:, real - 1] = 2, 3
    return ids


def mask(ids: np.ndarray, share: float = 0.15, keep: float = 0.15, seed: int = 0):
    draws = ids.shape[1] + max_masked_positions(ids.shape[1], share)
    uniforms = np.random.default_rng(seed).random((len(ids), draws))
    return mask_rows(ids, uniforms, SPECIAL_IDS, NEVER_MASKED, share, keep)


@settings(max_examples=60)
@given(length=st.integers(4, 80), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**32), data=st.data())
def test_mask_rows_uses_exact_number_of_slots(length, share, seed, data):
    real = data.draw(st.integers(2, length))
    ids = text_rows(5, length, real)
    masks = mask(ids, share, seed=seed)
    slots = max(1, round(share * length))
    assert max_masked_positions(length, share) == slots
    assert masks.positions.shape == masks.weights.shape == (5, slots)
    used = min(max(1, round(share * real)), slots, real - 2)
    assert (masks.weights.sum(1) == used).all()
    for row in range(5):
        assert len(set(masks.positions[row])) == slots
        chosen = masks.positions[row][masks.weights[row] > 0]
        assert not np.isin(ids[row, chosen], NEVER_MASKED).any()
        untouched = np.setdiff1d(np.arange(length), chosen)
        assert (masks.masked_ids[row, untouched] == ids[row, untouched]).all()


def test_row_of_only_special_tokens_is_not_masked():
    ids = np.array([[2, 3, 0, 0, 0, 0, 0, 0]])
    masks = mask(ids)
    assert masks.weights.sum() == 0
    assert (masks.masked_ids == ids).all()


def test_85_percent_become_mask_and_rest_is_unchanged():
    ids = text_rows(4000, 64, 64)
    masks = mask(ids)
    chosen = np.take_along_axis(masks.masked_ids, masks.positions, 1)
    original = np.take_along_axis(ids, masks.positions, 1)
    became_mask = chosen == SPECIAL_IDS["mask"]
    assert abs(became_mask.mean() - 0.85) < 0.01
    assert (chosen[~became_mask] == original[~became_mask]).all()


def test_all_positions_are_chosen_equally_often():
    ids = text_rows(20_000, 12, 12)
    masks = mask(ids, share=0.25)
    counts = np.bincount(masks.positions.ravel(), minlength=12)
    assert counts[0] == counts[-1] == 0
    assert np.abs(counts[1:-1] / 20_000 - 0.3).max() < 0.02


@settings(max_examples=80)
@given(length=st.integers(6, 60), share=st.floats(0.02, 0.9), seed=st.integers(0, 2**32 - 1))
def test_whole_words_are_masked_within_number_of_slots(length, share, seed):
    generator = np.random.default_rng(seed)
    ids = text_rows(4, length, int(generator.integers(3, length + 1)))
    begins = generator.random(ids.shape) < 0.5
    slots = max_masked_positions(length, share)
    uniforms = generator.random((4, length + slots))
    masks = mask_rows(ids, uniforms, SPECIAL_IDS, NEVER_MASKED, share, 0.15, begins)
    assert masks.positions.shape == (4, slots)
    for row in range(4):
        chosen = set(masks.positions[row][masks.weights[row] > 0].tolist())
        words = words_of(ids[row], begins[row])
        real = int((ids[row] != 0).sum())
        wanted = min(max(1, round(share * real)), slots, real - 2)
        assert 0 < len(chosen) <= wanted
        broken = [word for word in words if chosen & set(word) and not chosen >= set(word)]
        if broken:  # only where no word fits
            assert min(map(len, words)) > wanted or (len(broken) == 1 and chosen < set(broken[0]))
        else:
            left = wanted - len(chosen)
            untouched = [word for word in words if not chosen & set(word)]
            assert all(len(word) > left for word in untouched)


def words_of(ids: np.ndarray, begins: np.ndarray) -> list[list[int]]:
    """Positions of the words of a row."""
    words: list[list[int]] = []
    for place, token in enumerate(ids):
        if token in NEVER_MASKED:
            continue
        if begins[place] or not words or ids[place - 1] in NEVER_MASKED:
            words.append([])
        words[-1].append(place)
    return words


def test_choose_words_takes_words_that_fit_in_random_order():
    begins = np.tile([True, False, True, True, False, False, True, False], (20_000, 1))
    uniforms = np.random.default_rng(0).random((20_000, 8))
    maskable = np.ones_like(begins)
    chosen = choose_words(maskable, begins, uniforms, np.full(20_000, 3))
    assert (chosen.sum(1) == 3).all()
    for word in ([0, 1], [3, 4, 5], [6, 7]):
        assert (chosen[:, word] == chosen[:, word[:1]]).all()
    # The word of three pieces fits only as the first one. Otherwise the word of one piece is taken, and the first of
    # the two words of two pieces.
    assert chosen[:, [0, 2, 3, 6]].mean(0) == pytest.approx([0.375, 0.75, 0.25, 0.375], abs=0.02)


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "walk", "##ing", "##s", "dog", "."]
CHARACTERS = list("我们喜欢北京大学")


def character_pairs(text: str) -> list[str]:
    """A segmenter whose words have two characters."""
    return [text[place : place + 2] for place in range(0, len(text), 2)]


def forgetful(text: str) -> list[str]:
    """A segmenter that drops a character."""
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
    begins = finder.word_starts(ids)[0]
    found: list[str] = []
    for begin, piece in zip(begins, tokenizer.convert_ids_to_tokens(ids[0].tolist()), strict=True):
        if begin:
            found.append("")
        found[-1] += piece.removeprefix("##")
    return found


def test_continuation_pieces_belong_to_same_word(tokenizer):
    finder = WordFinder(tokenizer, None)
    assert words(finder, tokenizer, "walking dogs.") == ["walking", "dogs", "."]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_spaces_and_punctuation_separate_words(kind):
    config = TokenizerConfig([], Path(), vocab_size=360)
    texts = ["walking dogs, walks. (dog-walking) " * 20, "我们walking ไปบ้าน " * 20, "我们喜欢北京 ไปบ้าน " * 40]
    inner = train_backend_tokenizer(kind, config, lambda _: iter(texts))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    finder = WordFinder(tokenizer, None)
    found = [word.strip("Ġ▁") for word in words(finder, tokenizer, "dogs walks, (dog-walking).")]
    assert "".join(found) == "dogswalks,(dog-walking)."
    assert found[:3] == ["dogs", "walks", ","]
    assert {"dog", "walking"} <= set(found)
    # In scripts without spaces every token starts a word unless it is only part of a character.
    for text in ("ไปบ้าน", "我们"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        starts = finder.word_starts(np.array([ids]))[0]
        whole = [kind == "unigram" or "\ufffd" not in tokenizer.decode([token_id]) for token_id in ids]
        assert any(whole) and starts[whole].all()


def test_each_chinese_character_is_a_word_without_segmenter(tokenizer):
    assert words(WordFinder(tokenizer, None), tokenizer, "我们 walks") == ["我", "们", "walks"]


def test_a_segmenter_joins_characters(tokenizer):
    finder = WordFinder(tokenizer, f"{__name__}:character_pairs")
    assert words(finder, tokenizer, "我们喜欢 walking 北京大学.") == [
        "我们", "喜欢", "walking", "北京", "大学", ".",
    ]  # fmt: skip
    # The segmenter gets each sequence of Chinese characters separately.
    assert words(finder, tokenizer, "我.们喜") == ["我", ".", "们喜"]


def test_jieba_segments_words(tokenizer):
    pytest.importorskip("jieba")
    finder = WordFinder(tokenizer, "jieba")
    assert words(finder, tokenizer, "我们喜欢北京大学") == ["我们", "喜欢", "北京大学"]


def test_invalid_segmenters_raise(tokenizer):
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


def test_word_level_tokenizer_raises():
    inner = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    with pytest.raises(ElektronError, match="WordLevel"):
        WordFinder(tokenizer, None)
