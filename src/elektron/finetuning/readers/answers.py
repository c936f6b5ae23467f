"""Parse the answers to questions, in all forms that files have, and locate them in their passages.

The answers of a row are a text, a list of texts, a list of SQuAD's `{"text", "answer_start"}`, or one such
object with lists as values; they may be written as text, and their positions may be in another column. They
become a list of `{"text", "answer_start"}`, which is empty if there is no answer. If an answer is not where the
file says, the nearest occurrence is taken. An answer that is not in the passage is left out, together with its
question if that has no other answer.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Counts, UnusableRow
from elektron.finetuning.readers.values import is_empty, parsed

Answer = dict[str, Any]
"""`text` and `answer_start`, which is None if it is not known."""


def located_answers(values: dict[str, Any], where: str, counts: Counts) -> list[Answer]:
    """The answers of a labelled row, with their actual positions in its `context`.

    Raises:
        UnusableRow: none of the answers is in the context.
        ElektronError: the answers have an unknown form.
    """
    answers = _answers(values["answers"], values.get("answer_start"), where)
    found = []
    for answer in answers:
        stated = answer["answer_start"]
        text, start = _place(values["context"], answer["text"], stated)
        if start is None:
            counts.add("answers are not in their context", f"{where}: {text!r:.60}")
            continue
        leading = len(answer["text"]) - len(answer["text"].lstrip()) if text != answer["text"] else 0
        if stated is not None and stated >= 0 and start != stated + leading:
            counts.add("answers are not where answer_start says", f"{where}: {text!r:.60}")
        found.append({"text": text, "answer_start": start})
    if answers and not found:
        raise UnusableRow("none of their answers is in the context")
    return found


def _answers(value: Any, starts: Any, where: str) -> list[Answer]:
    """Convert answers to one form and drop empty ones; `starts` has the values of a separate column of positions."""
    written = parsed(value)
    items = written if isinstance(written, list) else [written]
    if all(isinstance(item, str | dict) for item in items):  # a text such as `[1]` is an answer and not a list of them
        value = written
    if isinstance(value, dict):
        starts = value.get("answer_start", starts)
        value = value.get("text")
    answers = []
    for item, start in zip_longest(_as_list(value), _as_list(parsed(starts))):
        answer = item if isinstance(item, dict) else {"text": item}
        text = answer.get("text")
        if isinstance(text, dict | list):
            raise ElektronError(f"{where}: an answer must be text, got {text!r:.60}")
        if not is_empty(text):
            stated = _number(answer.get("answer_start", start), where)
            answers.append({"text": str(text), "answer_start": stated})
    return answers


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _number(value: Any, where: str) -> int | None:
    """A character index, which may be written as text or as a float; None if there is none."""
    if is_empty(value):
        return None
    try:
        number = float(value)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ElektronError(f"{where}: answer_start must be the number of a character, got {value!r:.60}")


def _place(context: str, text: str, stated: int | None) -> tuple[str, int | None]:
    """The text, if necessary without spaces around it, and where it begins nearest to `stated`; None if nowhere."""
    near = max(stated or 0, 0)
    for form in (text, text.strip()):
        places = (context.rfind(form, 0, near + len(form)), context.find(form, near))
        found = [place for place in places if place >= 0]
        if found:
            return form, min(found, key=lambda place: abs(place - near))
    return text, None
