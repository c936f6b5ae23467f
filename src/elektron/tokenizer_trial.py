"""Whether a `tokenizer.json` of unknown origin can be used: if need be, tried in a process of its own, with limits.

Regular expressions can take for ever and normalizers can make a text a billion times as long, in a library
that cannot be interrupted and whose panics are no exceptions. A file with nothing of that kind is only loaded.

Run as a program this file does the trial; it stands on the `tokenizers` library alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
HARMLESS = {
    # Of the normalizers,
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Strip", "StripAccents"),
    # of the pre-tokenizers,
    *("BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "UnicodeScripts"),
    *("Whitespace", "WhitespaceSplit"),
    # and of what comes after.
    *("BertProcessing", "RobertaProcessing", "TemplateProcessing", "ByteFallback", "Fuse"),
    *("BPEDecoder", "WordPiece", "Sequence"),
}
"""Parts whose time and output are bounded, whatever their settings."""
SECONDS, BYTES = 10, 2 << 30
LONG, MOST_PROBES = 2000, 300
"""Characters of a probe, and how many there are of each kind."""
UNKNOWN = "\u0378"
"""A character that Unicode has not assigned."""
GROWTH = 20
"""Times as long as a text is, at most, what a normalizer makes of it: NFKD makes 18 characters of U+FDFA."""


def fault_of_tokenizer(path: Path, text: str) -> str | None:
    """What is wrong with the tokenizer in a file of this text; None if nothing is."""
    try:
        parts = [part for part in walk(described(json.loads(text))) if isinstance(part, dict)]
    except (ValueError, AttributeError, RecursionError) as error:
        return str(error)
    if all(str(part.get("type", "Sequence")) in HARMLESS for part in parts):
        return fault_of_loading(path)
    return fault_in_trial(path, path.stat().st_mtime_ns)


def described(content: Any) -> list[Any]:
    """What a tokenizer's file says of how a text is changed and cut."""
    return [content.get(section) for section in SECTIONS]


def walk(value: Any) -> Iterator[Any]:
    """A value of JSON and all within it."""
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from walk(inner)


def fault_of_loading(path: Path) -> str | None:
    """What is wrong with a file that is safe to load."""
    try:
        Tokenizer.from_file(str(path)).encode(f"a{UNKNOWN}", UNKNOWN)
    except BaseException as error:
        # Its errors have no class of their own, and its panics are no Exception.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return str(error)
    return None


@cache
def fault_in_trial(path: Path, _modified: int) -> str | None:
    """What another process found when it tried the tokenizer."""
    try:
        tried = subprocess.run(
            [sys.executable, "-I", __file__, str(path)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=12 * SECONDS,  # on a busy machine
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "short texts take it minutes"
    if tried.returncode == 0:
        return None
    if tried.returncode < 0:
        return "short texts take it more time or memory than any tokenizer needs"
    lines = tried.stderr.strip().splitlines() or [f"status {tried.returncode}"]
    return f"it fails on short texts: {lines[-1]}"


def probes(content: Any) -> Iterator[str]:
    """Short texts that are awkward for the patterns of this tokenizer."""
    patterns = {text for text in walk(described(content)) if isinstance(text, str) and text}
    characters = sorted(set("".join(patterns)) | set("a0 .\n-é中"))
    literals = {text for pattern in patterns for text in re.findall(r"[\w ]{2,}", pattern)}
    # Behind it all characters, so that a search does not give up at once for want of one.
    end = UNKNOWN + "".join(characters)[:LONG]
    for repeated in (*characters[:MOST_PROBES], *sorted(patterns | literals)[:MOST_PROBES]):
        yield repeated * max(1, LONG // len(repeated)) + end
    yield "".join(characters) * max(1, LONG // len(characters))


def try_out(path: Path) -> None:
    """Load the tokenizer and encode the probes, within the limits."""
    try:
        import resource
    except ImportError:  # on Windows, where the parent's patience is the limit
        pass
    else:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    for probe in probes(json.loads(path.read_text(encoding="utf-8"))):
        normalizer = tokenizer.normalizer
        if normalizer and len(normalizer.normalize_str(probe)) > GROWTH * len(probe):
            raise SystemExit(f"its normalizer makes more than {GROWTH} times as much of a text")
        tokenizer.encode(probe)


if __name__ == "__main__":
    try_out(Path(sys.argv[1]))
