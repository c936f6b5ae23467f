"""Files with a token a line: CoNLL in its many layouts, CoNLL-U, csv with blank lines between sentences.

Columns are separated by tabs, by any number of blanks, or as in csv. They have names where the first
line is a header or the format has names (CoNLL-U), and numbers otherwise. Which of them has the tokens
and which the tags is found in the first lines, where that is clear, and asked for otherwise.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.columns import Request, Row, Table
from elektron.finetuning.readers.lines import Ahead, Lines, is_blank
from elektron.finetuning.readers.tables import refuse_duplicates

TOKENS, TAGS, SENTENCE = "tokens", "tags", "sentence"
BLOCK = ""
"""In a row, the number of the block of lines that it is in; no column has an empty name."""
BLANK = " "
"""The delimiter where any number of blanks and tabs separates columns."""
BLANKS = re.compile("[ \t]+")
QUOTED = (",", ";", "|")
"""Delimiters between which quotation marks enclose fields where nothing is said."""
BIO_TAG = re.compile(r"[OBIESMLUW_]|[BIESMLUW]-\S.*")
BRACKETS = re.compile(r"(?:\((?P<type>[^\s()*]+))?\*?(?P<end>\))?")
"""CoNLL-2012's spans: `(PER*`, `*`, `*)`, `(GPE)`."""
NOTHING = {"", "_", "-", "*"}
"""What stands in a column that has nothing to say."""
LONGEST_TOKEN = 30
"""Characters on average: a column of longer ones is sentences."""
LONGEST_SENTENCE = 100
SENTENCE_ENDS = frozenset(".!?。！？।")
DOCSTART = "-DOCSTART-"
BEGIN_DOCUMENT = "#begin document"
GLOBAL_COLUMNS = "# global.columns ="
CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
COMMENT = re.compile(r"# ?[\w.:]+( =|$)")
CONLL_U_ID = re.compile(r"\d+(?:[-.]\d+)?")


@dataclass
class TokenLines:
    """How a file with a token a line is laid out."""

    delimiter: str
    quoting: bool = False
    width: int = 1
    """Columns of most lines."""
    wider: bool = False
    """Whether lines may have more."""
    names: list[str] = field(default_factory=list)
    header: bool = False
    kind: str = "a token a line"
    seen: dict[str, str] = field(default_factory=dict)
    """The columns that look like tokens and tags."""
    tags: set[str] = field(default_factory=set)
    """In the column of the tags, in the first lines."""
    blocks: bool = False
    """Whether blank lines separate blocks, most of them of several lines."""
    even: bool = False
    """Whether all of the first lines have as many columns."""
    sure: bool = False
    """Whether these are tokens, and not plain text that could be taken for them."""

    @property
    def is_format(self) -> bool:
        """Whether this is a format whose columns are known."""
        return self.wider or self.names == list(CONLL_U)

    def split(self, line: str) -> list[str]:
        """The fields of a line."""
        if self.delimiter == BLANK:
            return BLANKS.split(line.strip(" \t"))
        if self.quoting and len(self.delimiter) == 1:
            try:
                return next(csv.reader([line], delimiter=self.delimiter), [])
            except csv.Error:
                return []  # which is refused like any line that has too few columns
        return line.split(self.delimiter)

    def is_break(self, line: str) -> bool:
        """Whether a line ends a sentence: it is blank, all of its fields are, or a document begins."""
        return is_blank(line.replace(self.delimiter, "")) or line.startswith(DOCSTART)

    def is_comment(self, line: str) -> bool:
        """Whether a line at the begin of a sentence is about it, and no token of it."""
        if not line.startswith("#"):
            return False
        fields = self.split(line)
        if len(fields) != self.width:
            return True
        column = self.seen.get(TAGS)
        return column is not None and fields[self.names.index(column)] not in self.tags

    def table(self, lines: Lines) -> Table:
        """The lines as rows, which also have the number of their block."""
        return Table(lines.name, self.names, Ahead(self._rows(lines)), self.kind, self.seen)

    def _rows(self, lines: Lines) -> Iterator[Row]:
        by = {"\t": "a tab", BLANK: "a blank"}.get(self.delimiter, repr(self.delimiter))
        block, header, begun = 0, self.header, False
        for number, line in lines:
            if self.is_break(line):
                begun = False
                continue
            if not begun and self.is_comment(line):
                continue
            if header:
                header = False
                continue
            where = f"{lines.name}, line {number}"
            fields = self.split(line)
            if len(fields) != self.width and not (self.wider and len(fields) > self.width):
                raise ElektronError(
                    f"{where}: {len(fields)} columns separated by {by}, "
                    f"other lines have {self.width}"
                )
            if self.names[0] == CONLL_U[0] and not fields[0].isdecimal():
                continue  # CoNLL-U's ranges such as 2-3 and empty nodes such as 5.1 are no tokens
            if not begun:
                begun, block = True, block + 1
            yield where, dict(zip(self.names, fields, strict=False)) | {BLOCK: block}


def find_token_lines(lines: Lines, request: Request, config: FilesConfig) -> TokenLines | None:
    """How these lines are laid out, taken as tokens; None where there is nothing.

    Raises:
        ElektronError: it is labelled data, and its columns or the ends of its sentences cannot be found.
    """
    sample = _sample(lines)
    form = TokenLines(_delimiter(sample, lines.suffix, config))
    form.quoting = form.delimiter in QUOTED if config.quoting is None else config.quoting
    content = [line for line in sample if not form.is_break(line)]
    content = [line for line in content if not line.startswith("#")] or content
    if not content:
        return None
    rows = [form.split(line) for line in content]
    form.width = max(1, Counter(map(len, rows)).most_common(1)[0][0])
    _name_columns(form, lines.name, sample, rows, request, config)
    if form.header:
        content, rows = content[1:], rows[1:]
    fitting = [row for row in rows if len(row) >= form.width]
    form.blocks = _stand_in_blocks(sample, form)
    _find_tokens_and_tags(form, fitting)
    form.even = all(len(row) == form.width or form.wider for row in rows)
    form.sure = form.even and (bool(request.asked) or _are_tokens(form, content, fitting))
    return form


def refuse_one_long_sentence(name: str, sample: Sequence[str], form: TokenLines) -> None:
    """Raise ElektronError where no blank line ends a sentence and there are plainly several."""
    rows = [line for line in sample if not line.startswith("#")][form.header :]
    while rows and form.is_break(rows[0]):
        rows.pop(0)
    while rows and form.is_break(rows[-1]):
        rows.pop()
    if any(form.is_break(line) for line in rows):
        return
    ends = sum(bool(SENTENCE_ENDS.intersection(form.split(line))) for line in rows[:-1])
    if len(rows) > LONGEST_SENTENCE or ends > 2:
        raise ElektronError(
            f"{name}: there is no blank line in {len(rows):,} lines, all of them would be one "
            "sentence: put a blank line after each sentence, or give the column of its number or id "
            "with --sentence"
        )


def samples_of(form: TokenLines, sample: Sequence[str]) -> str:
    """The columns with what the first line of a sentence has in them: `1 ('Bob'), 2 ('B-PER')`."""
    rows = [form.split(line) for line in sample if not form.is_break(line)][form.header :]
    first = next((row for row in rows if len(row) == form.width), [])
    return ", ".join(
        f"{name} ({value[:20]!r})" for name, value in zip(form.names, first, strict=False)
    )


def _sample(lines: Lines) -> list[str]:
    """The first lines; of standard input the first that is no comment of CoNLL-U, and what precedes it."""
    sample = lines.sample()
    while lines.is_stdin and sample and COMMENT.match(sample[-1]):
        longer = [line for _, line in lines.ahead(len(sample) + 1)]
        if len(longer) == len(sample):
            break
        sample = longer
    return sample


def _delimiter(sample: Sequence[str], suffix: str, config: FilesConfig) -> str:
    if config.delimiter is not None:
        return "\t" if config.delimiter == r"\t" else config.delimiter or BLANK
    lines = [line for line in sample if not is_blank(line) and not line.startswith("#")]
    candidates = ",;\t|" if suffix == ".csv" else "\t"
    counts = {by: sum(by in line for line in lines) for by in candidates}
    best = max(counts, key=lambda by: counts[by])
    return best if counts[best] > len(lines) / 2 else BLANK


def _name_columns(
    form: TokenLines,
    source: str,
    sample: Sequence[str],
    rows: Sequence[list[str]],
    request: Request,
    config: FilesConfig,
) -> None:
    first = [name.strip() for name in rows[0]]
    if sample[0].startswith(GLOBAL_COLUMNS):
        form.names = sample[0].removeprefix(GLOBAL_COLUMNS).split()
        form.kind = "CoNLL-U Plus, a token a line"
        if len(form.names) == form.width:
            return
    if sample[0].startswith(BEGIN_DOCUMENT) and form.width > 10:
        form.kind, form.wider, form.width = "CoNLL-2012, a token a line", True, 11
    elif form.width == len(CONLL_U) and all(CONLL_U_ID.fullmatch(row[0]) for row in rows):
        form.kind, form.names = "CoNLL-U, a token a line", list(CONLL_U)
        return
    by_name = bool(request.asked) and not request.only_numbers
    is_header = by_name or len(request.recognised(first)) > 1
    form.header = is_header if config.header is None else config.header
    form.names = [str(number + 1) for number in range(form.width)]
    if form.header and len(first) == form.width:
        form.names = [name or number for name, number in zip(first, form.names, strict=True)]
        refuse_duplicates(source, form.names)


def _find_tokens_and_tags(form: TokenLines, rows: Sequence[list[str]]) -> None:
    """Note which columns look like tokens and tags, where only one choice makes sense."""
    columns = [[row[index].strip() for row in rows] for index in range(form.width)]
    if form.names == list(CONLL_U):
        form.seen = {TOKENS: "FORM"}
        for name in ("XPOS", "UPOS"):
            if set(columns[CONLL_U.index(name)]) - NOTHING:
                form.seen[TAGS] = name
    elif form.wider:
        form.seen = {TOKENS: "4", TAGS: "11"}
    else:
        first = 0
        if _is_index(columns[0]) and (form.width > 2 or not _types(columns[-1])):
            first = min(1, form.width - 1)
        if form.width > 2 and len(rows) > 1 and _is_no_token(columns[first]):
            return
        form.seen = {TOKENS: form.names[first]}
        tags = _tag_column(columns, range(first + 1, form.width))
        if tags is not None:
            form.seen[TAGS] = form.names[tags]
    if TAGS in form.seen:
        form.tags = set(columns[form.names.index(form.seen[TAGS])])


def _is_index(column: Sequence[str]) -> bool:
    """Whether it counts the tokens of each sentence from 0 or 1."""
    if not all(value.isdecimal() and len(value) < 10 for value in column):
        return False
    numbers = [int(value) for value in column]
    return len(numbers) > 1 and all(
        number == before + 1 or number in (0, 1)
        for before, number in zip([-1, *numbers], numbers, strict=False)
    )


def _is_no_token(column: Sequence[str]) -> bool:
    """Whether it is the same in all lines or a number, such as that of the document or the sentence."""
    return len(set(column)) == 1 or all(value.isdecimal() for value in column)


def _tag_column(columns: Sequence[Sequence[str]], among: Sequence[int]) -> int | None:
    """The only column that may be tags; the last of several like BIO's, but the first of nested ones."""
    if len(among) == 1:
        return among[0]
    types = {index: _types(columns[index]) for index in among}
    like_bio = [index for index in among if types[index]]
    if like_bio:
        *_, last = like_bio
        nested = [index for index in like_bio if types[index] & types[last]]
        return nested[0]
    few = [index for index in among if _are_few(columns[index]) and set(columns[index]) - NOTHING]
    few = [index for index in few if "O" in columns[index]] or few
    return few[0] if len(few) == 1 else None


def _are_few(values: Sequence[str]) -> bool:
    return len(set(values)) <= len(values) / 2


def _types(column: Sequence[str]) -> set[str]:
    """The types of BIO's tags, without suffixes such as GermEval's `deriv`; none where others are among them."""
    if not all(BIO_TAG.fullmatch(tag) or tag in NOTHING for tag in column):
        return set()
    return {tag[2:5] for tag in column if tag[1:2] == "-"}


def _are_tokens(form: TokenLines, content: Sequence[str], rows: Sequence[list[str]]) -> bool:
    """Whether lines are tokens and not plain text: by their tags, or short and in blocks."""
    if form.is_format:
        return True
    if form.width == 1:
        return form.blocks and sum(map(len, content)) <= LONGEST_TOKEN * len(content)
    like_bio = bool(form.tags) and all(BIO_TAG.fullmatch(tag) for tag in form.tags)
    if form.blocks:
        tokens = form.names.index(form.seen.get(TOKENS, form.names[0]))
        others = list(zip(*rows, strict=False))[tokens + 1 :]
        return like_bio or tokens > 0 or any(map(_are_few, others))
    return like_bio and (form.delimiter == "\t" or any("-" in tag for tag in form.tags))


def _stand_in_blocks(sample: Sequence[str], form: TokenLines) -> bool:
    text = "\n".join("" if form.is_break(line) else line for line in sample).strip("\n")
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    several = sum("\n" in block for block in blocks)
    return len(blocks) > 1 and several > len(blocks) / 2
