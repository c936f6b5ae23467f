"""Reads JSON files of unknown origin: a damaged file is a one-line error, and numbers are finite.

A file that exists but cannot be read is an error, because a page without it would look complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from elektron.errors import ElektronError
from elektron.io.files import MALFORMED, read_text, unreadable

# Far above any count or loss; larger integers have no floating-point counterpart.
LARGEST = 1e300
PREFIX = "predicted_"
"""Prefix of the names of predictions in `predictions.jsonl`."""
REMEDY = "restore the file, or remove it to leave it out of the report"

Record = dict[str, Any]
Content = TypeVar("Content")


def number(record: Record | None, name: str) -> float | None:
    """A finite number of a record; None if there is none."""
    return finite((record or {}).get(name))


def finite(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST else None


def group(record: Record | None, name: str) -> Record:
    """A mapping inside a record; empty if there is none."""
    value = (record or {}).get(name)
    return value if isinstance(value, dict) else {}


def mapping(content: Any) -> Record:
    """Return the content; raise TypeError if it is not a mapping."""
    if not isinstance(content, dict):
        raise TypeError("must hold a JSON object")
    return content


def flat(values: Record, prefix: str = "") -> Record:
    """Nested settings under dotted names."""
    flattened: Record = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flattened |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flattened


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that distinguish the folders."""
    paths = [folder.resolve().parts for folder in folders]
    shortest = 2 if "run" in {path[-1] for path in paths} else 1  # `run` says nothing without its parent folder
    for length in range(shortest, max(map(len, paths)) + 1):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def parse_json(text: str) -> Any:
    """Parse a JSON text; infinities, NaN and numbers beyond LARGEST become None."""
    return json.loads(
        text,
        parse_constant=lambda _: None,
        parse_float=lambda number: finite(float(number)),
        parse_int=lambda number: int(number) if len(number) < 300 else None,
    )


def read_json(path: Path, make: Callable[[Any], Content]) -> Content | None:
    """Read a JSON file and convert its content with `make`; None if there is no file.

    Raises:
        ElektronError: the file cannot be read, or `make` refuses its content.
    """
    try:
        return make(parse_json(read_text(path)))
    except FileNotFoundError:
        return None
    except ElektronError:
        raise
    except (OSError, *MALFORMED) as error:
        raise unreadable(path, error, REMEDY) from error


def read_lines(path: Path, growing: bool = False) -> Iterator[Record | None]:
    """Yield the object of each line of a JSON Lines file except empty lines; None for a damaged line.

    In a file that may be growing, a damaged last line without a line break is left out.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    yield mapping(parse_json(line))
                except (ValueError, TypeError, RecursionError):
                    if line.endswith("\n") or not growing:
                        yield None
    except OSError as error:
        raise unreadable(path, error, REMEDY) from error
