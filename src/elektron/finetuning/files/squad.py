"""Questions with a passage and the answers in it.

SQuAD's own JSON, 1.1 and 2.0, is read whole; otherwise rows of a table, whose answers are a text,
a list of texts, or `{"text": […], "answer_start": […]}`. All come out alike: `answers` is a list
of `{"text", "answer_start"}`, empty where there is no answer. An answer that is not where the file
says is looked for nearest to it; one that the passage does not have is left out, in labelled data
with its question unless that has another, and at the end it is said how many there were.

A row of a table is handed on with all of its columns, a question of the nested JSON with its id and title.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.files.columns import Columns, Request, Table, is_empty, json_list
from elektron.finetuning.files.delimited import delimited_table
from elektron.finetuning.files.lines import Lines
from elektron.finetuning.files.records import Record, same_names
from elektron.finetuning.files.tables import open_source
from elektron.reading import listed

log = logging.getLogger(__name__)

ID, QUESTION, CONTEXT, ANSWERS = "id", "question", "context", "answers"

Answer = dict[str, Any]
"""`text` and `answer_start`, which may be None until it is looked up."""


@dataclass(slots=True)
class _Question:
    where: str
    values: dict[str, Any]
    """`answers` as it lies: what is no list of answers becomes one in `_answers`."""
    names: dict[str, str]
    """The column of each role."""
    columns: dict[str, Any]


def read_squad(
    source: str, request: Request, config: FilesConfig, stdin: IO[bytes] | None
) -> Iterator[Record]:
    """The questions of one source."""
    found = open_source(source, stdin, config.encoding)
    table = delimited_table(found, request, config) if isinstance(found, Lines) else found
    finder = _Finder(request.labelled)
    for number, question in enumerate(_questions(table, request), start=1):
        values, where = question.values, question.where
        values[ID] = str(number) if is_empty(values.get(ID)) else str(values[ID])
        if ANSWERS in values:
            answers = _answers(values[ANSWERS], where)
            located = finder.located(answers, values[CONTEXT], where)
            if located is None:
                continue
            values[ANSWERS] = located
        yield Record(values, question.columns, where, question.names)
    finder.report(table.name)


def _questions(table: Table, request: Request) -> Iterator[_Question]:
    first = table.rows.ahead(1)
    if first and ("paragraphs" in first[0][1] or isinstance(first[0][1].get("data"), list)):
        log.info("%s: SQuAD's JSON", table.name)
        yield from _nested(table, request)
    else:
        yield from _flat(table, request)


def _flat(table: Table, request: Request) -> Iterator[_Question]:
    columns = Columns(table, request)
    for where, row in table.rows:
        values = columns.values(where, row, may_be_empty=(ANSWERS, ID))
        for role in (QUESTION, CONTEXT):
            values[role] = str(values[role])
        if ID not in values and not is_empty(row.get(ID)):
            values[ID] = row[ID]
        yield _Question(where, values, columns.names, row)


def _nested(table: Table, request: Request) -> Iterator[_Question]:
    for article, where in _articles(table):
        title = article.get("title")
        for paragraph in _objects(article, "paragraphs", where):
            context = _text(paragraph, CONTEXT, where, request.labelled)
            for entry in _objects(paragraph, "qas", where):
                here = f"{table.name}, question {listed([str(entry.get(ID, '?'))])}"
                values = {
                    ID: entry.get(ID),
                    QUESTION: _text(entry, QUESTION, here, request.labelled),
                    CONTEXT: context,
                }
                if request.labelled or ANSWERS in entry:
                    impossible = entry.get("is_impossible") is True
                    values[ANSWERS] = [] if impossible else entry.get(ANSWERS)
                columns = {ID: values[ID], QUESTION: values[QUESTION]}
                if title is not None:
                    columns["title"] = title
                yield _Question(here, values, same_names(values), columns)


def _articles(table: Table) -> Iterator[tuple[dict[str, Any], str]]:
    for where, row in table.rows:
        if "paragraphs" in row:
            yield row, where
            continue
        for number, article in enumerate(_objects(row, "data", where), start=1):
            yield article, f"{table.name}, article {number}"


def _objects(parent: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    inner = parent.get(name)
    if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
        return inner
    raise ElektronError(f"{where}: {name!r} must be a list of objects, as in SQuAD")


def _text(parent: dict[str, Any], name: str, where: str, labelled: bool) -> str:
    text = parent.get(name)
    if not isinstance(text, str):
        raise ElektronError(f"{where}: {name!r} must be text, as in SQuAD")
    if labelled and is_empty(text):
        raise ElektronError(f"{where}: the {name} is empty")
    return text


def _answers(value: Any, where: str) -> list[Answer]:
    """Answers in one form, out of all that files have them in; empty ones are none."""
    if isinstance(value, str):
        parsed = json_list(value)
        value = value if parsed is None else parsed
    if isinstance(value, dict):
        texts, starts = _as_list(value.get("text")), _as_list(value.get("answer_start"))
        starts += [None] * (len(texts) - len(starts))
        pairs = list(zip(texts, starts, strict=False))
    else:
        pairs = [
            (item.get("text"), item.get("answer_start")) if isinstance(item, dict) else (item, None)
            for item in _as_list(value)
        ]
    for text, _ in pairs:
        if isinstance(text, dict | list):
            raise ElektronError(f"{where}: an answer must be text, got {text!r:.60}")
    return [
        {"text": str(text), "answer_start": start if isinstance(start, int) else None}
        for text, start in pairs
        if not is_empty(text)
    ]


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return list(value)
    return [] if value is None else [value]


@dataclass
class _Finder:
    """Finds answers in their passages, and counts those that are not there."""

    labelled: bool
    missing: int = 0
    skipped: int = 0
    first: str = field(default="")

    def located(self, answers: list[Answer], context: str, where: str) -> list[Answer] | None:
        """The answers where they really are; None if the question is to be left out."""
        found = []
        for answer in answers:
            text, start = _place(context, answer["text"], answer["answer_start"])
            if start is None:
                self.missing += 1
                self.first = self.first or f"{where}: {text!r:.60}"
            else:
                found.append({"text": text, "answer_start": start})
        if answers and not found and self.labelled:
            self.skipped += 1
            return None
        return found

    def report(self, name: str) -> None:
        if self.missing:
            log.warning(
                "%s: %d answers are not in their context (the first: %s); "
                "%d questions without another answer were left out",
                name,
                self.missing,
                self.first,
                self.skipped,
            )


def _place(context: str, text: str, stated: int | None) -> tuple[str, int | None]:
    """The text and where it begins, nearest to where it was stated to; None if nowhere."""
    for form in (text, text.strip()):
        near = max(stated or 0, 0)
        if context.startswith(form, near):
            return form, near
        places = (context.rfind(form, 0, near + len(form)), context.find(form, near))
        found = [place for place in places if place >= 0]
        if found:
            return form, min(found, key=lambda place: abs(place - near))
    return text, None
