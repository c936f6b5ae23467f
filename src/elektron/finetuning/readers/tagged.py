"""Sentences whose tokens have tags.

Forms of text are told apart by their first lines: a token a line (`token_lines.py`); a sentence a
line, tokens with blanks between them, a tab, and as many tags; and, to predict for, plain text with a
sentence a line, which is handed on as text for whoever cuts it into tokens. A row of a table or data
set has a list of tokens and one of tags, a text with the characters of its entities (`spans.py`), or
one token with its tag, where a column says which sentence it is of. Tags are names; BMES, BIO and
others are not told apart here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.columns import Columns, Request, Table, is_empty
from elektron.finetuning.readers.delimited import delimited_table
from elektron.finetuning.readers.lines import STDIN, Lines, is_blank
from elektron.finetuning.readers.literals import literal
from elektron.finetuning.readers.records import Record, by_their_roles
from elektron.finetuning.readers.spans import SpanReader, spans_of
from elektron.finetuning.readers.tables import open_source
from elektron.finetuning.readers.token_lines import (
    BLANK,
    BLOCK,
    BRACKETS,
    SENTENCE,
    TAGS,
    TOKENS,
    TokenLines,
    find_token_lines,
    refuse_one_long_sentence,
    samples_of,
)

log = logging.getLogger(__name__)

SAMPLE_ROWS = 100
MOST = 0.9
"""Of the tokens of a table with a token a row; the others may have blanks."""
SHOWN_TOKENS = 8


def read_tagged(
    source: str, request: Request, config: FilesConfig, stdin: IO[bytes] | None
) -> Iterator[Record]:
    """The sentences of one source, as `tokens` and `tags`."""
    first = True
    for record in _sentences(source, request, config, stdin):
        if first and isinstance(record.values[TOKENS], list):
            first = False
            log.info("%s: the first sentence is %s", source, _shown(record))
        yield record


def _sentences(
    source: str, request: Request, config: FilesConfig, stdin: IO[bytes] | None
) -> Iterator[Record]:
    found = open_source(source, stdin, config.encoding)
    if isinstance(found, Table):
        return _of_table(found, request)
    sample = found.sample()
    form = find_token_lines(found, request, config)
    one_line = found.suffix != ".csv" and _is_one_line(sample, request.labelled)
    if _is_table(found, request, one_line, form):
        return _of_table(delimited_table(found, request, config), request)
    if one_line:
        log.info("%s: a sentence a line: tokens, a tab, tags", source)
        return _one_line(found, request.labelled)
    if form is not None and (request.labelled or form.sure):
        return _of_token_lines(found, form, request)
    if request.labelled:
        raise ElektronError(f"{source}: empty, there is no token in it")
    log.info("%s: plain text, a sentence a line", source)
    return _plain(found)


def _is_table(lines: Lines, request: Request, one_line: bool, form: TokenLines | None) -> bool:
    """Whether each line is a row under a header, or in columns that were asked for."""
    if lines.suffix == ".csv":
        return form is None or not (form.blocks and form.even)
    if form is None or form.is_format or (form.blocks and not one_line):
        return False
    sample = lines.sample()
    if form.delimiter == BLANK:
        return bool(request.asked) and not request.labelled and not (form.even and form.width > 1)
    if not request.asked and not request.recognises(sample[0].split(form.delimiter)):
        return False
    # Rows of sentences have blanks; those of a token each have none.
    return one_line or not request.labelled or sum(" " in line for line in sample) > len(sample) / 2


def _is_one_line(sample: list[str], labelled: bool) -> bool:
    """Whether two columns are separated by a tab, the last with several tags somewhere.

    At least half of the rows of several tokens have as many tags, or it is a token a line whose tags have
    blanks; if there need be no tags, most of all rows, or it may be plain text with a tab.
    """
    rows = [line.split("\t") for line in sample if not is_blank(line)]
    two = [[_blank_separated(part) for part in row] for row in rows if len(row) == 2]
    several = [(tokens, tags) for tokens, tags in two if len(tokens) > 1 or len(tags) > 1]
    fitting = sum(len(tokens) == len(tags) for tokens, tags in several)
    if not any(len(tags) > 1 for _, tags in several) or fitting < len(several) / 2:
        return False
    single = len(two) - len(several)
    return (len(two) if labelled else fitting + single) > len(rows) / 2


def _plain(lines: Lines) -> Iterator[Record]:
    for number, line in lines:
        yield by_their_roles({TOKENS: line}, f"{lines.name}, line {number}")


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


def _of_token_lines(lines: Lines, form: TokenLines, request: Request) -> Iterator[Record]:
    for role in (TOKENS, TAGS) if request.labelled else (TOKENS,):
        if role in form.seen or role in request.asked or role in request.recognised(form.names):
            continue
        if form.width == 1:
            raise ElektronError(
                f"{lines.name}: each line has one column, there are no tags: "
                "give a token and its tag on a line, or a sentence, a tab and its tags"
            )
        raise ElektronError(
            f"{lines.name}: {form.kind}; which column has the {role}? Give it with --{role}, by "
            f"number from 1 (the first line has: {samples_of(form, lines.sample())})"
        )
    sample = lines.sample()  # before the columns take their own
    table = form.table(lines)
    columns = Columns(table, request)
    if request.labelled and not columns.has(SENTENCE):
        refuse_one_long_sentence(lines.name, sample, form)
    yield from _grouped(table, columns, request)


def _of_table(table: Table, request: Request) -> Iterator[Record]:
    columns = Columns(table, request)
    first = [row for _, row in table.rows.ahead(1 if table.name == STDIN else SAMPLE_ROWS)]
    tokens, tags = columns.names[TOKENS], columns.names.get(TAGS)
    of_tags = [row.get(tags) for row in first] if tags else []
    words = sum(_is_word(row.get(tokens)) for row in first)
    if words > MOST * len(first) and all(
        isinstance(tag, str) and literal(tag) is None for tag in of_tags
    ):
        if columns.has(SENTENCE):
            yield from _grouped(table, columns, request)
            return
        if len(of_tags) > 1 and all(map(_is_word, of_tags)):
            raise ElektronError(
                f"{table.name}: each row has one token, and nothing says which rows are one "
                "sentence: give the column of its number or id with --sentence (there are: "
                f"{', '.join(table.columns)}), or put a blank line after each sentence"
            )
    yield from _rows(table, columns, request)


def _is_word(value: Any) -> bool:
    """Whether a field is text without blanks that is no list."""
    return isinstance(value, str) and len(value.split()) < 2 and literal(value) is None


@dataclass
class _Sentence:
    where: str
    name: str
    """Its number or id."""
    block: Any
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


def _grouped(table: Table, columns: Columns, request: Request) -> Iterator[Record]:
    """Sentences out of rows with a token each: a blank line or another number or id begins the next."""
    in_brackets = _are_brackets(table, columns)
    # Where columns have numbers, their lists stand under the names of their roles.
    keys = {role: role if column.isdecimal() else column for role, column in columns.names.items()}
    seen: set[str] = set()
    again = 0
    for sentence in _collected(table, columns, request):
        if sentence.name:
            again += sentence.name in seen
            seen.add(sentence.name)
        values: dict[str, Any] = {TOKENS: sentence.tokens}
        if len(sentence.tags) == len(sentence.tokens):
            values[TAGS] = _out_of_brackets(sentence.tags) if in_brackets else sentence.tags
        named = {SENTENCE: sentence.name} if SENTENCE in keys else {}
        row = {keys[role]: value for role, value in (named | values).items()}
        yield Record(values, row, sentence.where, columns.names)
    if again:
        log.warning(
            "%s: %d sentences have the number or id of an earlier one; rows that do not follow one "
            "another are taken for different sentences",
            table.name,
            again,
        )


def _collected(table: Table, columns: Columns, request: Request) -> Iterator[_Sentence]:
    of_token, of_tag, of_sentence = map(columns.names.get, (TOKENS, TAGS, SENTENCE))
    sentence = None
    for where, row in table.rows:
        token, tag, name = _field(row, of_token), _field(row, of_tag), _field(row, of_sentence)
        block = row.get(BLOCK)
        # In some tables only the first row of a sentence has its number.
        if sentence is None or block != sentence.block or (name and name != sentence.name):
            if sentence is not None:
                yield sentence
            sentence = _Sentence(where, name, block)
        if not token or (not tag and request.labelled):
            raise ElektronError(f"{where}: the {'tag' if token else 'token'} is empty")
        sentence.tokens.append(token)
        sentence.tags += [tag] if tag else []
    if sentence is not None:
        yield sentence


def _field(row: dict[str, Any], column: str | None) -> str:
    value = row.get(column) if column else None
    return "" if is_empty(value) else str(value).strip(" \t")


def _are_brackets(table: Table, columns: Columns) -> bool:
    """Whether tags are CoNLL-2012's: spans in brackets, with `*` for tokens that begin none."""
    rows = [row for _, row in table.rows.ahead(1 if table.name == STDIN else SAMPLE_ROWS)]
    tags = [str(row.get(columns.names.get(TAGS, ""))) for row in rows]
    return "*" in tags and all(tag and BRACKETS.fullmatch(tag) for tag in tags)


def _out_of_brackets(tags: Sequence[str]) -> list[str]:
    found = []
    inside = None
    for tag in tags:
        parts = BRACKETS.fullmatch(tag)
        begins = parts["type"] if parts else None
        inside = begins or inside
        found.append("O" if inside is None else f"{'B' if begins else 'I'}-{inside}")
        if parts and parts["end"]:
            inside = None
    return found


def _rows(table: Table, columns: Columns, request: Request) -> Iterator[Record]:
    spans = SpanReader()
    for where, given in table.rows:
        row = dict(given)
        values = columns.values(where, row)
        values.pop(SENTENCE, None)
        for role, value in values.items():
            values[role] = row[columns.names[role]] = _parsed(role, value)
        items = spans_of(values.get(TAGS))
        if items is not None and isinstance(values[TOKENS], str):
            values[TOKENS], values[TAGS] = spans.tagged(values[TOKENS], items, where)
            row |= values
        elif TAGS in values or request.labelled or isinstance(values[TOKENS], list | dict):
            values = {role: _list(role, value, where) for role, value in values.items()}
        else:
            values[TOKENS] = str(values[TOKENS])
        _check(values, where, request.labelled)
        yield Record(values, row, where, columns.names)
    spans.report(table.name)


def _parsed(role: str, value: Any) -> Any:
    """A field of text as the list or object that it is the text of, where it is one."""
    found = literal(value) if isinstance(value, str) else None
    if role == TOKENS and not (found and all(isinstance(token, str) for token in found)):
        return value
    return value if found is None else found


def _blank_separated(text: str) -> list[str]:
    return [part for part in text.split(" ") if part]


def _list(role: str, value: Any, where: str) -> list[str]:
    """A list of texts, out of a list or a field of text."""
    if isinstance(value, str):
        value = _blank_separated(value)
    if not isinstance(value, list):
        raise ElektronError(f"{where}: the {role} must be a list, got {value!r:.60}")
    for item in value:
        if role == TAGS:
            _refuse_tag(item, where)
        elif isinstance(item, list | dict):
            raise ElektronError(
                f"{where}: a token must be text, got {item!r:.60}: where the tags are of characters, "
                "give the column of the text with --tokens"
            )
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


def _shown(record: Record) -> str:
    """The first tokens of a sentence, each with its tag."""
    tokens, tags = record.values[TOKENS], record.values.get(TAGS)
    shown = tokens if tags is None else [f"{t}/{tag}" for t, tag in zip(tokens, tags, strict=True)]
    return " ".join(shown[:SHOWN_TOKENS]) + (" …" if len(shown) > SHOWN_TOKENS else "")
