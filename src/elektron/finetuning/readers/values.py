"""What the value of a column is for its role: one parser for each role, and what an empty value is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.readers.guess_columns import ABSENT, value_of
from elektron.finetuning.readers.labels import LabelColumn
from elektron.finetuning.readers.literals import literal, parsed
from elektron.finetuning.readers.records import Table
from elektron.finetuning.readers.request import Request
from elektron.finetuning.readers.roles import Role
from elektron.io.text import guess_encoding

Parser = Callable[[Any, str], Any]
"""From a field and where it is, for messages, to a value."""
TEXTS = ("text", "pair", "question", "context", "source", "good", "bad")
"""Roles that are one text."""
REPLACEMENT = "\ufffd"
"""In place of bytes that could not be decoded."""


def parser_of(role: Role, columns: Sequence[str], table: Table, request: Request) -> Parser:
    """The parser of the values of a role, which the columns of a table have.

    Raises:
        ElektronError: the first fields are lists or objects where text belongs.
    """
    rows = [[value_of(row, column) for column in columns] for row in table.sample()]
    fields = [row[0] if len(row) == 1 else row for row in rows]
    filled = [field for field in fields if field is not ABSENT and not is_empty(field)]
    if role.name in TEXTS:
        parse = partial(_text, role.name, columns[0], request.option(role.name))
        written = [literal(field) if isinstance(field, str) else None for field in filled]
        if written and all(map(_has_texts, written)):
            parse(written[0], f"{table.name}, column {columns[0]}")
        return parse
    if role.name == "label":
        several = None
        if role.several:
            several = LabelColumn(table.name, columns, filled, request.label_separator)
        return partial(_label, several, table.name)
    return PARSERS.get(role.name, lambda value, where: value)


def is_empty(value: Any) -> bool:
    """Whether there is no value: nothing, blank text, or no number."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and value != value)


def _text(role: str, column: str, option: str, value: Any, where: str) -> str:
    if isinstance(value, list):
        raise ElektronError(
            f"{where}: the {role} must be a text, got the list {value!r:.60}: "
            f"join its parts, or give another column with {option}"
        )
    if isinstance(value, dict):
        inside = comma_list(f"{column}.{key}" for key in value)
        raise ElektronError(f"{where}: the {role} must be a text, got an object: give {option} with one of {inside}")
    return str(value)


def _has_texts(value: Any) -> bool:
    """Whether it is an object, or a list of more than numbers."""
    if isinstance(value, list):
        return any(isinstance(item, str | list | dict) for item in value)
    return bool(value)


def _label(several: LabelColumn | None, file: str, value: Any, where: str) -> Any:
    if REPLACEMENT in str(value):
        guess = guess_encoding(file)
        cure = f"give --encoding, perhaps {guess}" if guess else "mend the file"
        raise ElektronError(f"{where}: the label {value!r:.60} has undecodable characters: {cure}")
    if several is not None:
        return several(value, where)
    return value.strip() if isinstance(value, str) else value


def _choices(value: Any, where: str) -> Any:
    """A list of texts; `{"text": […], "label": […]}` with keys, as ARC has it; also written as text."""
    value = parsed(value)
    keys = None
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value, keys = value["text"], value.get("label")
    if not isinstance(value, list):
        return value
    texts = ["" if is_empty(choice) else str(choice) for choice in value]
    if isinstance(keys, list) and len(keys) == len(texts):
        return {"text": texts, "label": [str(key) for key in keys]}
    return texts


def _targets(value: Any, where: str) -> Any:
    """A text, or a list of texts any of which is right; also a list written as text."""
    found = parsed(value)
    if isinstance(found, list) and all(isinstance(text, str) for text in found):
        value = found
    return [text for text in value if not is_empty(text)] if isinstance(value, list) else value


def _tokens(value: Any, where: str) -> Any:
    """A list of tokens, also written as text, or a running text."""
    if isinstance(value, str):
        found = literal(value)
        tokens = isinstance(found, list) and found and all(isinstance(t, str) for t in found)
        return found if tokens else value
    if isinstance(value, dict):
        raise ElektronError(f"{where}: the tokens must be a list, got {value!r:.60}")
    if not isinstance(value, list):
        return str(value)
    for token in value:
        if isinstance(token, list | dict):
            raise ElektronError(
                f"{where}: a token must be text, got {token!r:.60}: where the tags are of "
                "characters, give the column of the text with --tokens"
            )
    return [str(token) for token in value]


def _tags(value: Any, where: str) -> Any:
    """Tags as a list or in a text, or entities by their characters; also written as text."""
    return parsed(value)


PARSERS: dict[str, Parser] = {
    "choices": _choices,
    "target": _targets,
    "tokens": _tokens,
    "tags": _tags,
}
"""By role; text roles and labels look at the first rows, see `parser_of`, other values are as they are."""
