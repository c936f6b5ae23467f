"""SHA-256 checksums of the weights and tokenizers of a saved model; the format of transformers has none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from elektron.io.files import MALFORMED, apply_umask, atomic_write, read_json, unreadable

CHECKSUMS = "checksums.json"
COVERED = ("*.safetensors", "onnx/*", "tokenizer.json", "*/tokenizer.json")
"""Patterns of the files that get a checksum: those that nobody edits by hand. A target tokenizer is in a subfolder."""
ADVICE = "restore it"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """The SHA-256 of a text in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_checksums(folder: Path) -> None:
    """Write the checksums of a model's weights and tokenizers, and set the permissions of its files by the umask."""
    files = sorted({path for pattern in COVERED for path in folder.glob(pattern)})
    digests = {str(path.relative_to(folder)): file_sha256(path) for path in files}
    atomic_write(folder / CHECKSUMS, json.dumps({"sha256": digests}, indent=1))
    apply_umask(folder)


def checksum_faults(folder: Path) -> dict[Path, str]:
    """A message for each file that is missing, unreadable or damaged; empty if the folder has no checksums."""
    try:
        expected = dict(read_json(folder / CHECKSUMS)["sha256"])
    except FileNotFoundError:
        return {}
    except (OSError, *MALFORMED) as error:
        return {folder / CHECKSUMS: str(unreadable(folder / CHECKSUMS, error, ADVICE))}
    faults = {}
    for name, checksum in expected.items():
        path = folder / name
        try:
            if file_sha256(path) != checksum:
                faults[path] = f"{path} is damaged (its checksum does not match): {ADVICE}"
        except FileNotFoundError:
            faults[path] = f"{path} is missing: {ADVICE}"
        except OSError as error:
            faults[path] = str(unreadable(path, error, ADVICE))
    return faults
