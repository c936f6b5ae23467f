"""Bounded reading of JSON files of unknown origin: damage is a one-line error, and numbers are finite.

A file that exists but cannot be read is an error, because a page without it would look complete.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from elektron.errors import ElektronError
from elektron.io.files import read_text

# Far above any count or loss; larger integers have no floating-point counterpart.
LARGEST = 1e300
# The usual name of a run's folder, which says nothing without its parent.
UNINFORMATIVE = "run"
PREFIX = "predicted_"
"""Before the name of a prediction in `predictions.jsonl`."""
REMEDY = "restore the file, or move it away and the report does without it"

Record = dict[str, Any]
Content = TypeVar("Content")


def number(record: Record | None, name: str) -> float | None:
    """A finite number of a record, or None where there is none."""
    return finite((record or {}).get(name))


def finite(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST else None


def group(record: Record | None, name: str) -> Record:
    """A mapping inside a record; empty where there is none."""
    value = (record or {}).get(name)
    return value if isinstance(value, dict) else {}


def mapping(content: Any) -> Record:
    """The content, which must be a mapping."""
    if not isinstance(content, dict):
        raise TypeError("must hold a JSON object")
    return content


def flat(values: Record, prefix: str = "") -> Record:
    """Nested settings under dotted names."""
    found: Record = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that distinguish the folders."""
    paths = [folder.resolve().parts for folder in folders]
    shortest = 2 if UNINFORMATIVE in {path[-1] for path in paths} else 1
    for length in range(shortest, max(map(len, paths)) + 1):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def parse_json(text: str) -> Any:
    """A JSON text; infinities and NaN, which Python writes but JSON does not have, become None."""
    return json.loads(text, parse_constant=lambda _: None)


def read_json(path: Path, make: Callable[[Any], Content]) -> Content | None:
    """What `make` makes of a JSON file, or None where there is no file.

    Raises:
        ElektronError: the file cannot be read, or `make` refuses its content.
    """
    try:
        return make(parse_json(read_text(path)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        reason = "not a text file in UTF-8"
    except (json.JSONDecodeError, RecursionError) as error:
        reason = f"not valid JSON ({error})"
    except KeyError as error:
        reason = f"has no {error}"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise ElektronError(f"{path}: {reason}: {REMEDY}")


def read_lines(path: Path, growing: bool = False) -> Iterator[Record | None]:
    """The objects of a file of JSON lines, empty lines left out; None for a line that is damaged.

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
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error


def parsed(hint: Any, value: Any, where: str = "the file") -> Any:
    """JSON content as a type: a dataclass, list, dict, tuple, optional or plain type.

    Fields that a dataclass does not have are ignored, and so are entries of a dict of numbers that
    are not finite numbers, or of a dict of tuples that have another length.

    Raises:
        TypeError: a value is of another type.
        ValueError: a tuple has another length.
        KeyError: a field without a default is missing.
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _parsed_dataclass(hint, mapping(value))
    if kind is UnionType:
        return _parsed_optional(inner[0], value, where)
    if kind is list:
        if not isinstance(value, list | None):
            raise TypeError(f"{where} must be a list")
        return [parsed(inner[0], item, where) for item in value or []]
    if kind is dict:
        return _parsed_dict(inner[1], value if isinstance(value, dict) else {})
    if kind is tuple:
        ends = value if isinstance(value, list) else []
        return tuple(parsed(each, end, where) for each, end in zip(inner, ends, strict=True))
    if kind in (int, float):
        if (found := finite(value)) is None:
            raise TypeError(f"{where} must be a number")
        return kind(found)
    if kind is str:
        return "" if value is None else str(value)
    return bool(value) if kind is bool else value


def _parsed_dataclass(cls: type, content: Record) -> Any:
    hints, values = get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        required = field.default is field.default_factory is dataclasses.MISSING
        if content.get(field.name) is not None or required:
            values[field.name] = parsed(hints[field.name], content[field.name], field.name)
    return cls(**values)


def _parsed_optional(hint: Any, value: Any, where: str) -> Any:
    """None where there is nothing: null, an empty object or text, no finite number."""
    if hint in (int, float) and finite(value) is None:
        return None
    return parsed(hint, value, where) if value or value == 0 else None


def _parsed_dict(hint: Any, content: Record) -> Record:
    found = {}
    for name, value in content.items():
        try:
            found[str(name)] = parsed(hint, value, str(name))
        except (TypeError, ValueError):
            if dataclasses.is_dataclass(hint):
                raise
    return found
