"""What is wrong with a model's folder, without loading the model.

The folders are transformers', which keep no checksums: what can be told is whether every file that
should be there is, whether the header of the weights accounts for every byte behind it, and whether
JSON is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from elektron.bounded import read_text
from elektron.errors import ElektronError
from elektron.reading import first_line

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"


def model_faults(folder: Path) -> Iterator[str]:
    """A line for every file of a model that is missing or cannot be what was written."""
    if not (folder / CONFIG).is_file():
        yield f"{folder / CONFIG} is missing: export the model again"
    tensors = {path: tensor_names(path) for path in sorted(folder.glob("*.safetensors"))}
    yield from (fault for fault in tensors.values() if isinstance(fault, str))
    for path in sorted(folder.glob("**/*.json")):
        yield from json_faults(path)
    if (folder / SHARDS).is_file():
        yield from _shard_faults(folder, tensors)
    elif folder / WEIGHTS not in tensors:
        yield f"{folder / WEIGHTS} is missing: export the model again"


def tensor_names(path: Path) -> set[str] | str:
    """The names in a file of tensors whose header accounts for every byte, or a line about its fault.

    The header is bounded by the library, and nothing behind it is read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        return f"{path} is damaged ({first_line(error)})"


def json_faults(path: Path) -> Iterator[str]:
    """A line if a file is not JSON."""
    try:
        json.loads(read_text(path))
    except ElektronError as error:
        yield str(error)
    except (OSError, ValueError, RecursionError) as error:
        yield f"{path} is damaged ({first_line(error)})"


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
