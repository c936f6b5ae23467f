"""Fuzzing with Hypothesis: few cases in `make test` and many in `make test-all`, drawn from these strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.slow)])

MARKS = st.sampled_from(
    [
        *('"', '"""', ",", ";", "\t", "\n", "\r\n", "\0", "{", "}", "[", "]", ":", "\\", "\\u0000"),
        *(
            "null",
            "NaN",
            "1e999",
            "-1",
            "true",
            '{"text": ',
            '"label": 1}',
            "O",
            "B-X",
            "-DOCSTART-",
        ),
        *("\ud800", "\x1b[31m", "\u202e", "中", "é", "\ufeff", "<script>", "../", "a", " ", "text"),
        *("!!python/name:os.system", "&a [*a]", "- ", "'", "%", "|", "0x1", "_" * 40, "9" * 5000),
    ]
)
TEXTS = st.lists(MARKS | st.text(max_size=8), max_size=40).map("".join)
BYTES = (
    st.binary(max_size=300)
    | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | TEXTS.map(lambda text: text.encode("utf-16", "surrogatepass"))
)


def fuzz(cases: int, check: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Call `check` with `cases` examples drawn from the strategies."""
    settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(**strategies)(check))()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes of a file with some changed, removed, inserted or repeated."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, 12)))
        content[begin:end] = draw(
            st.binary(max_size=8) | st.just(bytes(content[begin:end]) * 2) | st.just(b"\xff" * (end - begin))
        )
    return bytes(content)
