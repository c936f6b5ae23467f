"""Wordpieces as running text."""

import pytest

from elektron.reporting.examples import Shades, running_text, shades
from elektron.reporting.runs import Example

PLAIN = Shades(0.0, 1.0, 1.0)


def example(tokens: str, original: str | None = None, **columns: list[float]) -> Example:
    pieces, before = tokens.split(), (original or tokens).split()
    replaced = [a != b for a, b in zip(pieces, before, strict=True)]
    return Example(
        tokens=pieces,
        original=before,
        masked=[bool(m) for m in columns.get("masked", replaced)],
        replaced=replaced,
        probability=columns.get("probability", [0.1] * len(pieces)),
    )


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ("fl ##attened array ##s .", "flattened arrays."),
        ("a ( b ) , c : d", "a (b), c: d"),
        ("max _ length - 1 don ' t", "max_length-1 don't"),
        ("汉 字 ， 和 english 字", "汉字，和 english 字"),
        ("안녕 세계", "안녕 세계"),
        ("a ## b", "a ## b"),
    ],
)
def test_pieces_join_to_words(pieces: str, text: str) -> None:
    tokens = running_text(example(pieces), PLAIN)
    assert "".join(" " * token.space + token.text for token in tokens) == text


def test_replaced_and_guessed_tokens_are_told_apart() -> None:
    shown = running_text(example("the ##y cat sat", "the ##re cat sat", masked=[0, 1, 1, 0]), PLAIN)
    assert [token.original for token in shown] == [None, "re", None, None]
    assert [token.guessed for token in shown] == [False, False, True, False]


def test_shades_run_from_the_median_to_the_highest_probability() -> None:
    texts = [example("a b c d e", probability=[0.1, 0.1, 0.1, 0.35, 0.6])]
    found = shades(texts)
    assert found[:2] == pytest.approx((0.1, 0.6))
    shown = running_text(texts[0], found)
    assert [token.shade for token in shown] == pytest.approx([0, 0, 0, 0.5, 1])
    assert [token.figures for token in shown] == [False] * 4 + [True]


def test_after_a_short_run_no_token_stands_out() -> None:
    """All probabilities are alike: nothing is marked as suspicious."""
    texts = [example("a b c d", probability=[0.14, 0.15, 0.15, 0.16])]
    shown = running_text(texts[0], shades(texts))
    assert not any(token.figures for token in shown)
    assert max(token.shade for token in shown) < 0.1


def test_at_most_a_tenth_of_the_tokens_is_written_out() -> None:
    texts = [example("a " * 40, probability=[0.1] * 25 + [0.9 + n / 1000 for n in range(15)])]
    assert sum(token.figures for token in running_text(texts[0], shades(texts))) == 4


def test_without_examples_there_are_shades_all_the_same() -> None:
    assert shades([]).highest > shades([]).lowest
