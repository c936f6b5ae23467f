"""The classes of a row, whichever way a table writes them.

One class is a text or a number. Several are a list, also as JSON, Python's repr or numpy's in a field
of text; zeros and ones, one for each class (multi-hot); a column of zeros and ones for each class
(one-hot); or an object with a zero or a one for each class. Which of these it is follows from the
first rows of the column, and a later row that does not fit is refused.

`1.0` is the class `1`, and `TRUE` and `true` are `True`, since different programs write the same value
in different ways.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from elektron.errors import ElektronError
from elektron.finetuning.readers.literals import literal

log = logging.getLogger(__name__)

MISSING = frozenset({"nan", "<na>", "#n/a", "null"})
"""What programs write where there is no value."""
UNLABELLED = frozenset({"-", "-1"})
"""What data sets write for rows without a label, where it is no class."""
BOOLEANS = {"true": "True", "false": "False"}
FLAGS = {"0": False, "1": True, "False": False, "True": True}
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
BETWEEN_NUMBERS = re.compile(r"(?<=[\d.])\s+(?=[-\d.])")


class LabelColumn:
    """The labels of one column, or of several columns with a zero or a one for each class."""

    def __init__(
        self, name: str, columns: Sequence[str], fields: Sequence[Any], separator: str | None
    ):
        """Find out how labels are written.

        Args:
            name: of the file, for messages.
            columns: the column, or one for each class.
            fields: values of the first rows; lists of as many values as there are columns if several.
            separator: what stands between labels of a text.
        """
        self.columns = columns
        self.separator = separator
        self.width = 0
        """Of multi-hot lists; 0 if lists are of names."""
        written = [_parsed(field) for field in fields]
        lists = [value for value in written if isinstance(value, list)]
        if len(columns) > 1:
            log.info(
                "%s: %s are zeros and ones: labels, any number a row", name, ", ".join(columns)
            )
        elif lists and len(lists) == len(written) and _are_multi_hot(lists):
            self.width = len(lists[0])
            log.info(
                "%s: labels are lists of %d zeros and ones: each 1 is the label of its place, from 0",
                name,
                self.width,
            )
        elif any(isinstance(field, str) for field in fields) and lists:
            log.info("%s: labels are written as lists, any number a row: %s", name, lists[0])

    def read(self, value: Any, where: str) -> Any:
        """The label of a row, or the list of its labels.

        Raises:
            ElektronError: it does not fit the other rows, or is none.
        """
        if len(self.columns) > 1:
            return self._flagged(self.columns, value, where)
        value = _parsed(value)
        if isinstance(value, dict):
            if value and are_flags(value.values()):
                return self._flagged(list(value), list(value.values()), where)
            keys = ", ".join(f"{self.columns[0]}.{key}" for key in value)
            raise ElektronError(
                f"{where}: the label is an object: give the part of it that is the label with --label "
                f"(there are: {keys:.200})"
            )
        if isinstance(value, list):
            if self.width:
                if len(value) != self.width:
                    raise ElektronError(
                        f"{where}: the label has {len(value)} entries, and in the first rows "
                        f"{self.width} zeros and ones"
                    )
                return self._flagged([str(place) for place in range(self.width)], value, where)
            return [self._name(item, where) for item in value]
        if self.separator and isinstance(value, str):
            parts = [part.strip() for part in value.split(self.separator)]
            return [self._name(part, where) for part in parts if part]
        return self._name(value, where)

    def _flagged(self, names: Sequence[str], flags: Sequence[Any], where: str) -> list[str]:
        """The names whose flag is 1."""
        for name, flag in zip(names, flags, strict=True):
            if _flag(flag) is None:
                raise ElektronError(
                    f"{where}: {flag!r:.40} for the label {name!r} is neither 0 nor 1"
                )
        return [name for name, flag in zip(names, flags, strict=True) if _flag(flag)]

    def _name(self, value: Any, where: str) -> Any:
        if isinstance(value, list | dict) or value is None:
            raise ElektronError(
                f"{where}: {value!r:.60} among the labels is no label; of objects, --label "
                f"{self.columns[0]}.NAME takes one part"
            )
        return class_name(value) if isinstance(value, str) else value


def class_name(text: str) -> str:
    """A label in the one way of writing it: `1.0` is `1`, and `TRUE` is `True`."""
    text = text.strip()
    whole = WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else BOOLEANS.get(text.casefold(), text)


def is_missing(value: Any) -> bool:
    """Whether a field of labels is what programs write where there is no value."""
    return isinstance(value, str) and value.strip().casefold() in MISSING


def true_classes(names: Collection[str]) -> set[str]:
    """Of all names in a label column, those that are classes and do not mark rows without a label.

    `-` marks these, as in SNLI, unless `+` is a class; and `-1` beside 0, 1, 2 and so on, as in data sets
    of the hub. Beside 0 and 1 alone `-1` may be a class, and is one.
    """
    classes = set(names) - UNLABELLED
    if "-" in names and "+" in names:
        classes.add("-")
    if "-1" in names and (len(classes) < 3 or classes != set(map(str, range(len(classes))))):
        classes.add("-1")
    return classes


def _parsed(value: Any) -> Any:
    """The list or object that a text is written as, else the value itself."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "(", "{"):
        return value
    text = value.strip()
    found = literal(text)
    if found is None:
        found = literal(BETWEEN_NUMBERS.sub(", ", text))  # numpy's numbers
    if found is None and text[0] == "{" and text[-1] == "}":
        found = literal(f"[{text[1:-1]}]")  # a set
    return value if found is None else found


def _are_multi_hot(lists: Sequence[list[Any]]) -> bool:
    width = len(lists[0])
    return width > 1 and all(
        len(flags) == width
        and not any(isinstance(flag, str) for flag in flags)
        and are_flags(flags)
        for flags in lists
    )


def _flag(value: Any) -> bool | None:
    """Whether a zero or one, or False or True, is the latter; None if it is neither."""
    return FLAGS.get(class_name(str(value)))


def are_flags(values: Iterable[Any]) -> bool:
    """Whether all values are zeros and ones."""
    return all(_flag(value) is not None for value in values)
