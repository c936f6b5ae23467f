"""Guess columns by their values where names do not tell: text and label, tokens and tags.

A column is guessed only if it is the only candidate: if two could be the label or the tags, none is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

from elektron.finetuning.readers.request import Request

LONGEST_LABEL = 40
BIO_TAG = re.compile(r"[OBIESMLUW_]|[BIESMLUW]-\S.*")
NO_TAG = {"", "_", "-", "*"}
"""Values that mean that a token has no tag."""


def text_and_label(rows: Sequence[Sequence[str]], request: Request) -> dict[str, int]:
    """The columns of text and label, from 0, of rows with two fields of which only one can be the label.

    A label is short and its values repeat; the text is longer on average.
    """
    text = request.only_role
    if text is None or all(role.name != "label" for role in request.roles):
        return {}
    if any(len(row) != 2 for row in rows):
        return {}
    columns = [[field.strip() for field in column] for column in zip(*rows, strict=True)]
    labels = [
        index
        for index, column in enumerate(columns)
        if all(0 < len(value) <= LONGEST_LABEL for value in set(column)) and _has_few_values(column)
    ]
    if len(labels) != 1:
        return {}
    label = labels[0]
    if fmean(map(len, columns[1 - label])) <= fmean(map(len, columns[label])):
        return {}
    return {text.name: 1 - label, "label": label}


def tokens_and_tags(columns: Sequence[Sequence[str]]) -> dict[str, int]:
    """The columns of tokens and tags, from 0, in lines with a token each."""
    width = len(columns)
    first = 0
    if _is_token_index(columns[0]) and (width > 2 or not _entity_types(columns[-1])):
        first = min(1, width - 1)
    constant = len(set(columns[first])) == 1 or all(value.isdecimal() for value in columns[first])
    if width > 2 and len(columns[first]) > 1 and constant:
        return {}  # such as the number of the document or the sentence
    tags = _tag_column(columns, range(first + 1, width))
    return {"tokens": first} | ({} if tags is None else {"tags": tags})


def any_has_few_values(columns: Sequence[Sequence[str]]) -> bool:
    """Whether the values of some column repeat: on average each occurs at least twice."""
    return any(map(_has_few_values, columns))


def _tag_column(columns: Sequence[Sequence[str]], among: Sequence[int]) -> int | None:
    """The only column that may be tags. Of several with BIO tags the last; of nested entities the outermost."""
    if len(among) == 1:
        return among[0]
    types = {index: _entity_types(columns[index]) for index in among}
    if like_bio := [index for index in among if types[index]]:
        last = types[like_bio[-1]]
        return next(index for index in like_bio if types[index] & last)
    few = [index for index in among if _has_few_values(columns[index]) and set(columns[index]) - NO_TAG]
    few = [index for index in few if "O" in columns[index]] or few
    return few[0] if len(few) == 1 else None


def _is_token_index(column: Sequence[str]) -> bool:
    """Whether a column numbers the tokens of each sentence from 0 or 1."""
    if not all(value.isdecimal() and len(value) < 10 for value in column):
        return False
    numbers = [int(value) for value in column]
    return len(numbers) > 1 and all(
        number == before + 1 or number in (0, 1) for before, number in zip([-1, *numbers], numbers, strict=False)
    )


def _has_few_values(values: Sequence[str]) -> bool:
    return len(set(values)) <= len(values) / 2


def _entity_types(column: Sequence[str]) -> set[str]:
    """The types in BIO tags, without suffixes such as GermEval's `deriv`; none where other values are among them."""
    if not all(BIO_TAG.fullmatch(tag) or tag in NO_TAG for tag in column):
        return set()
    return {tag[2:5] for tag in column if tag[1:2] == "-"}
