"""The starts of words in rows of token ids, for whole-word masking.

WordPiece marks the pieces that continue a word, `##ing`. In text without spaces, such as Chinese, every character is
a token; there a segmenter, `jieba` or a function of the user's, splits the text of a row into words. It gets the text
as the tokenizer has normalized it, so that a word always consists of whole pieces.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from elektron.errors import ElektronError

CONTINUATION = "##"
Segmenter = Callable[[str], Iterable[str]]


class WordFinder:
    """Finds the token ids that start a word."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, segmenter: str | None) -> None:
        kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
        if kind != "WordPiece":
            raise ElektronError(
                f"--masking.unit whole_word reads the ## of WordPiece, and this tokenizer is {kind}: "
                "choose --masking.unit token"
            )
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.begins = np.array([not piece.startswith(CONTINUATION) for piece in pieces])
        self.segment = None if segmenter is None else load_segmenter(segmenter)
        special = set(tokenizer.all_special_tokens)
        self.texts = [
            "" if piece in special else piece.removeprefix(CONTINUATION) for piece in pieces
        ]
        self.unspaced = np.array([len(text) == 1 and is_unspaced(text) for text in self.texts])

    def begin(self, input_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`(batch, length)`: whether a token starts a word."""
        begins = self.begins[input_ids]
        if self.segment is not None:
            for row, ids in enumerate(input_ids):
                for first, end in runs(self.unspaced[ids]):
                    begins[row, first:end] = self.within(ids[first:end])
        return begins

    def within(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The starts of words in a run of single-character tokens."""
        assert self.segment is not None
        text = "".join(self.texts[token_id] for token_id in ids)
        begins = np.zeros(len(ids), np.bool_)
        place = 0
        for word in self.segment(text):
            begins[place : place + 1] = True
            place += len(word)
        if place != len(ids):
            raise ElektronError(
                f"--masking.segmenter: the words of {text[:20]!r}… have {place} characters "
                f"and the text {len(ids)}: a segmenter must keep every character"
            )
        return begins


def load_segmenter(name: str) -> Segmenter:
    """`jieba`, or the function that MODULE:FUNCTION names.

    Raises:
        ElektronError: there is none.
    """
    module_name, colon, function = ("jieba", ":", "cut") if name == "jieba" else name.partition(":")
    if not colon:
        raise ElektronError(f"--masking.segmenter must be jieba or MODULE:FUNCTION, got {name!r}")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        hint = ": pip install 'elektron[chinese]'" if name == "jieba" else ""
        raise ElektronError(f"--masking.segmenter {name}: {error}{hint}") from error
    if not callable(getattr(module, function, None)):
        raise ElektronError(f"--masking.segmenter: {module_name} has no function {function}")
    segmenter: Segmenter = getattr(module, function)
    return segmenter


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script without spaces, each of whose characters is a token: mostly Han."""
    return (
        "㐀" <= character <= "鿿"
        or "豈" <= character <= "﫿"
        or "\U00020000" <= character <= "\U0003ffff"
    )


def runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Starts and ends of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
