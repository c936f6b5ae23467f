"""Lists and objects that a table holds as text: as JSON, as Python's repr, or as numpy's."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
STRINGS = re.compile(rf"({STRING})(\s+(?=['\"]))?|['\"].*", re.DOTALL)
"""A string and the white space between it and another one, where numpy has no comma; or one without an end."""


def literal(text: str) -> Any:
    """The list or object that a text is the JSON or repr of, else None."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}", "()"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    separated = STRINGS.sub(lambda found: f"{found[1]}," if found[2] else found[0], text)
    try:
        value = _value(ast.parse(separated, mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list | dict) else None


def parsed(value: Any) -> Any:
    """The list or object that a text is written as, else the value itself."""
    found = literal(value) if isinstance(value, str) else None
    return value if found is None else found


def _value(node: ast.expr) -> Any:
    """The value of an expression without names or operators; `array(…)` is its list."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            # `**other` has no key.
            names = [str(_value(key)) for key in keys if key is not None]
            return dict(zip(names, map(_value, values), strict=True))
        case ast.Call(func=ast.Name(id="array"), args=[items]):
            return _value(items)
    raise ValueError("no list or object of constants")
