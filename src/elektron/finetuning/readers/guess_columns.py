"""Find out which column of a table has which role; columns are guessed in this module only.

A role takes the first of these: the columns that options give, by name or by number from 1; a column with a name that
is known from training or usual for the role (`roles.py`); the only column whose values look like those of the role; the
only column, if only one role is needed. The columns found are logged in one line per file, and the error for a missing
one names the option that gives it. A dotted name, `data.text`, is a value inside an object.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import fmean
from typing import Any

from elektron.errors import MAX_LISTED, ElektronError, comma_list, did_you_mean
from elektron.finetuning.readers.records import Table
from elektron.finetuning.readers.roles import Request, Role, columns_named
from elektron.finetuning.readers.values import are_flags, literal

log = logging.getLogger(__name__)

LONGEST_LABEL = 40
BIO_TAG = re.compile(r"[OBIESMLUW_]|[BIESMLUW]-\S.*")
NO_TAG = {"", "_", "-", "*"}
"""Values that mean that a token has no tag."""
MAX_DEPTH = 8
"""Depth to which nested objects are searched for columns."""


def find_columns(table: Table, request: Request) -> dict[Role, list[str]]:
    """The columns of each role that a table has, logged in one line.

    Raises:
        ElektronError: a required column is missing or cannot be guessed.
    """
    sample = table.sample()
    nested = nested_names(sample)
    columns_of = {role: columns for role in request.roles if (columns := _given_columns(table, request, role, nested))}
    for (one, columns), (other, others) in combinations(columns_of.items(), 2):
        if shared := set(columns) & set(others):
            raise ElektronError(
                f"{table.name}: column {min(shared)!r} cannot be both the {one.name} and the {other.name}"
            )
    guessed = [role for role in request.roles if role.name not in request.given]
    # Optional roles come last, so that they do not take the column of a required one.
    for role in sorted(guessed, key=lambda role: role.needed in ("together", "never")):
        taken = {column for columns in columns_of.values() for column in columns}
        free = [column for column in table.columns if column not in taken]
        if columns := _guess(table, request, role, free, nested):
            columns_of[role] = columns
        elif request.needs(role):
            raise ElektronError(
                f"{table.name}: which column is the {role.name}? Give it with "
                f"{request.option(role.name)}, by name or by number from 1 (there are: "
                f"{_listed(table, nested)}){_one_hot_hint(request, role, free, sample)}"
            )
    parts = [
        f"{role.name} is {'column' if len(columns) == 1 else 'columns'} {', '.join(columns)}"
        f"{' (guessed)' if role in guessed else ''}"
        for role, columns in columns_of.items()
    ]
    used = {name for columns in columns_of.values() for name in columns}
    unused = [c for c in table.columns if c not in used and not any(name.startswith(f"{c}.") for name in used)]
    rest = f"; not used: {comma_list(unused)}" if unused else ""
    log.info("%s: %s; %s%s", table.name, table.kind, ", ".join(parts), rest)
    return columns_of


def _given_columns(table: Table, request: Request, role: Role, nested: Sequence[str]) -> list[str]:
    """The columns that an option gives for a role; none if they are missing and not needed."""
    given = request.given.get(role.name)
    if given is None:
        return []
    columns = _match(given, table.columns, nested, role.several or role.name == "choices")
    if not columns and (role.needed != "labelled" or request.labelled):
        hint = f"; for these files alone: {request.option(role.name)}NAME" if request.columns_option else ""
        raise ElektronError(
            f"{table.name}: no column {given!r} for --{role.name}"
            f"{did_you_mean(given, [*table.columns, *nested])} (there are: {_listed(table, nested)}){hint}"
        )
    return columns


def _match(given: str, columns: Sequence[str], nested: Sequence[str], several: bool) -> list[str]:
    """The columns with a name or number; `several` allows several, separated by commas.

    The last part of a dotted name is enough if no other dotted name ends with it.
    """
    if given in columns or given in nested:
        return [given]
    if several and "," in given:
        matches = [_match(part.strip(), columns, nested, several=False) for part in given.split(",")]
        return [column for match in matches for column in match] if all(matches) else []
    if given.isdecimal() and len(given) < 10 and 0 < int(given) <= len(columns):
        return [columns[int(given) - 1]]
    inside = [name for name in nested if name.endswith(f".{given}")]
    return inside if len(inside) == 1 else []


def _guess(table: Table, request: Request, role: Role, free: Sequence[str], nested: Sequence[str]) -> list[str]:
    """Guess the columns of a role among the free columns, or among the values inside objects."""
    for name in role.names:
        if columns := columns_named(name, free):
            return columns
        if "." in name and name in nested:
            return [name]
    if table.by_values.get(role.name) in free:
        return [table.by_values[role.name]]
    alone = len(table.columns) == 1 and role == request.only_role
    return list(free) if alone and not request.recognised(free) else []


def _listed(table: Table, nested: Sequence[str]) -> str:
    """The names of the columns for an error message, each followed by the dotted names inside it."""
    return comma_list(
        name
        for column in table.columns
        for name in [column, *(inner for inner in nested if inner.startswith(f"{column}."))]
    )


def _one_hot_hint(request: Request, role: Role, free: Sequence[str], sample: Sequence[dict[str, Any]]) -> str:
    """A hint for an error message: columns of zeros and ones that could be the labels."""
    flags = [c for c in free if sample and are_flags(row.get(c) for row in sample)]
    if not role.several or len(flags) < 2:
        return ""
    names = ",".join(flags[:MAX_LISTED]) + (",…" if len(flags) > MAX_LISTED else "")
    return f"; columns of zeros and ones are labels with {request.option(role.name)} {names}"


def nested_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Dotted names of the values inside objects, including objects that are written as text."""
    names: dict[str, None] = {}
    stack = [(name, value) for row in rows for name, value in row.items()]
    while stack:
        name, value = stack.pop()
        if isinstance(value, str):
            value = literal(value) if value[:1] == "{" else None
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict) and name.count(".") < MAX_DEPTH:
            inner = [(f"{name}.{key}", item) for key, item in value.items()]
            names.update(dict.fromkeys(key for key, _ in inner))
            stack += reversed(inner)
    return list(names)


def text_and_label(rows: Sequence[Sequence[str]], request: Request) -> dict[str, int]:
    """Indices of the text and label columns by role, if rows have two fields of which only one can be the label.

    Labels are short and repeat; texts are longer on average.
    """
    text = request.only_role
    has_label = any(role.name == "label" for role in request.roles)
    if text is None or not has_label or any(len(row) != 2 for row in rows):
        return {}
    columns = [[field.strip() for field in column] for column in zip(*rows, strict=True)]
    labels = [
        index
        for index, column in enumerate(columns)
        if has_few_values(column) and all(0 < len(value) <= LONGEST_LABEL for value in column)
    ]
    if len(labels) != 1:
        return {}
    (label,) = labels
    texts_are_longer = fmean(map(len, columns[1 - label])) > fmean(map(len, columns[label]))
    return {text.name: 1 - label, "label": label} if texts_are_longer else {}


def tokens_and_tags(columns: Sequence[Sequence[str]]) -> dict[str, int]:
    """Indices of the columns of tokens and tags by role, in files with one token per line."""
    width = len(columns)
    first = 0
    if _is_token_index(columns[0]) and (width > 2 or not _entity_types(columns[-1])):
        first = min(1, width - 1)
    constant = len(set(columns[first])) == 1 or all(value.isdecimal() for value in columns[first])
    if width > 2 and len(columns[first]) > 1 and constant:
        return {}  # such as the number of the document or the sentence
    tags = _tag_column(columns, range(first + 1, width))
    return {"tokens": first} | ({} if tags is None else {"tags": tags})


def _tag_column(columns: Sequence[Sequence[str]], among: Sequence[int]) -> int | None:
    """The only column that can be tags; of several with BIO tags the last, but of nested entities the outermost."""
    if len(among) == 1:
        return among[0]
    types = {index: _entity_types(columns[index]) for index in among}
    if bio_columns := [index for index in among if types[index]]:
        return next(index for index in bio_columns if types[index] & types[bio_columns[-1]])
    candidates = [index for index in among if has_few_values(columns[index]) and set(columns[index]) - NO_TAG]
    candidates = [index for index in candidates if "O" in columns[index]] or candidates
    return candidates[0] if len(candidates) == 1 else None


def _is_token_index(column: Sequence[str]) -> bool:
    """Whether a column numbers the tokens of each sentence from 0 or 1."""
    if len(column) < 2 or not all(value.isdecimal() and len(value) < 10 for value in column):
        return False
    numbers = [int(value) for value in column]
    return numbers[0] in (0, 1) and all(number in (before + 1, 0, 1) for before, number in pairwise(numbers))


def has_few_values(values: Sequence[str]) -> bool:
    """Whether the values of a column repeat: each occurs at least twice on average."""
    return len(set(values)) <= len(values) / 2


def _entity_types(column: Sequence[str]) -> set[str]:
    """The entity types in BIO tags, cut to 3 letters since GermEval adds `deriv`; empty if not all values are tags."""
    if not all(BIO_TAG.fullmatch(tag) or tag in NO_TAG for tag in column):
        return set()
    return {tag[2:5] for tag in column if tag[1:2] == "-"}
