"""Parse the answers to questions, in all forms that files have, and locate them in their passages.

The answers of a row are a text, a list of texts, a list of SQuAD's `{"text", "answer_start"}`, or one such
object with lists as values; they may be written as text, and their positions may be in another column. They
become a list of `{"text", "answer_start"}`, which is empty if there is no answer. If an answer is not where the
file says, the nearest occurrence is taken. An answer that is not in the passage is left out, together with its
question if that has no other answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Counts, UnusableRow
from elektron.finetuning.readers.values import is_empty, parsed


def located_answers(values: dict[str, Any], where: str, counts: Counts) -> list[dict[str, Any]]:
    """The answers of a labelled row, with their actual positions in its `context`.

    Raises:
        UnusableRow: none of the answers is in the context.
        ElektronError: the answers have an unknown form.
    """
    answers = list(_parse_answers(values["answers"], values.get("answer_start"), where))
    located = []
    for answer, given_start in answers:
        text, start = _locate(values["context"], answer, max(given_start or 0, 0))
        if start < 0:
            counts.add("answers are not in their context", f"{where}: {text!r:.60}")
            continue
        if given_start is not None and given_start >= 0 and start != given_start + answer.index(text):
            counts.add("answers are not where answer_start says", f"{where}: {text!r:.60}")
        located.append({"text": text, "answer_start": start})
    if answers and not located:
        raise UnusableRow("none of their answers is in the context")
    return located


def _parse_answers(value: Any, starts: Any, where: str) -> Iterator[tuple[str, int | None]]:
    """The answers that are not empty, each with its position if one is given; `starts` is a column of positions."""
    if all(isinstance(item, str | dict) for item in _as_list(parsed(value))):  # the text `[1]` is an answer, not a list
        value = parsed(value)
    if isinstance(value, dict):
        starts = value.get("answer_start", starts)
        value = value.get("text")
    for item, start in zip_longest(_as_list(value), _as_list(parsed(starts))):
        answer = item if isinstance(item, dict) else {"text": item}
        text = answer.get("text")
        if isinstance(text, dict | list):
            raise ElektronError(f"{where}: an answer must be text, got {text!r:.60}")
        if not is_empty(text):
            yield str(text), _parse_start(answer.get("answer_start", start), where)


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _parse_start(value: Any, where: str) -> int | None:
    """A character index, which may be written as text or as a float; None if there is none."""
    if is_empty(value):
        return None
    try:
        number = float(value)
        if number.is_integer():
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ElektronError(f"{where}: answer_start must be the number of a character, got {value!r:.60}")


def _locate(context: str, answer: str, near: int) -> tuple[str, int]:
    """The answer, if necessary without spaces around it, and where it begins nearest to `near`; -1 if nowhere."""
    for text in (answer, answer.strip()):
        starts = [context.rfind(text, 0, near + len(text)), context.find(text, near)]
        starts = [start for start in starts if start >= 0]
        if starts:
            return text, min(starts, key=lambda start: abs(start - near))
    return answer, -1
