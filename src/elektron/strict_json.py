"""JSON as others read it: it has no word for infinity and for what is no number, but Python writes some."""

from __future__ import annotations

import json
import math
from typing import Any


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
