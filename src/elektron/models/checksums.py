"""Checksums beside a model that was saved here, since transformers' format has none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from elektron.bounded import MALFORMED, object_in, read_text, unreadable
from elektron.folders import give_usual_modes, write_whole

CHECKSUMS = "checksums.json"
SEALED = ("*.safetensors", "**/tokenizer.json")
"""What nobody edits by hand."""


def digest(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write down the checksums of a model's weights and tokenizers, and give its files the usual modes."""
    files = sorted({path for pattern in SEALED for path in folder.glob(pattern)})
    digests = {str(path.relative_to(folder)): digest(path) for path in files}
    write_whole(folder / CHECKSUMS, json.dumps({"sha256": digests}, indent=1))
    give_usual_modes(folder)


def checksum_faults(folder: Path) -> dict[Path, str]:
    """A line for every file that is not what was written; none where nothing was written down."""
    path = folder / CHECKSUMS
    try:
        expected = dict(object_in(read_text(path))["sha256"])
    except FileNotFoundError:
        return {}
    except (OSError, *MALFORMED) as error:
        return {path: str(unreadable(path, error, "restore it"))}
    faults = {}
    for path, checksum in ((folder / name, checksum) for name, checksum in expected.items()):
        try:
            if digest(path) != checksum:
                faults[path] = f"{path} is damaged (not what was written): restore it"
        except FileNotFoundError:
            faults[path] = f"{path} is missing: restore it"
        except OSError as error:
            faults[path] = str(unreadable(path, error, "restore it"))
    return faults
