"""Read files with one token per line: variants of CoNLL, CoNLL-U, csv with blank lines between sentences.

Columns are separated by tabs, by any number of spaces, or as in csv. Their names come from a header or from the
format (CoNLL-U); otherwise they are numbers.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from elektron.errors import ElektronError
from elektron.finetuning.config import TextFilesConfig
from elektron.finetuning.readers.delimited import given_delimiter, numbered
from elektron.finetuning.readers.guess_columns import BIO_TAG, has_few_values, tokens_and_tags
from elektron.finetuning.readers.lines import Lines, is_blank
from elektron.finetuning.readers.records import Row, Table
from elektron.finetuning.readers.roles import Request

BLOCK = ""
"""The key in a row for the number of its block of lines; no column has an empty name."""
SPACES = " "
"""Stands for any number of spaces and tabs between columns."""
BLANKS = re.compile("[ \t]+")
QUOTED = (",", ";", "|")
"""Delimiters between which quotation marks enclose fields by default."""
LONGEST_TOKEN = 30
"""A column whose fields have more characters on average contains sentences, not tokens."""
LONGEST_SENTENCE = 100
SENTENCE_ENDS = frozenset(".!?。！？।")
DOCSTART = "-DOCSTART-"
BEGIN_DOCUMENT = "#begin document"
CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
CONLL_U_ID = re.compile(r"\d+(?:[-.]\d+)?")
NOTHING = {"_", ""}


class TokenLines:
    """The layout of a file, if each line is read as a token."""

    def __init__(self, lines: Lines, request: Request, config: TextFilesConfig) -> None:
        """Detect the layout from the first lines.

        Raises:
            ElektronError: two columns have one name.
        """
        self.lines = lines
        self.request = request
        self.delimiter = _delimiter(lines, config)
        self.quoting = self.delimiter in QUOTED if config.quoting is None else config.quoting
        content = [line for line in lines.sample if not self.is_break(line)]
        content = [line for line in content if not line.startswith("#")] or content
        rows = [self.split(line) for line in content]
        self.is_empty = not rows
        if not rows:
            return
        self.kind = "a token a line"
        self.width = max(1, Counter(map(len, rows)).most_common(1)[0][0])  # the number of columns in most lines
        self.wider = lines.sample[0].startswith(BEGIN_DOCUMENT) and self.width > 10
        """Whether lines may have more than `width` columns, as in CoNLL-2012."""
        is_conll_u = self.width == len(CONLL_U) and all(row and CONLL_U_ID.fullmatch(row[0]) for row in rows)
        self.is_format = self.wider or is_conll_u
        """Whether this is CoNLL-2012 or CoNLL-U, whose columns are known."""
        self.header = False
        self.names = [str(number + 1) for number in range(11 if self.wider else self.width)]
        if self.wider:
            self.kind, self.width = "CoNLL-2012, a token a line", 11
        if is_conll_u:
            self.kind, self.names = "CoNLL-U, a token a line", list(CONLL_U)
        else:
            self._find_header(rows[0], config)
        if self.header:
            content, rows = content[1:], rows[1:]
        full = [row for row in rows if len(row) >= self.width]
        columns = [[row[index].strip() for row in full] for index in range(self.width)]
        self.by_values = {role: self.names[index] for role, index in self._tokens_and_tags(columns).items()}
        """The columns that look like tokens and tags."""
        tags = self.by_values.get("tags")
        self.tags = set() if tags is None else set(columns[self.names.index(tags)])
        self.blocks = self._has_blocks()
        """Whether blank lines separate blocks, most of them of several lines."""
        self.even = all(len(row) == self.width or self.wider for row in rows)
        """Whether all of the first lines have the same number of columns."""
        self.is_certain = self.even and (bool(request.given) or self._are_tokens(content, columns))
        """Whether the lines are certainly tokens, and not plain text."""

    def split(self, line: str) -> list[str]:
        """The fields of a line."""
        if self.delimiter == SPACES:
            return BLANKS.split(line.strip(" \t"))
        if self.quoting and len(self.delimiter) == 1:
            try:
                return next(csv.reader([line], delimiter=self.delimiter), [])
            except csv.Error:
                return []  # an error later, like any line with too few columns
        return line.split(self.delimiter)

    def is_break(self, line: str) -> bool:
        """Whether a line ends a sentence: it is blank, all of its fields are, or a document begins."""
        return is_blank(line.replace(self.delimiter, "")) or line.startswith(DOCSTART)

    def is_delimited_table(self, one_line: bool) -> bool:
        """Whether the file is a delimited table instead, with a header or with columns that were given.

        Args:
            one_line: whether each line looks like a sentence with its tags.
        """
        request, sample = self.request, self.lines.sample
        if self.lines.suffix == ".csv":
            return self.is_empty or not (self.blocks and self.even)
        if self.is_empty or self.is_format or (self.blocks and not one_line):
            return False
        if self.delimiter == SPACES:
            return bool(request.given) and not request.labelled and not (self.even and self.width > 1)
        if not request.given and not request.recognised(sample[0].split(self.delimiter)):
            return False
        # Rows with a sentence have spaces; rows with a token have none.
        return one_line or not request.labelled or sum(" " in line for line in sample) > len(sample) / 2

    def table(self) -> Table:
        """A table with one token per row, and the number of its block under `BLOCK`.

        Raises:
            ElektronError: the tokens or tags cannot be found, or no blank line ends a sentence.
        """
        name, request = self.lines.name, self.request
        for role in ("tokens", "tags") if request.labelled else ("tokens",):
            if role in {*self.by_values, *request.given, *request.recognised(self.names)}:
                continue
            if self.width == 1:
                raise ElektronError(
                    f"{name}: each line has one column, there are no tags: "
                    "give a token and its tag on a line, or a sentence, a tab and its tags"
                )
            rows = [self.split(line) for line in self.lines.sample if not self.is_break(line)]
            first = next((row for row in rows[self.header :] if len(row) == self.width), [])
            raise ElektronError(
                f"{name}: {self.kind}; which column has the {role}? Give it with --{role}, by "
                f"number from 1 (the first line has: {numbered(first)})"
            )
        if request.labelled and "sentence" not in {*request.given, *request.recognised(self.names)}:
            self._refuse_one_long_sentence()
        return Table(name, self._rows(), self.kind, self.names, self.by_values)

    def _rows(self) -> Iterator[Row]:
        by = {"\t": "a tab", SPACES: "a space"}.get(self.delimiter, repr(self.delimiter))
        block, header, begun = 0, self.header, False
        for number, line in self.lines:
            if self.is_break(line):
                begun = False
                continue
            if not begun and self._is_comment(line):
                continue
            if header:
                header = False
                continue
            where = f"{self.lines.name}, line {number}"
            fields = self.split(line)
            if len(fields) != self.width and not (self.wider and len(fields) > self.width):
                raise ElektronError(f"{where}: {len(fields)} columns separated by {by}, other lines have {self.width}")
            if self.names[0] == CONLL_U[0] and not fields[0].isdecimal():
                continue  # ranges such as 2-3 and empty nodes such as 5.1 are not tokens
            if not begun:
                begun, block = True, block + 1
            yield where, dict(zip(self.names, fields, strict=False)) | {BLOCK: block}

    def _is_comment(self, line: str) -> bool:
        """Whether a line at the beginning of a sentence is a comment and not a token."""
        if not line.startswith("#"):
            return False
        fields = self.split(line)
        if len(fields) != self.width:
            return True
        column = self.by_values.get("tags")
        is_hashtag = not line[1:2].isspace() and not line.startswith(("#begin ", "#end "))  # of CoNLL-2012
        return not is_hashtag and column is not None and fields[self.names.index(column)] not in self.tags

    def _find_header(self, first: Sequence[str], config: TextFilesConfig) -> None:
        names, request = [name.strip() for name in first], self.request
        by_name = bool(request.given) and not request.gives_only_numbers
        is_header = by_name or len(request.recognised(names)) > 1
        self.header = is_header if config.header is None else config.header
        if self.header and len(names) == self.width:
            self.names = [name or number for name, number in zip(names, self.names, strict=True)]

    def _tokens_and_tags(self, columns: Sequence[Sequence[str]]) -> dict[str, int]:
        if self.wider:
            return {"tokens": 3, "tags": 10}
        if not self.is_format:
            return tokens_and_tags(columns)
        tags = [CONLL_U.index(name) for name in ("UPOS", "XPOS")]
        filled = [index for index in tags if set(columns[index]) - NOTHING]
        return {"tokens": CONLL_U.index("FORM")} | ({"tags": filled[0]} if filled else {})

    def _has_blocks(self) -> bool:
        blocks = self._without_breaks(self.lines.sample).split("\n\n")
        return len(blocks) > 1 and sum("\n" in block.strip("\n") for block in blocks) > len(blocks) / 2

    def _without_breaks(self, lines: Sequence[str]) -> str:
        """Join lines to a text, in which lines that end a sentence are blank."""
        return "\n".join("" if self.is_break(line) else line for line in lines).strip("\n")

    def _are_tokens(self, content: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
        """Whether lines are tokens and not plain text, judged by their tags, their length and the blank lines."""
        if self.is_format:
            return True
        if self.width == 1:
            return self.blocks and sum(map(len, content)) <= LONGEST_TOKEN * len(content)
        is_bio = bool(self.tags) and all(map(BIO_TAG.fullmatch, self.tags))
        if self.blocks:
            tokens = self.names.index(self.by_values.get("tokens", self.names[0]))
            return is_bio or tokens > 0 or any(map(has_few_values, columns[tokens + 1 :]))
        return is_bio and (self.delimiter == "\t" or any("-" in tag for tag in self.tags))

    def _refuse_one_long_sentence(self) -> None:
        """Raise ElektronError if there is no blank line, but clearly more than one sentence."""
        rows = [line for line in self.lines.sample if not line.startswith("#")][self.header :]
        rows = self._without_breaks(rows).split("\n")
        if "" in rows:
            return
        ends = sum(bool(SENTENCE_ENDS.intersection(self.split(line))) for line in rows[:-1])
        if len(rows) > LONGEST_SENTENCE or ends > 2:
            raise ElektronError(
                f"{self.lines.name}: there is no blank line in {len(rows):,} lines, all of them "
                "would be one sentence: put a blank line after each sentence, or give the column "
                "of its number or id with --sentence"
            )


def _delimiter(lines: Lines, config: TextFilesConfig) -> str:
    if delimiter := given_delimiter(config):
        return delimiter
    content = [line for line in lines.content if not line.startswith("#")]
    candidates = ",;\t|" if lines.suffix == ".csv" else "\t"
    best = max(candidates, key=lambda delimiter: sum(delimiter in line for line in content))
    return best if sum(best in line for line in content) > len(content) / 2 else SPACES
