"""Read files with one text per line: plain text, fastText, tagged sentences, and line-aligned files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from elektron.errors import ElektronError
from elektron.finetuning.config import TextFilesConfig
from elektron.finetuning.in_memory import Rows
from elektron.finetuning.readers.lines import STDIN, Lines, is_blank, open_lines
from elektron.finetuning.readers.records import Row, Table
from elektron.finetuning.readers.roles import Request
from elektron.io.datasets import HUB
from elektron.io.text import JSON_SUFFIXES, PARQUET_SUFFIXES, TABLE_SUFFIXES, file_suffix

FASTTEXT_PREFIX = "__label__"


def is_plain_text(lines: Lines, request: Request, config: TextFilesConfig) -> bool:
    """Whether each line is one text to predict for, rather than a row of a table.

    In plain text only tabs separate columns, and only where every line has one.
    """
    if request.labelled or lines.suffix in TABLE_SUFFIXES:
        return False
    if request.given or config.delimiter is not None or config.header is not None:
        return False
    content = lines.content
    if lines.is_stdin:
        return not any(request.recognised(line.split("\t")) for line in content if "\t" in line)
    return not content or not all("\t" in line for line in content)


def plain_text_table(lines: Lines, role: str) -> Table:
    """A row for each line, including blank lines, so that each line gets a prediction."""
    rows = ((f"{lines.name}, line {number}", {role: line}) for number, line in lines)
    return Table(lines.name, rows, f"plain text, one {role} per line", [role])


def is_fasttext(lines: Lines, request: Request) -> bool:
    """Whether the task reads `text` and all first lines begin with fastText's `__label__`."""
    role = request.only_role
    if request.given or role is None or role.name != "text" or lines.suffix in TABLE_SUFFIXES:
        return False
    return bool(lines.content) and all(line.startswith(FASTTEXT_PREFIX) for line in lines.content)


def fasttext_table(lines: Lines) -> Table:
    """The texts without their labels, and the labels as a list where any row may have several."""
    several = any(line.count(FASTTEXT_PREFIX) > 1 for line in lines.content)

    def parse(line: str, where: str) -> dict[str, Any]:
        words = line.split()
        labels = [word.removeprefix(FASTTEXT_PREFIX) for word in words if word.startswith(FASTTEXT_PREFIX)]
        text = " ".join(word for word in words if not word.startswith(FASTTEXT_PREFIX))
        return {"text": text, "label": labels if several or len(labels) > 1 else "".join(labels)}

    return _table(lines, parse, "fastText", ["text", "label"])


def are_tagged_sentences(content: Sequence[str], labelled: bool) -> bool:
    """Whether lines are tokens with spaces between them, a tab, and as many tags.

    Of the lines with several tokens or tags, at least half must have as many tags as tokens: otherwise each line may be
    one token with spaces in its tag. Most lines must have one tab; without labels, they must also have as many tags as
    tokens: otherwise they may be plain text with tabs.
    """
    rows = [line.split("\t") for line in content]
    pairs = [[split_spaces(part) for part in row] for row in rows if len(row) == 2]
    several = [(tokens, tags) for tokens, tags in pairs if len(tokens) > 1 or len(tags) > 1]
    misaligned = sum(len(tokens) != len(tags) for tokens, tags in several)
    if not any(len(tags) > 1 for _, tags in several) or misaligned > len(several) / 2:
        return False
    return len(pairs) - (0 if labelled else misaligned) > len(rows) / 2


def tagged_sentences_table(lines: Lines, labelled: bool) -> Table:
    """A row for each line that is not blank."""

    def parse(line: str, where: str) -> dict[str, Any]:
        tokens, *tags = map(split_spaces, line.split("\t"))
        if len(tags) > 1 or (labelled and not tags):
            raise ElektronError(f"{where}: must be tokens, one tab, tags; it has {len(tags)} tabs")
        return {"tokens": tokens, "tags": tags[0]} if tags else {"tokens": tokens}

    return _table(lines, parse, "one sentence per line: tokens, a tab, tags", ["tokens", "tags"])


def split_spaces(text: str) -> list[str]:
    """Split a text at spaces, but not at other white space."""
    return [part for part in text.split(" ") if part]


def _table(lines: Lines, parse: Callable[[str, str], dict[str, Any]], kind: str, columns: list[str]) -> Table:
    """A row for each line that is not blank; `parse` makes it from the line and its location."""
    located_lines = ((f"{lines.name}, line {number}", line) for number, line in lines if not is_blank(line))
    return Table(lines.name, ((where, parse(line, where)) for where, line in located_lines), kind, columns)


def are_aligned(sources: Sequence[str], request: Request) -> bool:
    """Whether the sources are a text file and one or several files that are aligned with it line by line.

    Raises:
        ElektronError: their suffixes show that they are several pairs of files.
    """
    if not request.labelled or request.given or not all(map(_is_text_file, sources)):
        return False
    source, target, *others = [file_suffix(Path(name)) for name in [*sources, "", ""]]
    if source != target and source in others:
        raise ElektronError(
            f"{len(sources)} text files, several of them with the ending {source}: give files that are "
            "aligned line by line, first the source, then the target, or several targets for the "
            "same source; or tables, with --source and --target for their columns"
        )
    return len(sources) > 1


def aligned_table(sources: Sequence[str], encoding: str | None) -> Table:
    """Each line of the first file as `source`, with the same line of the others as `target`."""
    files = [open_lines(name, encoding=encoding) for name in sources]

    def rows() -> Iterator[Row]:
        for number, lines in enumerate(zip_longest(*files), start=1):
            texts = ["" if line is None else line[1] for line in lines]
            filled = [name for name, text in zip(sources, texts, strict=True) if not is_blank(text)]
            if None in lines:
                if not filled:
                    continue  # blank lines at the end of one file
                raise ElektronError(
                    f"{sources[lines.index(None)]} ends before line {number:,} of {filled[0]}: "
                    "line-aligned files must have as many lines"
                )
            for name in sources:
                if name not in filled:
                    raise ElektronError(f"{name}, line {number}: empty: drop the line in all files")
            target = texts[1] if len(texts) == 2 else texts[1:]
            yield f"{sources[0]}, line {number}", {"source": texts[0], "target": target}

    return Table(" and ".join(sources), rows(), "aligned line by line", ["source", "target"])


def _is_text_file(source: str) -> bool:
    if source == STDIN or source.startswith(HUB) or isinstance(source, Rows):
        return False
    return file_suffix(Path(source)) not in JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES
