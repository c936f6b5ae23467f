"""Read text files with a size limit, convert values from and to JSON, read YAML, and write files atomically."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from elektron.errors import ElektronError, first_line

MALFORMED = (ValueError, KeyError, TypeError, RecursionError, ElektronError)
"""Exceptions that may be raised when a JSON file is read whose content is damaged or unexpected."""
MAX_TEXT_BYTES = 1 << 28
"""Size limit of files that are read at once; even the manifest of ten billion rows is smaller."""
HEAD_BYTES = 1 << 20
"""`refuse_foreign` searches this many bytes for the marker."""
PARTIAL = ".partial"


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """Read a text file in UTF-8.

    Raises:
        ElektronError: it has more than `max_bytes`, by default MAX_TEXT_BYTES.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not text.
    """
    max_bytes = max_bytes or MAX_TEXT_BYTES
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ElektronError(
            f"{path}: larger than {max_bytes:,} bytes, the limit for this kind of file: is it the right one?"
        )
    return content.decode()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises as `read_text` and `parse_json_object`."""
    return parse_json_object(read_text(path))


def parse_json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError for anything else."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def unreadable(path: Path, error: Exception, advice: str) -> ElektronError:
    """The error to raise for a file that could not be read.

    An OSError (permissions, a failing disk) says nothing about the content. Any other error means that the
    content is damaged, and only then does the message give the advice.
    """
    if isinstance(error, OSError):
        return ElektronError(f"{path} cannot be read ({error.strerror})")
    return ElektronError(f"{path} is damaged ({first_line(error)}): {advice}")


def check_readable(path: Path) -> None:
    """Raise ElektronError if a file cannot be opened; a library might report it as missing instead."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error, "") from error


def to_json(value: Any, indent: int | None = None) -> str:
    """Serialize a value to JSON.

    Dataclasses become objects, and paths become strings. Infinities and NaN, which JSON does not have, become null.
    """
    return json.dumps(_jsonable(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if is_dataclass(value):
        return _jsonable(vars(value))
    return str(value) if isinstance(value, Path) else value


def from_json(value: Any, hint: Any, where: str, lenient: bool = False) -> Any:
    """Convert a value from a JSON file to a type, and check it; objects become dataclasses.

    Args:
        value: as `json.loads` returns it.
        hint: the expected type: a dataclass, list, tuple, dict with string keys, Literal, union, or plain type.
        where: the name of the value, for error messages.
        lenient: whether to ignore unknown fields of dataclasses and dict entries of another type, and to use
            the default of a field that is null.

    Raises:
        ValueError: the value is of another type, has an unknown field, or lacks one.
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return hint(**_fields_from_json(value, hint, where, lenient))
    if origin is list and isinstance(value, list):
        return [from_json(item, arguments[0], where, lenient) for item in value]
    if origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(from_json(item, type_, where, lenient) for item, type_ in zip(value, arguments, strict=True))
    if origin is dict and isinstance(value, dict):
        items = {}
        for name, item in value.items():
            try:
                items[name] = from_json(item, arguments[1], name, lenient)
            except ValueError:
                if not lenient:
                    raise
        return items
    if origin in (Union, UnionType):
        candidates = [type_ for type_ in arguments if isinstance(value, dict | list) or type(value) is type_]
        if type(value) is int and float in arguments:
            candidates.append(float)
        if candidates:
            return from_json(value, candidates[0], where, lenient)
    accepts_int = hint is float and type(value) is int
    if hint is Any or type(value) is hint or accepts_int or (origin is Literal and value in arguments):
        return value
    raise ValueError(f"{where} must be a list" if origin is list else f"{where} is of another type")


def _fields_from_json(value: dict[str, Any], cls: type, where: str, lenient: bool) -> dict[str, Any]:
    hints = get_type_hints(cls)
    if not lenient and (unknown := value.keys() - hints.keys()):
        raise ValueError(f"{where} has an unknown {min(unknown)!r:.80}")
    values = {}
    for field in fields(cls):
        required = field.default is field.default_factory is MISSING
        if required and field.name not in value:
            raise ValueError(f"{where} has no {field.name!r}")
        item = value.get(field.name)
        if required or item is not None or (field.name in value and not lenient):
            values[field.name] = from_json(item, hints[field.name], field.name, lenient)
    return values


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` when the block ends without an exception.

    If `path` is a symbolic link, its target is replaced. A device or a pipe is written to directly.

    Raises:
        OSError: nothing can be written there.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = resolve_link(path)
    partial = target.with_name(f".{target.name}{PARTIAL}")
    try:
        yield partial
        fsync(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    fsync(target.parent)


def atomic_write(path: Path, text: str) -> None:
    """Write a text file; one that exists is replaced as a whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys; yaml.SafeLoader would use the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        str(value)  # raises ValueError if a hexadecimal number has too many digits for messages
        return value


_UniqueKeys.add_constructor("tag:yaml.org,2002:int", _UniqueKeys.construct_yaml_int)


def read_yaml_file(path: Path) -> Any:
    """The content of a YAML file. Raises ElektronError if it cannot be read, is not YAML, or has a duplicate key."""
    try:
        return _UniqueKeys(read_text(path)).get_single_data()
    except FileNotFoundError:
        raise ElektronError(f"{path}: no such file") from None
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ElektronError(f"{path}: not a text file in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ElektronError(f"{path}{line}: not valid YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # The safe loader raises the last four for ill-formed tags and dates, and for nesting that is too deep.
        raise ElektronError(f"{path}: not valid YAML ({type(error).__name__})") from error


def refuse_foreign(path: Path, marker: bytes) -> None:
    """Raise ElektronError if `path` is a file that is not empty and lacks the marker of files written by Elektron."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head and marker not in head:
        raise ElektronError(f"{path} exists and was not written by this command: move it away, or give another name")


def resolve_link(path: Path) -> Path:
    """The target of a symbolic link, even if it does not exist yet; any other path unchanged."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def make_parents(path: Path) -> None:
    """Create the parent folders of a path, and sync the new ones to disk."""
    new = list(itertools.takewhile(lambda folder: not folder.exists(), path.parents))
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in new:
        fsync(folder.parent)


def apply_umask(folder: Path) -> None:
    """Set the permissions of all files in a folder by the umask; safetensors makes them readable by the owner only."""
    sample = folder / ".mode"  # reading the umask would change it for a moment, for all threads
    sample.touch()
    mode = sample.stat().st_mode & 0o666
    sample.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            with suppress(PermissionError):  # some file systems have no modes
                path.chmod(mode)


def fsync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
