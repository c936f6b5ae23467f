"""Questions with a passage and the answers in it.

SQuAD's own JSON, 1.1 and 2.0, and that of CMRC-2018, is read whole; otherwise rows of a table, whose
answers are a text, a list of texts, or `{"text": […], "answer_start": […]}`, also written as text, and
may begin where another column says. All come out alike: `answers` is a list of `{"text",
"answer_start"}`, empty where there is no answer. An answer that is not where the file says is looked
for nearest to it; one that the passage does not have is left out, in labelled data with its question
unless that has another. So are, in labelled data, questions that are empty. At the end it is said how
many there were.

A row of a table is handed on with all of its columns, a question of the nested JSON with its id and title.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from elektron.errors import ElektronError, comma_list
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.columns import Columns, Request, Table, is_empty
from elektron.finetuning.readers.delimited import delimited_table
from elektron.finetuning.readers.lines import Lines
from elektron.finetuning.readers.literals import literal
from elektron.finetuning.readers.records import Record, same_names
from elektron.finetuning.readers.tables import open_source

log = logging.getLogger(__name__)

ID, QUESTION, CONTEXT, ANSWERS = "id", "question", "context", "answers"
START = "answer_start"
"""The role of a column that says where answers begin."""
PARAGRAPHS, QAS = "paragraphs", "qas"
IN_CMRC = {ID: "query_id", QUESTION: "query_text", CONTEXT: "context_text"}

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
        if finder.leaves_out(values, where):
            continue
        values[ID] = str(number) if is_empty(values.get(ID)) else str(values[ID])
        starts = values.pop(START, None)
        if ANSWERS in values:
            answers = _answers(values[ANSWERS], starts, where)
            located = finder.located(answers, values[CONTEXT], where)
            if located is None:
                continue
            values[ANSWERS] = located
        yield Record(values, question.columns, where, question.names)
    finder.report(table.name)


def _questions(table: Table, request: Request) -> Iterator[_Question]:
    first = table.rows.ahead(1)
    if first and (
        first[0][1].keys() & {PARAGRAPHS, QAS} or isinstance(first[0][1].get("data"), list)
    ):
        log.info("%s: SQuAD's JSON", table.name)
        yield from _nested(table, request)
    else:
        yield from _flat(table, request)


def _flat(table: Table, request: Request) -> Iterator[_Question]:
    columns = Columns(table, request)
    for where, row in table.rows:
        values = columns.values(where, row, may_be_empty=(ANSWERS, START, ID, QUESTION, CONTEXT))
        for role in (QUESTION, CONTEXT):
            values[role] = "" if is_empty(values[role]) else str(values[role])
        if ID not in values and not is_empty(row.get(ID)):
            values[ID] = row[ID]
        yield _Question(where, values, columns.names, row)


def _nested(table: Table, request: Request) -> Iterator[_Question]:
    for paragraph, title, where in _paragraphs(table):
        context = _text(paragraph, CONTEXT, where)
        for entry in _objects(paragraph, QAS, where):
            name = _under(entry, ID)
            here = f"{table.name}, question {comma_list(['?' if name is None else str(name)])}"
            values = {ID: name, QUESTION: _text(entry, QUESTION, here), CONTEXT: context}
            answers = [] if entry.get("is_impossible") is True else entry.get(ANSWERS)
            if answers is not None:
                values[ANSWERS] = answers
            columns = {ID: values[ID], QUESTION: values[QUESTION]}
            if title is not None:
                columns["title"] = title
            yield _Question(here, values, same_names(values), columns)


def _paragraphs(table: Table) -> Iterator[tuple[dict[str, Any], Any, str]]:
    """Each passage with its questions, its title and where it stands."""
    for where, row in table.rows:
        if QAS in row:
            yield row, row.get("title"), where
            continue
        articles = [(row, where)]
        if PARAGRAPHS not in row:
            articles = [
                (article, f"{table.name}, article {number}")
                for number, article in enumerate(_objects(row, "data", where), start=1)
            ]
        for article, of_article in articles:
            for paragraph in _objects(article, PARAGRAPHS, of_article):
                yield paragraph, article.get("title"), of_article


def _objects(parent: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    inner = parent.get(name)
    if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
        return inner
    raise ElektronError(f"{where}: {name!r} must be a list of objects, as in SQuAD")


def _text(parent: dict[str, Any], name: str, where: str) -> str:
    text = _under(parent, name)
    if not isinstance(text, str):
        raise ElektronError(f"{where}: {name!r} must be text, as in SQuAD")
    return text


def _under(parent: dict[str, Any], name: str) -> Any:
    """What stands under a name, in SQuAD's form or in CMRC-2018's."""
    return parent.get(name, parent.get(IN_CMRC[name]))


def _answers(value: Any, starts: Any, where: str) -> list[Answer]:
    """Answers in one form, out of all that files have them in; empty ones are none.

    Args:
        value: as it lies in the file.
        starts: where they begin, if a column of its own says so.
        where: for messages.
    """
    value = _parsed(value)
    if isinstance(value, dict):
        starts = value.get("answer_start", starts)
        value = value.get("text")
    texts = _as_list(value)
    starts = _as_list((literal(starts) or starts) if isinstance(starts, str) else starts)
    starts += [None] * (len(texts) - len(starts))
    answers = []
    for item, beside in zip(texts, starts, strict=False):
        own = item if isinstance(item, dict) else {"text": item}
        text, start = own.get("text"), own.get("answer_start", beside)
        if isinstance(text, dict | list):
            raise ElektronError(f"{where}: an answer must be text, got {text!r:.60}")
        if not is_empty(text):
            answers.append({"text": str(text), "answer_start": _start(start, where)})
    return answers


def _parsed(value: Any) -> Any:
    """A field of text as the list or object that it is the text of, where it is one of answers."""
    found = literal(value) if isinstance(value, str) else None
    items = found if isinstance(found, list) else [found]
    return found if all(isinstance(item, str | dict) for item in items) else value


def _start(value: Any, where: str) -> int | None:
    """The number of a character, also as text or as a float; None where nothing is said."""
    if is_empty(value):
        return None
    try:
        number = float(value)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ElektronError(
        f"{where}: answer_start must be the number of a character, got {value!r:.60}"
    )


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return list(value)
    return [] if value is None else [value]


@dataclass
class _Finder:
    """Finds answers in their passages, and counts those that are not there and what is left out."""

    labelled: bool
    kept: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)

    def leaves_out(self, values: dict[str, Any], where: str) -> bool:
        """Whether a question of labelled data can be neither learned from nor scored."""
        if not self.labelled:
            return False
        empty = [role for role in (QUESTION, CONTEXT) if is_empty(values[role])]
        if empty:
            self._count(f"questions are left out: the {empty[0]} is empty", where)
        elif ANSWERS not in values:
            self._count("questions are left out: they have no answers, nor is_impossible", where)
        return bool(empty) or ANSWERS not in values

    def located(self, answers: list[Answer], context: str, where: str) -> list[Answer] | None:
        """The answers where they really are; None if the question is to be left out."""
        found = []
        for answer in answers:
            stated = answer["answer_start"]
            text, start = _place(context, answer["text"], stated)
            here = f"{where}: {text!r:.60}"
            if start is None:
                self._count("answers are not in their context", here)
                continue
            if (
                stated is not None
                and stated >= 0
                and start != stated + _indent(answer["text"], text)
            ):
                self._count("answers are not where answer_start says but elsewhere", here)
            found.append({"text": text, "answer_start": start})
        if answers and not found and self.labelled:
            self._count("questions are left out: none of their answers is in the context", where)
            return None
        self.kept += 1
        return found

    def report(self, name: str) -> None:
        """Say what was counted.

        Raises:
            ElektronError: all questions were left out.
        """
        found = [
            f"{count:,} {what} (the first: {self.firsts[what]})"
            for what, count in self.counts.items()
        ]
        if found and self.labelled and not self.kept:
            raise ElektronError(f"{name}: no question is left; {'; '.join(found)}")
        if found:
            log.warning("%s: %s", name, "; ".join(found))

    def _count(self, what: str, where: str) -> None:
        self.counts[what] += 1
        self.firsts.setdefault(what, where)


def _indent(whole: str, part: str) -> int:
    """Where a text without the white space around it begins in the text."""
    return len(whole) - len(whole.lstrip()) if part != whole else 0


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
