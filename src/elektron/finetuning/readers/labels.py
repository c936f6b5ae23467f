"""The label column: one class a row, or several in any of the forms that files have.

One class is a text or a number. Several are a list, also as JSON, Python's repr or numpy's in a text
field; zeros and ones, one for each class (multi-hot); a column of zeros and ones for each class (one-hot);
an object with a zero or a one for each class; or a text with separators. The first rows decide which of
these it is, and a later row that does not fit is refused.
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
"""What programs write for a missing value."""
UNLABELLED = frozenset({"-", "-1"})
"""What data sets write for rows without a label, where it is no class."""
BOOLEANS = {"true": "True", "false": "False"}
FLAGS = {"0": False, "1": True, "False": False, "True": True}
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
BETWEEN_NUMBERS = re.compile(r"(?<=[\d.])\s+(?=[-\d.])")


class LabelColumn:
    """The labels of one column, or of several columns with a zero or a one for each class."""

    def __init__(self, file: str, columns: Sequence[str], sample: Sequence[Any], separator: str | None):
        """Find out how labels are written; `sample` has the first fields, lists of fields of several columns."""
        self.columns = columns
        self.separator = separator
        self.width = 0
        """Length of multi-hot lists; 0 if lists have names."""
        parsed = [_parsed(field) for field in sample]
        lists = [value for value in parsed if isinstance(value, list)]
        if len(columns) > 1:
            form = f"zeros and ones in the columns {', '.join(columns)}"
        elif lists and len(lists) == len(parsed) and _are_multi_hot(lists):
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
            ElektronError: it does not fit the other rows, or is no label.
        """
        if len(self.columns) > 1:
            return _flagged(self.columns, value, where)
        value = _parsed(value)
        if isinstance(value, dict) and value and are_flags(value.values()):
            return _flagged(list(value), list(value.values()), where)
        if isinstance(value, list) and self.width:
            if len(value) != self.width:
                raise ElektronError(
                    f"{where}: the label has {len(value)} entries, and in the first rows {self.width} zeros and ones"
                )
            return _flagged(list(map(str, range(self.width))), value, where)
        if self.separator and isinstance(value, str):
            value = [part for part in map(str.strip, value.split(self.separator)) if part]
        if isinstance(value, list):
            return [self._class(item, where) for item in value]
        return self._class(value, where)

    def _class(self, value: Any, where: str) -> Any:
        if isinstance(value, list | dict) or value is None:
            parts = f" (there are: {', '.join(value):.200})" if isinstance(value, dict) else ""
            raise ElektronError(
                f"{where}: {value!r:.60} is no label; of an object, --label {self.columns[0]}.NAME takes a part{parts}"
            )
        return class_name(value) if isinstance(value, str) else value


def class_name(text: str) -> str:
    """A label in one form: `1.0` is `1`, and `TRUE` is `True`, as different programs write them."""
    text = text.strip()
    whole = WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else BOOLEANS.get(text.casefold(), text)


def is_missing(value: Any) -> bool:
    """Whether a label is what programs write for a missing value."""
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


def are_flags(values: Iterable[Any]) -> bool:
    """Whether all values are zeros and ones, or False and True."""
    return all(class_name(str(value)) in FLAGS for value in values)


def _flagged(names: Sequence[str], flags: Sequence[Any], where: str) -> list[str]:
    """The names whose flag is 1."""
    for name, flag in zip(names, flags, strict=True):
        if not are_flags([flag]):
            raise ElektronError(f"{where}: {flag!r:.40} for the label {name!r} is neither 0 nor 1")
    return [name for name, flag in zip(names, flags, strict=True) if FLAGS[class_name(str(flag))]]


def _parsed(value: Any) -> Any:
    """The list or object that a text is written as, else the value itself."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "(", "{"):
        return value
    text = value.strip()
    candidates = [text, BETWEEN_NUMBERS.sub(", ", text)]  # numpy's numbers have no commas
    if text[0] == "{" and text[-1] == "}":
        candidates.append(f"[{text[1:-1]}]")  # a set
    return next((found for each in candidates if (found := literal(each)) is not None), value)


def _are_multi_hot(lists: Sequence[list[Any]]) -> bool:
    width = len(lists[0])
    return width > 1 and all(
        len(flags) == width and not any(isinstance(flag, str) for flag in flags) and are_flags(flags) for flags in lists
    )
