"""What a finished run leaves for others: its models, and sentences that show what they do."""

from __future__ import annotations

import platform

import torch
import transformers
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from elektron import __version__
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.models.pair import Pair
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.config import EXAMPLES
from elektron.pretraining.evaluation import find_examples
from elektron.pretraining.objectives import Objective
from elektron.pretraining.run_folder import RunFolder
from elektron.pretraining.sharding import reshard


def export(
    pair: Pair,
    tokenizer: PreTrainedTokenizerBase,
    objective: Objective,
    batches: BatchMaker,
    on: Device,
    folder: RunFolder,
) -> None:
    """Write both models, and example sentences if any: all processes take part, the one that `writes` writes.

    It does so when the others have done their part, so that none of them waits for one that could not.

    Raises:
        ElektronError: they cannot be written; the last checkpoint has all that they are made of.
    """
    found = None
    if objective.detects:
        with on.autocast():
            found = find_examples(pair, batches, objective, tokenizer)
        reshard(pair)
    try:
        pair.save(folder.path, tokenizer, objective.name, objective.detects, folder.writes)
        if found is not None and folder.writes:
            folder.write_json(EXAMPLES, found)
    except (OSError, SafetensorError) as error:
        raise ElektronError(
            f"the models cannot be written into {folder.path} ({error}): the run is saved, and the "
            "same command writes them when there is room"
        ) from error


def versions() -> dict[str, str]:
    """Of what had a part in the weights."""
    return {
        "elektron": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
