"""How files of unknown origin are read: damage is an error of one line, and figures are finite.

What a file holds is data: `number` knows nothing but finite numbers, `group` nothing but mappings,
and a file that is there but cannot be read is an error, because a page without it would look whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from elektron.errors import ElektronError
from elektron.io.files import read_text

# Far above any count or loss; larger whole numbers have no floating-point counterpart.
LARGEST = 1e300

# The default name of a run's folder, which tells nothing without the folder around it.
UNTOLD = "run"

Record = dict[str, Any]
Content = TypeVar("Content")


def number(record: Record | None, name: str) -> float | None:
    """A finite number out of a record, or None where there is none."""
    value = (record or {}).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST else None


def group(record: Record | None, name: str) -> Record:
    """A mapping inside a record; empty where there is none."""
    value = (record or {}).get(name)
    return value if isinstance(value, dict) else {}


def flat(values: Record, prefix: str = "") -> Record:
    """Nested settings under dotted names."""
    named: Record = {}
    for name, value in values.items():
        if isinstance(value, dict):
            named |= flat({str(key): inner for key, inner in value.items()}, f"{prefix}{name}.")
        else:
            named[f"{prefix}{name}"] = value
    return named


def told_apart(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the folders apart."""
    paths = [folder.resolve().parts for folder in folders]
    shortest = 2 if UNTOLD in {path[-1] for path in paths} else 1
    for length in range(shortest, max(map(len, paths)) + 1):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def read_json(path: Path, make: Callable[[Any], Content]) -> Content | None:
    """What `make` makes of a JSON file, or None where there is no file."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ElektronError(f"{path}: not a text file in UTF-8: {_WITHOUT}") from None
    try:
        # Infinities and NaN are no JSON, but Python writes them.
        content = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ElektronError(f"{path}: not valid JSON ({error}): {_WITHOUT}") from None
    try:
        return make(content)
    except KeyError as error:
        raise ElektronError(f"{path}: has no {error}: {_WITHOUT}") from None
    except (TypeError, ValueError) as error:
        raise ElektronError(f"{path}: {error}: {_WITHOUT}") from None


_WITHOUT = "restore the file, or move it away and the report does without it"


def mapping(content: Any) -> Record:
    """The content, which must be a mapping."""
    if not isinstance(content, dict):
        raise TypeError("must hold a JSON object")
    return content


def listed(content: Any, what: str) -> list[Any]:
    """The content, which must be a list."""
    if not isinstance(content, list):
        raise TypeError(f"{what} must be a list")
    return content


def required_number(content: Any, name: str) -> float:
    """A finite number that must be there."""
    value = number(mapping(content), name)
    if value is None:
        raise TypeError(f"{name} must be a number")
    return value
