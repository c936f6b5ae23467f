"""Sentences whose tokens have tags.

Three forms of text are told apart by their first lines: CoNLL, a token a line with its tag in the
last column and blank lines between sentences; one-line files, tokens with blanks between them, a
tab, and as many tags; and, to predict for, plain text with a sentence a line, which is handed on
as text for whoever cuts it into tokens. Tables and data sets have a list of tokens and one of
tags in a row. Tags are names; BMES, BIO and others are not told apart here.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.files.columns import Columns, Request, Table, is_empty, json_list
from elektron.finetuning.files.delimited import delimited_table
from elektron.finetuning.files.lines import Lines, is_blank
from elektron.finetuning.files.records import Record, by_their_roles
from elektron.finetuning.files.tables import open_source

log = logging.getLogger(__name__)

TOKENS = "tokens"
TAGS = "tags"
DOCSTART = "-DOCSTART-"
LONGEST_TOKEN = 30
"""Characters on average: a column of longer ones is sentences."""
BLANKS = re.compile("[ \t]+")
CHUNK_TAG = re.compile(r"O|[BIESMLUW]-\S+|[BIESMLUW]")


def read_tagged(
    source: str, request: Request, config: FilesConfig, stdin: IO[bytes] | None
) -> Iterator[Record]:
    """The sentences of one source, as `tokens` and `tags`."""
    found = open_source(source, stdin, config.encoding)
    if isinstance(found, Lines) and _is_table(found, request):
        found = delimited_table(found, request, config)
    if isinstance(found, Table):
        yield from _rows(found, request)
        return
    sample = found.sample()
    if _is_one_line(sample, request.labelled):
        log.info("%s: a sentence a line: tokens, a tab, tags", source)
        yield from _one_line(found, request.labelled)
    elif (form := _conll_form(sample)) and (request.labelled or form.is_sure):
        log.info("%s: a token a line%s", source, "" if form.tagged else ", without tags")
        if request.labelled and not form.tagged:
            raise ElektronError(
                f"{source}: each line has one column, there are no tags: "
                "give a token and its tag on a line, or a sentence, a tab and its tags"
            )
        yield from _conll(found, form)
    elif request.labelled:
        raise ElektronError(f"{source}: empty, there is no token in it")
    else:
        log.info("%s: plain text, a sentence a line", source)
        for number, line in found:
            yield by_their_roles({TOKENS: line}, f"{source}, line {number}")


@dataclass
class ConllForm:
    """How a file with a token a line is laid out."""

    tabs: bool
    width: int
    """Columns of most lines."""
    tags: set[str]
    """In the last column of the first lines."""
    is_sure: bool
    """Whether these are tokens, and not plain text that could be taken for them."""

    @property
    def tagged(self) -> bool:
        return self.width > 1

    def split(self, line: str) -> list[str]:
        return line.split("\t") if self.tabs else BLANKS.split(line.strip(" \t"))

    def is_comment(self, line: str) -> bool:
        """Whether a line at the begin of a sentence is about it, and no token of it."""
        if not line.startswith("#"):
            return False
        columns = self.split(line)
        return len(columns) != self.width or (self.tagged and columns[-1] not in self.tags)


def _is_table(lines: Lines, request: Request) -> bool:
    """Whether each line is a row under a header, or in columns that were asked for."""
    if lines.suffix == ".csv" or request.asked:
        return True
    sample = lines.sample()
    return _is_one_line(sample, request.labelled) and request.recognises(sample[0].split("\t"))


def _is_one_line(sample: list[str], labelled: bool) -> bool:
    """Whether two columns are separated by a tab, the last with several tags somewhere.

    If there need be no tags, both must have as many words, or it may be plain text with a tab.
    """
    rows = [line.split("\t") for line in sample if not is_blank(line)]
    two = [[_blank_separated(part) for part in row] for row in rows if len(row) == 2]
    several = any(len(tags) > 1 for _, tags in two)
    fitting = len(two) if labelled else sum(len(tokens) == len(tags) for tokens, tags in two)
    return several and fitting > len(rows) / 2


def _conll_form(sample: list[str]) -> ConllForm | None:
    """How these lines are laid out, taken as tokens; None where there is nothing."""
    lines = [line for line in sample if not is_blank(line) and not line.startswith(DOCSTART)]
    lines = [line for line in lines if not line.startswith("#")] or lines
    if not lines:
        return None
    tabs = sum("\t" in line for line in lines) > len(lines) / 2
    form = ConllForm(tabs, 1, set(), False)
    rows = [form.split(line) for line in lines]
    form.width = Counter(map(len, rows)).most_common(1)[0][0]
    form.tags = {row[-1] for row in rows if len(row) == form.width}
    form.is_sure = all(len(row) == form.width for row in rows) and (
        _are_tagged(form, rows, sample) if form.tagged else _are_tokens(lines, sample)
    )
    return form


def _are_tagged(form: ConllForm, rows: list[list[str]], sample: list[str]) -> bool:
    """Whether the last column has tags: like BIO's, or few in lines that stand in blocks."""
    like_bio = all(CHUNK_TAG.fullmatch(tag) for tag in form.tags)
    if _stand_in_blocks(sample):
        return like_bio or len(form.tags) <= len(rows) / 2
    return like_bio and (form.tabs or any("-" in tag for tag in form.tags))


def _are_tokens(lines: list[str], sample: list[str]) -> bool:
    """Whether lines of one column are tokens: short, and in blocks."""
    short = sum(map(len, lines)) <= LONGEST_TOKEN * len(lines)
    return short and _stand_in_blocks(sample)


def _stand_in_blocks(sample: list[str]) -> bool:
    """Whether blank lines separate blocks, most of them of several lines."""
    text = "\n".join("" if is_blank(line) else line for line in sample).strip("\n")
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    several = sum("\n" in block for block in blocks)
    return len(blocks) > 1 and several > len(blocks) / 2


@dataclass
class _Sentence:
    line: int = 0
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def record(self, name: str, tagged: bool) -> Record:
        values: dict[str, Any] = {TOKENS: self.tokens} | ({TAGS: self.tags} if tagged else {})
        return by_their_roles(values, f"{name}, line {self.line}")


def _conll(lines: Lines, form: ConllForm) -> Iterator[Record]:
    sentence = _Sentence()
    for number, line in lines:
        docstart = line.startswith(DOCSTART)
        if docstart or is_blank(line):
            if sentence.tokens:
                yield sentence.record(lines.name, form.tagged)
                sentence = _Sentence()
            continue
        if not sentence.tokens and form.is_comment(line):
            continue
        token, tag = _token(form, line, f"{lines.name}, line {number}")
        sentence.line = sentence.line or number
        sentence.tokens.append(token)
        sentence.tags.append(tag)
    if sentence.tokens:
        yield sentence.record(lines.name, form.tagged)


def _token(form: ConllForm, line: str, where: str) -> tuple[str, str]:
    columns = form.split(line)
    token, tag = columns[0].strip(), columns[-1].strip()
    if len(columns) != form.width:
        by = "tab" if form.tabs else "blank"
        raise ElektronError(
            f"{where}: {len(columns)} columns separated by a {by}, other lines have {form.width}"
        )
    if not token or not tag:
        raise ElektronError(f"{where}: the {'tag' if token else 'token'} is empty")
    return token, tag


def _one_line(lines: Lines, labelled: bool) -> Iterator[Record]:
    for number, line in lines:
        if is_blank(line):
            continue
        where = f"{lines.name}, line {number}"
        tokens, *rest = [_blank_separated(part) for part in line.split("\t")]
        if len(rest) > 1 or (labelled and not rest):
            raise ElektronError(f"{where}: must be tokens, one tab, tags; it has {len(rest)} tabs")
        values: dict[str, Any] = {TOKENS: tokens} | ({TAGS: rest[0]} if rest else {})
        _check(values, where, labelled)
        yield by_their_roles(values, where)


def _blank_separated(text: str) -> list[str]:
    return [part for part in text.split(" ") if part]


def _rows(table: Table, request: Request) -> Iterator[Record]:
    columns = Columns(table, request)
    for where, row in table.rows:
        values = columns.values(where, row)
        if TAGS in values or request.labelled:
            values = {role: _list(role, value, where) for role, value in values.items()}
        elif isinstance(values[TOKENS], list):
            values[TOKENS] = _list(TOKENS, values[TOKENS], where)
        _check(values, where, request.labelled)
        yield Record(values, row, where, columns.names)


def _list(role: str, value: Any, where: str) -> Any:
    """A list of texts, out of a list or a field of text."""
    if role not in (TOKENS, TAGS):
        return value
    if isinstance(value, str):
        parsed = json_list(value)
        value = parsed if isinstance(parsed, list) else _blank_separated(value)
    if not isinstance(value, list):
        raise ElektronError(f"{where}: the {role} must be a list, got {value!r:.60}")
    if role == TAGS:
        for tag in value:
            _refuse_tag(tag, where)
    return [str(item) for item in value]


def _refuse_tag(tag: Any, where: str) -> None:
    if isinstance(tag, str) and not is_empty(tag):
        return
    if isinstance(tag, int):
        raise ElektronError(
            f"{where}: tags are numbers ({tag}) and nothing says what they mean: "
            "give their names, as text or in the features of the data set"
        )
    raise ElektronError(f"{where}: a tag must be text, got {tag!r:.60}")


def _check(values: dict[str, Any], where: str, labelled: bool) -> None:
    tokens, tags = values[TOKENS], values.get(TAGS)
    if labelled and not tokens:
        raise ElektronError(f"{where}: there are no tokens")
    if tags is not None and len(tags) != len(tokens):
        raise ElektronError(f"{where}: {len(tokens)} tokens but {len(tags)} tags")
