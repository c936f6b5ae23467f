"""Text files that are read whole, but never more of them than such a file can hold.

Manifests, settings and counters are small. A file in their place that is not, or that never ends,
is refused before it takes memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elektron.errors import ElektronError

MALFORMED = (ValueError, KeyError, TypeError, RecursionError, ElektronError)
"""What reading a small file of JSON may raise that was damaged or made up."""
LARGEST_TEXT = 1 << 28
"""Bytes: the manifest of ten billion rows has less, and nothing else comes near."""


def read_text(path: Path, most: int | None = None) -> str:
    """The text of a file in UTF-8.

    Raises:
        ElektronError: it has more than `most` bytes, or LARGEST_TEXT.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not text.
    """
    most = most or LARGEST_TEXT
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ElektronError(
            f"{path}: more than {most:,} bytes, which no such file has: is it the right one?"
        )
    return content.decode()


def unreadable(path: Path, error: Exception, cure: str) -> ElektronError:
    """One line about a file that could not be read.

    What the system refuses (permissions, a failing disk) says nothing of the file itself: only where the
    content was read and is wrong is the file damaged, and is there anything to cure.
    """
    if isinstance(error, OSError):
        return ElektronError(f"{path} cannot be read ({error.strerror})")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return ElektronError(f"{path} is damaged ({reason}): {cure}")


def refuse_inaccessible(path: Path) -> None:
    """Raise ElektronError if a file cannot be opened, before a library says that there is none."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error, "") from error


def object_in(text: str) -> dict[str, Any]:
    """The JSON object that a text is.

    Raises:
        ValueError: it is something else, or nested without end.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content
