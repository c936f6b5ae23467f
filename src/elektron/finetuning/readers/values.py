"""Parse the fields of a row into the value of a role: text, lists that are written as text, and all forms of labels.

A single label is a text or a number. Several labels are a list, which may be written as text (JSON, or the repr
of Python or numpy); a list of zeros and ones, one for each class (multi-hot); a column of zeros and ones for each
class (one-hot); an object with a zero or a one for each class; or a text with separators. The first rows decide
which of these forms is used, and a later row that does not fit is refused.
"""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.readers.records import Table
from elektron.finetuning.readers.roles import Request, Role
from elektron.io.text import guess_encoding

log = logging.getLogger(__name__)

Parser = Callable[[Any, str], Any]
"""Converts a field to a value; the second argument is the location of the field, for messages."""
ABSENT = object()
"""The value of a column that a row does not have."""
TEXTS = ("text", "pair", "question", "context", "source", "good", "bad")
"""Roles that are one text."""
REPLACEMENT = "\ufffd"
"""The character that replaces bytes that cannot be decoded."""
STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
STRINGS = re.compile(rf"({STRING})(\s+(?=['\"]))?|['\"].*", re.DOTALL)
"""A string and the white space before a following one, where numpy writes no comma; or a string without an end."""
MISSING = frozenset({"nan", "<na>", "#n/a", "null"})
"""What programs write for a missing value."""
UNLABELLED = frozenset({"-", "-1"})
"""What data sets write for rows without a label, see `true_classes`."""
BOOLEANS = {"true": "True", "false": "False"}
FLAGS = {"0": False, "1": True, "False": False, "True": True}
INTEGER = re.compile(r"([+-]?\d+)\.0+")
BETWEEN_NUMBERS = re.compile(r"(?<=[\d.])\s+(?=[-\d.])")


def parser_of(role: Role, columns: Sequence[str], table: Table, request: Request) -> Parser:
    """The parser for the values of a role, which are in these columns of a table.

    Raises:
        ElektronError: the first fields are lists or objects, but the role is a text.
    """
    rows = [[value_of(row, column) for column in columns] for row in table.sample()]
    fields = [row[0] if len(row) == 1 else row for row in rows]
    filled = [field for field in fields if field is not ABSENT and not is_empty(field)]
    if role.name in TEXTS:
        parse = partial(_text, role.name, columns[0], request.option(role.name))
        literals = [literal(field) if isinstance(field, str) else None for field in filled]
        if literals and all(map(_has_texts, literals)):
            parse(literals[0], f"{table.name}, column {columns[0]}")
        return parse
    if role.name == "label":
        several = LabelColumn(table.name, columns, filled, request.label_separator) if role.several else None
        return partial(_label, several, table.name)
    if role.name == "tags":  # a list, a text, or character spans of entities
        return lambda value, where: parsed(value)
    parsers: dict[str, Parser] = {"choices": _choices, "target": _targets, "tokens": _tokens}
    return parsers.get(role.name, lambda value, where: value)


def value_of(row: dict[str, Any], column: str) -> Any:
    """The value of a column, or of a dotted name inside an object; ABSENT if there is none."""
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


def is_empty(value: Any) -> bool:
    """Whether a field has no value: it is None, blank text or NaN."""
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
    """Whether a value is an object that is not empty, or a list that does not contain only numbers."""
    if isinstance(value, list):
        return any(isinstance(item, str | list | dict) for item in value)
    return bool(value)


def _choices(value: Any, where: str) -> Any:
    """A list of texts, or `{"text": […], "label": […]}` with keys, as in ARC; either may be written as text."""
    value, keys = parsed(value), None
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value, keys = value["text"], value.get("label")
    if not isinstance(value, list):
        return value
    texts = ["" if is_empty(choice) else str(choice) for choice in value]
    if isinstance(keys, list) and len(keys) == len(texts):
        return {"text": texts, "label": [str(key) for key in keys]}
    return texts


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _targets(value: Any, where: str) -> Any:
    """A text, or a list of correct texts, which may be written as text."""
    if _is_list_of_texts(texts := parsed(value)):
        value = texts
    return [text for text in value if not is_empty(text)] if isinstance(value, list) else value


def _tokens(value: Any, where: str) -> Any:
    """A list of tokens, which may be written as text, or a text that is not tokenized."""
    if isinstance(value, str):
        return tokens if _is_list_of_texts(tokens := literal(value)) else value
    if isinstance(value, dict):
        raise ElektronError(f"{where}: the tokens must be a list, got {value!r:.60}")
    if not isinstance(value, list):
        return str(value)
    for token in value:
        if isinstance(token, list | dict):
            raise ElektronError(
                f"{where}: a token must be text, got {token!r:.60}: if the tags are character "
                "spans, give the column of the text with --tokens"
            )
    return [str(token) for token in value]


def _label(several: LabelColumn | None, file: str, value: Any, where: str) -> Any:
    if REPLACEMENT in str(value):
        guess = guess_encoding(file)
        cure = f"give --encoding, perhaps {guess}" if guess else "correct the file"
        raise ElektronError(f"{where}: the label {value!r:.60} has undecodable characters: {cure}")
    if several is not None:
        return several(value, where)
    return value.strip() if isinstance(value, str) else value


class LabelColumn:
    """The labels of one column, or of several columns with a zero or a one for each class."""

    def __init__(self, file: str, columns: Sequence[str], sample: Sequence[Any], separator: str | None):
        """Detect how labels are written. `sample` has the first fields; with several columns, lists of fields."""
        self.columns = columns
        self.separator = separator
        self.width = 0
        """Length of multi-hot lists; 0 if labels have another form."""
        fields = [_parsed_label(field) for field in sample]
        lists = [value for value in fields if isinstance(value, list)]
        if len(columns) > 1:
            form = f"zeros and ones in the columns {', '.join(columns)}"
        elif lists and len(lists) == len(fields) and _are_multi_hot(lists):
            self.width = len(lists[0])
            form = f"lists of {self.width} zeros and ones: each 1 is the label of its index, from 0"
        elif lists and any(isinstance(field, str) for field in sample):
            form = f"written as lists: {lists[0]}"
        else:
            return
        log.info("%s: labels are %s", file, form)

    def __call__(self, value: Any, where: str) -> Any:
        """The label of a row, or the list of its labels.

        Raises:
            ElektronError: the value does not have the form of the other rows, or is no label.
        """
        if len(self.columns) > 1:
            return _labels_of_flags(self.columns, value, where)
        value = _parsed_label(value)
        if isinstance(value, dict) and value and are_flags(value.values()):
            return _labels_of_flags(list(value), list(value.values()), where)
        if isinstance(value, list) and self.width:
            if len(value) != self.width:
                raise ElektronError(
                    f"{where}: the label has {len(value)} entries, but the first rows have {self.width} zeros and ones"
                )
            return _labels_of_flags(list(map(str, range(self.width))), value, where)
        if self.separator and isinstance(value, str):
            value = [part for part in map(str.strip, value.split(self.separator)) if part]
        if isinstance(value, list):
            return [self._class(item, where) for item in value]
        return self._class(value, where)

    def _class(self, value: Any, where: str) -> Any:
        if isinstance(value, list | dict) or value is None:
            parts = f" (there are: {', '.join(value):.200})" if isinstance(value, dict) else ""
            raise ElektronError(
                f"{where}: {value!r:.60} is not a label; --label {self.columns[0]}.NAME reads a value inside the "
                f"object{parts}"
            )
        return class_name(value) if isinstance(value, str) else value


def _are_multi_hot(lists: Sequence[list[Any]]) -> bool:
    width = len(lists[0])
    return width > 1 and all(
        len(flags) == width and not any(isinstance(flag, str) for flag in flags) and are_flags(flags) for flags in lists
    )


def _labels_of_flags(names: Sequence[str], flags: Sequence[Any], where: str) -> list[str]:
    """The names whose flag is 1."""
    for name, flag in zip(names, flags, strict=True):
        if not are_flags([flag]):
            raise ElektronError(f"{where}: {flag!r:.40} for the label {name!r} is neither 0 nor 1")
    return [name for name, flag in zip(names, flags, strict=True) if FLAGS[class_name(str(flag))]]


def are_flags(values: Iterable[Any]) -> bool:
    """Whether all values are zeros and ones, or False and True."""
    return all(class_name(str(value)) in FLAGS for value in values)


def class_name(text: str) -> str:
    """A label in its normal form: `1.0` becomes `1`, and `TRUE` becomes `True`."""
    text = text.strip()
    integer = INTEGER.fullmatch(text)
    return integer[1] if integer else BOOLEANS.get(text.casefold(), text)


def is_missing(value: Any) -> bool:
    """Whether a label is what programs write for a missing value."""
    return isinstance(value, str) and value.strip().casefold() in MISSING


def true_classes(names: Collection[str]) -> set[str]:
    """The names in a label column that are classes; the others mark rows without a label.

    `-` marks such rows, as in SNLI, unless `+` is a class. `-1` marks them if the classes are 0, 1, 2 and so on, as in
    data sets of the hub; with only 0 and 1, `-1` is a class.
    """
    classes = set(names) - UNLABELLED
    if "-" in names and "+" in names:
        classes.add("-")
    if "-1" in names and (len(classes) < 3 or classes != set(map(str, range(len(classes))))):
        classes.add("-1")
    return classes


def parsed(value: Any) -> Any:
    """The list or object that a value represents as text, else the value itself."""
    inner = literal(value) if isinstance(value, str) else None
    return value if inner is None else inner


def _parsed_label(value: Any) -> Any:
    """Like `parsed`, but labels may also be written as a set, or as numpy's list of numbers, which has no commas."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "(", "{"):
        return value
    text = value.strip()
    candidates = [text, BETWEEN_NUMBERS.sub(", ", text)]
    if text[0] == "{" and text[-1] == "}":
        candidates.append(f"[{text[1:-1]}]")
    return next((labels for candidate in candidates if (labels := literal(candidate)) is not None), value)


def literal(text: str) -> Any:
    """The list or object that a text represents, as JSON or as the repr of Python or numpy; else None."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}", "()"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    separated = STRINGS.sub(lambda match: f"{match[1]}," if match[2] else match[0], text)
    try:
        value = _constant(ast.parse(separated, mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list | dict) else None


def _constant(node: ast.expr) -> Any:
    """The value of an expression without names or operators; `array(…)` is its list."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_constant(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            # `**other` has no key.
            names = [str(_constant(key)) for key in keys if key is not None]
            return dict(zip(names, map(_constant, values), strict=True))
        case ast.Call(func=ast.Name(id="array"), args=[items]):
            return _constant(items)
    raise ValueError("no list or object of constants")
