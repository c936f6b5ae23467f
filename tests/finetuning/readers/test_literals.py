"""Lists and objects written as text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.finetuning.readers.literals import literal

SIMPLE = st.none() | st.booleans() | st.integers() | st.text()
NESTED = st.recursive(SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(st.lists(NESTED) | st.dictionaries(st.text(), NESTED))
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert literal(repr(value)) == value


@given(st.lists(st.text(), min_size=1))
def test_numpy_has_no_commas(texts: list[str]) -> None:
    assert literal("[" + " ".join(map(repr, texts)) + "]") == texts
    assert literal("[" + "\n ".join(map(repr, texts)) + "]") == texts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a", null, true]', ["a", None, True]),
        ("(0, -3, 'PER')", [0, -3, "PER"]),
        ("{'a': array(['x', 'y'], dtype=object), 'b': array([1])}", {"a": ["x", "y"], "b": [1]}),
        ("  ['a']\n", ["a"]),
    ],
)
def test_other_ways_to_write(text: str, value: Any) -> None:
    assert literal(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[a]", "[a] b", "(note)", "('a')", "[1 + 1]", "['a', ...]", "[f()]", "{**{}}"),
        *("['a", "[b'x']", "{'a'}", "[" * 100_000 + "]", "[" + "-" * 100_000 + "1]"),
        "[" + r"'\\" * 50_000 + "]",
    ],
)
def test_anything_else_is_text(text: str) -> None:
    assert literal(text) is None
