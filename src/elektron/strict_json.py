"""JSON as others read it: it has no word for infinity and for what is no number, but Python writes some."""

from __future__ import annotations

import json
import math
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def as_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON, with null in the place of numbers that are not finite; on one line without `indent`."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        finite = _finite(value)
        return json.dumps(finite, indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return list(map(_finite, value)) if isinstance(value, list | tuple) else value


def typed_value(value: Any, hint: Any, where: str) -> Any:
    """A value from a JSON file, checked against a type; objects become the dataclasses that the type names.

    Args:
        value: as `json.loads` returns it.
        hint: a type: of a dataclass, list, tuple, dict with text as keys, Literal, union, or a plain type.
        where: the name of the value, for messages.

    Raises:
        TypeError: a dataclass lacks a field.
        ValueError: the value is of another type, or has an unknown field.
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        hints = get_type_hints(hint)
        for name in value.keys() - hints.keys():
            raise ValueError(f"{where} has an unknown {name!r:.80}")
        return hint(**{name: typed_value(v, hints[name], name) for name, v in value.items()})
    if kind is list and isinstance(value, list):
        return [typed_value(item, inner[0], where) for item in value]
    if kind is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(
            typed_value(item, each, where) for item, each in zip(value, inner, strict=True)
        )
    if kind is dict and isinstance(value, dict):
        return {name: typed_value(item, inner[1], name) for name, item in value.items()}
    if kind in (Union, UnionType):
        plain = value is None or not isinstance(value, dict | list)
        fitting = [each for each in inner if not plain or type(value) is each]
        fitting += [float] if type(value) is int and float in inner else []
        if not fitting:
            raise ValueError(f"{where} is of another type")
        return typed_value(value, fitting[0], where)
    if kind is Literal:
        fits = value in inner
    else:
        fits = hint is Any or type(value) is hint or (hint is float and type(value) is int)
    if not fits:
        raise ValueError(f"{where} is of another type")
    return value
