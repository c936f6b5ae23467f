"""The exception that the command line prints as a message without a traceback, and parts of such messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

MAX_COMPARED = 10_000
"""Largest number of names that are compared with a misspelt one; more could take minutes."""
MAX_LISTED = 40
"""Largest number of names that a message lists."""
CUTOFF = 0.6
"""Least similarity of a name that is suggested; difflib's default."""


class ElektronError(Exception):
    """Bad input or an impossible request; the message is one line: what, where, what to do.

    The command line prints it and exits with status 2. Raise it before anything is written, or
    where what has been written is complete.
    """


class AlreadyReportedError(ElektronError):
    """An error that rank 0 has logged: this process exits with the same status and prints nothing."""


@contextmanager
def requires_extra(extra: str, what: str) -> Iterator[None]:
    """Context for imports of optional packages, which an extra of this package installs.

    Args:
        extra: name of the extra.
        what: the feature that needs the packages, for the message.

    Raises:
        ElektronError: a package is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or "a package").partition(".")[0]
        raise ElektronError(
            f"{what} needs {missing}, which is not installed: pip install 'elektron[{extra}]'"
        ) from error


def did_you_mean(
    name: str, names: Iterable[str], label: Callable[[str], str] = str, dotted: bool = False, cutoff: float = CUTOFF
) -> str:
    """`: did you mean X?` with the names most similar to `name`, or nothing where none is similar.

    Args:
        name: the misspelt name.
        names: the valid names.
        label: turns a valid name into its form in the message.
        dotted: the last part of a dotted name may match alone: `beta1` finds `optimizer.beta1`.
        cutoff: least similarity, from 0 to 1.
    """
    scores = {}
    for candidate in islice(names, MAX_COMPARED):
        pairs = [(name, candidate)]
        if dotted:
            pairs.append((name.rpartition(".")[2], candidate.rpartition(".")[2]))
        scores[candidate] = max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)
    best = max(scores.values(), default=0.0)
    if best < cutoff:
        return ""
    nearest = [label(candidate) for candidate, score in scores.items() if score == best]
    return f": did you mean {' or '.join(nearest[:3])}?"


def suggest_path(path: Path) -> str:
    """`did_you_mean` for a path that does not exist: similar names in its deepest folder that exists."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    if not missing.parent.is_dir():
        return ""
    names = [entry.name for entry in missing.parent.iterdir()]
    return did_you_mean(missing.name, names, label=lambda name: str(missing.parent / name))


def first_line(error: BaseException) -> str:
    """The message of an exception, on one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def comma_list(names: Iterable[str]) -> str:
    """Names on one line for a message: long names are cut, and only the first MAX_LISTED are listed."""
    flat = [" ".join(name.split()) for name in names]
    listed = [name if len(name) <= 30 else name[:29] + "…" for name in flat[:MAX_LISTED]]
    more = len(flat) - MAX_LISTED
    return ", ".join(listed) + (f" and {more:,} more" if more > 0 else "")
