"""What is wrong with a model's folder, without loading the model.

Models that were saved here have checksums of their weights and tokenizers. Of others, in transformers'
format, what can be told is whether every file that should be there is, whether the header of the weights
accounts for every byte behind it, and whether JSON is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from elektron.bounded import read_text, refuse_inaccessible, unreadable
from elektron.errors import ElektronError
from elektron.models.checksums import checksum_faults
from elektron.reading import first_line

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"


def model_faults(folder: Path) -> Iterator[str]:
    """A line for every file of a model that is missing or cannot be what was written."""
    found = checksum_faults(folder)
    yield from found.values()
    if not (folder / CONFIG).is_file():
        yield f"{folder / CONFIG} is missing: export the model again"
    tensors = {path: tensor_names(path) for path in sorted(folder.glob("*.safetensors"))}
    yield from (
        fault for path, fault in tensors.items() if isinstance(fault, str) and path not in found
    )
    for path in sorted({*folder.glob("**/*.json")} - found.keys()):
        yield from json_faults(path)
    if (folder / SHARDS).is_file():
        yield from _shard_faults(folder, tensors)
    elif folder / WEIGHTS not in tensors and folder / WEIGHTS not in found:
        yield f"{folder / WEIGHTS} is missing: export the model again"


def tensor_names(path: Path) -> set[str] | str:
    """The names in a file of tensors whose header accounts for every byte, or a line about its fault.

    The header is bounded by the library, and nothing behind it is read.
    """
    try:
        refuse_inaccessible(path)
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except ElektronError as error:
        return str(error)
    except (OSError, SafetensorError) as error:
        return f"{path} is damaged ({first_line(error)})"


def json_faults(path: Path) -> Iterator[str]:
    """A line if a file is not JSON."""
    try:
        json.loads(read_text(path))
    except ElektronError as error:
        yield str(error)
    except (OSError, ValueError, RecursionError) as error:
        yield str(unreadable(path, error, "restore it"))


def _shard_faults(folder: Path, tensors: dict[Path, set[str] | str]) -> Iterator[str]:
    """Weights in several files: each must be where the index says."""
    try:
        index: dict[str, Any] = json.loads(read_text(folder / SHARDS))
        places = {str(name): folder / str(file) for name, file in index["weight_map"].items()}
    except (ElektronError, OSError, ValueError, RecursionError):
        return  # said already: it is not JSON
    except (TypeError, KeyError, AttributeError):
        yield f"{folder / SHARDS} is damaged (no weight_map)"
        return
    for path in sorted(set(places.values()) - set(tensors)):
        yield f"{path} is missing: export the model again"
    for name, path in places.items():
        there = tensors.get(path)
        if isinstance(there, set) and name not in there:
            yield f"{path} lacks the tensor {name}, which {SHARDS} places there"
