"""Answers to questions, in all forms that files have, and where they are in their passages.

A row's answers are a text, a list of texts, a list of SQuAD's `{"text", "answer_start"}`, or one of these
with lists, also written as text; where they begin may be in another column. They become a list of
`{"text", "answer_start"}`, empty where there is no answer. An answer that is not where the file says
is searched nearest to it; one that is not in the passage is left out, in labelled data with its
question unless that has another.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Counts, LeftOut
from elektron.finetuning.readers.values import is_empty, parsed

Answer = dict[str, Any]
"""`text` and `answer_start`, which is None where it is not known."""


def located_answers(values: dict[str, Any], where: str, counts: Counts) -> list[Answer]:
    """The answers of a labelled row, where they really are in its `context`.

    Raises:
        LeftOut: none of them is there.
        ElektronError: they are not in a form that is known.
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
        raise LeftOut("none of their answers is in the context")
    return found


def _answers(value: Any, starts: Any, where: str) -> list[Answer]:
    """Answers in one form, without empty ones; `starts` is where they begin, if another column says so."""
    written = parsed(value)
    items = written if isinstance(written, list) else [written]
    if all(isinstance(item, str | dict) for item in items):  # `[1]` in a text is no list of answers
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
    """The index of a character, also as text or as a float; None where there is none."""
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
    """The text and where it begins, nearest to where it was stated to; None if nowhere."""
    near = max(stated or 0, 0)
    for form in (text, text.strip()):
        places = (context.rfind(form, 0, near + len(form)), context.find(form, near))
        found = [place for place in places if place >= 0]
        if found:
            return form, min(found, key=lambda place: abs(place - near))
    return text, None
