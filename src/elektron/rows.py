"""Rows out of text that streams: values of JSON, and tables whose fields quotation marks enclose."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from elektron.errors import ElektronError
from elektron.reading import (
    LONGEST_FIELD,
    first_line,
    json_object,
    split_lines,
    with_bounded_lines,
)

BETWEEN_VALUES = re.compile(r"[ \t\r\n,]*")


def json_values(name: str, chunks: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON file, each with its place for messages.

    A file is one object a line, or an array of objects or texts, or objects over several lines. It is never
    read whole.

    Raises:
        ElektronError: it is none of these.
    """
    first = next(chunks, "")
    chunks = chain([first], chunks)
    beginning = first.lstrip()
    line = beginning.partition("\n")[0]
    if beginning.startswith("[") or (line.startswith("{") and _is_cut_off(line)):
        values = _json_document(name, chunks, in_array=beginning.startswith("["))
        for number, value in enumerate(values, start=1):
            where = f"{name}, row {number}"
            if not isinstance(value, dict | str):
                raise ElektronError(f"{where}: neither a JSON object nor a text")
            yield where, value
        return
    for number, line in enumerate(split_lines(with_bounded_lines(name, chunks)), start=1):
        if line and not line.isspace():
            where = f"{name}, line {number}"
            yield where, json_object(line, where)


def _is_cut_off(line: str) -> bool:
    """Whether this is the beginning of a JSON value that goes on on the next line."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line.rstrip()) - 1
    except RecursionError:
        pass
    return False


def _json_document(name: str, chunks: Iterator[str], in_array: bool) -> Iterator[Any]:
    """The values of a JSON array, or values that follow one another."""
    decoder = json.JSONDecoder()
    text, needed = "", 0
    begun = not in_array
    for chunk in chain(chunks, [""]):
        text += chunk
        if chunk and len(text) < needed:
            continue
        place = 0
        while True:
            place = BETWEEN_VALUES.match(text, place).end()  # type: ignore[union-attr]  # always matches
            if not begun:
                begun, place = True, place + 1
                continue
            if place == len(text) or (in_array and text[place] == "]"):
                break
            try:
                value, end = decoder.raw_decode(text, place)
            except (ValueError, RecursionError) as error:
                if not chunk or len(text) - place > LONGEST_FIELD:
                    raise ElektronError(f"{name}: not valid JSON ({first_line(error)})") from error
                break
            if end == len(text) and chunk:
                break  # a number may go on
            place = end
            yield value
        if in_array and text[place : place + 1] == "]":
            if text[place + 1 :].strip() or next(chunks, "").strip():
                raise ElektronError(f"{name}: there is more behind the end of the JSON array")
            return
        text = text[place:]
        needed = 2 * len(text)
    if in_array:
        raise ElektronError(f"{name}: the JSON array has no end: is the file cut off?")


def quoted_rows(
    name: str, lines: Iterable[str], delimiter: str, advice: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table whose fields may be enclosed in quotation marks, with the number of their first line.

    Args:
        name: of the file, for messages.
        lines: without their ends.
        delimiter: what stands between fields.
        advice: what to do where quotation marks do not enclose fields.

    Raises:
        ElektronError: a quotation mark is never closed, or stands where none can.
    """
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise ElektronError(f"{name}, line {number}: {_complaint(error)}{advice}") from error
        if fields is None:
            return
        if len(fields) > 1 or (fields and not fields[0].isspace()):
            yield number, fields


def _complaint(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end" in said or "field limit" in said:
        return "a quotation mark is opened here and never closed"
    if "expected after" in said:
        return "a quotation mark inside a field is not doubled"
    if "new-line" in said:
        return "a carriage return stands outside quotation marks: mend the line"
    return f"not valid csv ({said})"
