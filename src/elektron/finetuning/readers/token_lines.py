"""Read files with one token per line: variants of CoNLL, CoNLL-U, csv with blank lines between sentences.

Columns are separated by tabs, by any number of spaces, or as in csv. Their names come from a header or from the
format (CoNLL-U); otherwise they are numbers.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

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
CONLL_2012_WIDTH = 11
"""Columns up to that of the entities; lines of CoNLL-2012 have more."""
CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
CONLL_U_ID = re.compile(r"\d+(?:[-.]\d+)?")


class TokenLines:
    """The layout of a file, if each line is read as a token."""

    def __init__(self, lines: Lines, request: Request, config: TextFilesConfig) -> None:
        """Detect the layout from the first lines.

        Raises:
            ElektronError: `--delimiter` cannot separate columns.
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
        width = max(1, Counter(map(len, rows)).most_common(1)[0][0])  # the number of columns in most lines
        self.is_conll_2012 = lines.sample[0].startswith(BEGIN_DOCUMENT) and width >= CONLL_2012_WIDTH
        self.is_conll_u = width == len(CONLL_U) and all(row and CONLL_U_ID.fullmatch(row[0]) for row in rows)
        self.width = CONLL_2012_WIDTH if self.is_conll_2012 else width
        self.names = list(CONLL_U) if self.is_conll_u else [str(number) for number in range(1, self.width + 1)]
        self.header = not self.is_conll_u and self._is_header(rows[0], config)
        if self.header:
            if len(rows[0]) == self.width:
                self.names = [field.strip() or number for field, number in zip(rows[0], self.names, strict=True)]
            content, rows = content[1:], rows[1:]
        complete_rows = [row for row in rows if len(row) >= self.width]
        columns = [[row[index].strip() for row in complete_rows] for index in range(self.width)]
        self.by_values = {role: self.names[index] for role, index in self._tokens_and_tags(columns).items()}
        """The columns that look like tokens and tags."""
        tags = self.by_values.get("tags")
        self.tags = set() if tags is None else set(columns[self.names.index(tags)])
        blocks = self._blocks(lines.sample)
        self.has_blocks = len(blocks) > 1 and sum(len(block) > 1 for block in blocks) > len(blocks) / 2
        """Whether blank lines separate blocks, most of them of several lines."""
        self.has_equal_widths = self.is_conll_2012 or all(len(row) == self.width for row in rows)
        self.is_certain = self.has_equal_widths and (bool(request.given) or self._are_tokens(content, columns))
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

    def is_delimited_table(self, are_sentences: bool) -> bool:
        """Whether the file is a delimited table instead, with a header or with columns that were given.

        Args:
            are_sentences: whether each line looks like a sentence with its tags.
        """
        request, sample = self.request, self.lines.sample
        if self.lines.suffix == ".csv":
            return self.is_empty or not (self.has_blocks and self.has_equal_widths)
        if self.is_empty or self.is_conll_2012 or self.is_conll_u or (self.has_blocks and not are_sentences):
            return False
        if self.delimiter == SPACES:
            return bool(request.given) and not request.labelled and not (self.has_equal_widths and self.width > 1)
        if not request.given and not request.recognised(sample[0].split(self.delimiter)):
            return False
        # Rows with a sentence have spaces; rows with a token have none.
        return are_sentences or not request.labelled or sum(" " in line for line in sample) > len(sample) / 2

    def table(self) -> Table:
        """A table with one token per row, and the number of its block under `BLOCK`.

        Raises:
            ElektronError: the tokens or tags cannot be found, or no blank line ends a sentence.
        """
        name, request = self.lines.name, self.request
        kind = "CoNLL-2012, " if self.is_conll_2012 else "CoNLL-U, " if self.is_conll_u else ""
        kind += "one token per line"
        for role in ("tokens", "tags") if request.labelled else ("tokens",):
            if role in {*self.by_values, *request.given, *request.recognised(self.names)}:
                continue
            if self.width == 1:
                raise ElektronError(
                    f"{name}: each line has one column and no tag: "
                    "give a token and its tag on each line, or a sentence, a tab and its tags"
                )
            rows = [self.split(line) for line in self.lines.sample if not self.is_break(line)]
            first = next((row for row in rows[self.header :] if len(row) == self.width), [])
            raise ElektronError(
                f"{name}: {kind}; which column has the {role}? Give it with --{role}, by "
                f"number from 1 (the first line has: {numbered(first)})"
            )
        if request.labelled and "sentence" not in {*request.given, *request.recognised(self.names)}:
            self._refuse_one_long_sentence()
        return Table(name, self._rows(), kind, self.names, self.by_values)

    def _rows(self) -> Iterator[Row]:
        block, header, in_block = 0, self.header, False
        for number, line in self.lines:
            if self.is_break(line):
                in_block = False
                continue
            if not in_block and self._is_comment(line):
                continue
            if header:
                header = False
                continue
            where = f"{self.lines.name}, line {number}"
            fields = self.split(line)
            if len(fields) < self.width or (len(fields) > self.width and not self.is_conll_2012):
                by = {"\t": "a tab", SPACES: "a space"}.get(self.delimiter, repr(self.delimiter))
                raise ElektronError(f"{where}: {len(fields)} columns separated by {by}, other lines have {self.width}")
            if self.names[0] == CONLL_U[0] and not fields[0].isdecimal():
                continue  # ranges such as 2-3 and empty nodes such as 5.1 are not tokens
            if not in_block:
                in_block, block = True, block + 1
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

    def _is_header(self, first: Sequence[str], config: TextFilesConfig) -> bool:
        if config.header is not None:
            return config.header
        gives_names = bool(self.request.given) and not self.request.gives_only_numbers
        return gives_names or len(self.request.recognised([field.strip() for field in first])) > 1

    def _tokens_and_tags(self, columns: Sequence[Sequence[str]]) -> dict[str, int]:
        if self.is_conll_2012:
            return {"tokens": 3, "tags": 10}
        if not self.is_conll_u:
            return tokens_and_tags(columns)
        tags = [index for index in map(CONLL_U.index, ("UPOS", "XPOS")) if set(columns[index]) - {"_", ""}]
        return {"tokens": CONLL_U.index("FORM")} | ({"tags": tags[0]} if tags else {})

    def _blocks(self, lines: Sequence[str]) -> list[list[str]]:
        """The lines between those that end a sentence."""
        return [list(block) for is_break, block in groupby(lines, self.is_break) if not is_break]

    def _are_tokens(self, content: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
        """Whether lines are tokens and not plain text, judged by their tags, their length and the blank lines."""
        if self.is_conll_2012 or self.is_conll_u:
            return True
        if self.width == 1:
            return self.has_blocks and sum(map(len, content)) <= LONGEST_TOKEN * len(content)
        is_bio = bool(self.tags) and all(map(BIO_TAG.fullmatch, self.tags))
        if self.has_blocks:
            tokens = self.names.index(self.by_values.get("tokens", self.names[0]))
            return is_bio or tokens > 0 or any(map(has_few_values, columns[tokens + 1 :]))
        return is_bio and (self.delimiter == "\t" or any("-" in tag for tag in self.tags))

    def _refuse_one_long_sentence(self) -> None:
        """Raise ElektronError if there is no blank line, but clearly more than one sentence."""
        blocks = self._blocks([line for line in self.lines.sample if not line.startswith("#")][self.header :])
        if len(blocks) != 1:
            return
        ends = sum(bool(SENTENCE_ENDS.intersection(self.split(line))) for line in blocks[0][:-1])
        if len(blocks[0]) > LONGEST_SENTENCE or ends > 2:
            raise ElektronError(
                f"{self.lines.name}: there is no blank line in {len(blocks[0]):,} lines, all of them "
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
