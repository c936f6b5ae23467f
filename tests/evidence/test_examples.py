"""Wordpieces as running text."""

import pytest

from elektron.evidence.examples import LEAST_STRONGEST, running_text, strongest
from elektron.evidence.runs import Example


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
    tokens = running_text(example(pieces), 1.0)
    assert "".join(" " * token.space + token.text for token in tokens) == text


def test_replaced_and_guessed_tokens_are_told_apart() -> None:
    shown = running_text(example("the ##y cat sat", "the ##re cat sat", masked=[0, 1, 1, 0]), 1.0)
    assert [token.original for token in shown] == [None, "re", None, None]
    assert [token.guessed for token in shown] == [False, False, True, False]


def test_shades_run_up_to_the_highest_probability() -> None:
    texts = [example("a b c", probability=[0.0, 0.2, 0.5])]
    assert strongest(texts) == 0.5
    shown = running_text(texts[0], strongest(texts))
    assert [token.shade for token in shown] == [0.0, 0.4, 1.0]
    assert [token.figures for token in shown] == [False, False, True]
    assert strongest([example("a", probability=[0.01])]) == strongest([]) == LEAST_STRONGEST
