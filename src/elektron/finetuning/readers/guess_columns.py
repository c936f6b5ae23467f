"""Which column of a table has which role: the one place where a label column or any other is guessed.

In this order: the columns that options give, by name or by number from 1; names that are known from
training or usual for the role (`roles.py`); columns whose values look like the role's
(`guess_by_values.py`); a single column for a single role. The columns found are logged in one line a file,
and the error for a missing one names the option that gives it. A dotted name, `data.text`, is a value inside an object.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from elektron.errors import MAX_LISTED, ElektronError, comma_list, did_you_mean
from elektron.finetuning.readers.labels import are_flags
from elektron.finetuning.readers.literals import literal, parsed
from elektron.finetuning.readers.records import Table
from elektron.finetuning.readers.request import Request, columns_named
from elektron.finetuning.readers.roles import Role

log = logging.getLogger(__name__)

ABSENT = object()
"""The value of a column that a row does not have."""
MAX_DEPTH = 8
"""How deep nested objects are searched for columns."""


def find_columns(table: Table, request: Request) -> dict[Role, list[str]]:
    """The columns of each role that a table has, logged in one line.

    Raises:
        ElektronError: a required column is missing or cannot be guessed.
    """
    sample = table.sample()
    nested = nested_names(sample)
    found: dict[Role, list[str]] = {}
    for role in request.roles:
        columns = _given_columns(table, request, role, nested)
        if columns:
            found[role] = columns
    guessed = [role for role in request.roles if role.name not in request.given]
    # Optional roles come last, so that they do not take the column of a required one.
    for role in sorted(guessed, key=lambda role: role.needed in ("together", "never")):
        taken = {column for columns in found.values() for column in columns}
        free = [column for column in table.columns if column not in taken]
        if columns := _guess(table, request, role, free, nested):
            found[role] = columns
        elif request.needs(role):
            raise ElektronError(
                f"{table.name}: which column is the {role.name}? Give it with "
                f"{request.option(role.name)}, by name or by number from 1 (there are: "
                f"{_listed(table, nested)}){_one_hot_hint(request, role, free, sample)}"
            )
    parts = [
        f"{role.name} is {'column' if len(columns) == 1 else 'columns'} {', '.join(columns)}"
        f"{' (guessed)' if role in guessed else ''}"
        for role, columns in found.items()
    ]
    used = [column for columns in found.values() for column in columns]
    unused = [
        column
        for column in table.columns
        if column not in used and not any(name.startswith(f"{column}.") for name in used)
    ]
    rest = f"; not used: {comma_list(unused)}" if unused else ""
    log.info("%s: %s; %s%s", table.name, table.kind, ", ".join(parts), rest)
    return found


def _given_columns(table: Table, request: Request, role: Role, nested: Sequence[str]) -> list[str]:
    """The columns that an option gives for a role; none if they are missing and not needed."""
    given = request.given.get(role.name)
    if given is None:
        return []
    columns = _match(given, table.columns, nested, role.several or role.name == "choices")
    if not columns and (role.needed != "labelled" or request.labelled):
        own = f"; for these files alone: {request.option(role.name)}NAME"
        raise ElektronError(
            f"{table.name}: no column {given!r} for --{role.name}"
            f"{did_you_mean(given, [*table.columns, *nested])} (there are: "
            f"{_listed(table, nested)}){own if request.own_option else ''}"
        )
    return columns


def _match(given: str, columns: Sequence[str], nested: Sequence[str], several: bool) -> list[str]:
    """The columns of a name or number; `several` allows commas between them.

    Of a name inside an object the last part is enough where no other has the same.
    """
    if given in columns or given in nested:
        return [given]
    if several and "," in given:
        found = [_match(part.strip(), columns, nested, several=False) for part in given.split(",")]
        return [column for each in found for column in each] if all(found) else []
    if given.isdecimal() and len(given) < 10 and 0 < int(given) <= len(columns):
        return [columns[int(given) - 1]]
    inside = [name for name in nested if name.endswith(f".{given}")]
    return inside if len(inside) == 1 else []


def _guess(table: Table, request: Request, role: Role, free: Sequence[str], nested: Sequence[str]) -> list[str]:
    """The columns of a role among those that are free, or inside their objects."""
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
    """A hint at columns of zeros and ones where a row may have several labels."""
    flags = [c for c in free if sample and are_flags(row.get(c) for row in sample)]
    if not role.several or len(flags) < 2:
        return ""
    names = ",".join(flags[:MAX_LISTED]) + (",…" if len(flags) > MAX_LISTED else "")
    return f"; columns of zeros and ones are labels with {request.option(role.name)} {names}"


def nested_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Dotted names of the values in objects, also in objects that are written as text."""
    found: dict[str, None] = {}
    waiting = [(name, value) for row in rows for name, value in row.items()]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            value = literal(value) if value[:1] == "{" else None
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict) and name.count(".") < MAX_DEPTH:
            inner = [(f"{name}.{key}", part) for key, part in value.items()]
            found.update(dict.fromkeys(key for key, _ in inner))
            waiting += reversed(inner)
    return list(found)


def value_of(row: dict[str, Any], column: str) -> Any:
    """The value of a column, or inside an object of a dotted name; ABSENT if there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        value = _inside(value, part)
    return value


def _inside(value: Any, part: str) -> Any:
    """A part of an object, or of each object in a list."""
    value = parsed(value)
    if isinstance(value, list):
        return [inner for item in value if (inner := _inside(item, part)) is not ABSENT]
    return value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
