"""`elektron export`: exports a network to ONNX and compares its outputs with PyTorch's before keeping the file.

The folder also has what `predict`, `evaluate` and other programs need: configuration, tokenizer, `task.json` and
checksums. `export.json` records how the network was exported and how far its outputs differ from PyTorch's.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from elektron import __version__
from elektron.errors import ElektronError, first_line, requires_extra
from elektron.finetuning.encoders import longest_input
from elektron.finetuning.inputs import Batch
from elektron.finetuning.recipe import DEFAULT_MAX_LENGTH
from elektron.finetuning.tasks.base import Task
from elektron.finetuning.tasks.embedding import Embedding, SentenceEncoder
from elektron.finetuning.tasks.multiple_choice import MultipleChoice
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.finetuning.tasks.sequence_to_sequence import SequenceToSequence
from elektron.finetuning.tasks.token_classification import TokenClassification
from elektron.inference.config import EXPORT_FILE, ExportConfig
from elektron.inference.models import load_predictor
from elektron.inference.pretrained import load_discriminator
from elektron.io.checksums import write_checksums
from elektron.io.files import to_json
from elektron.io.folders import atomic_folder
from elektron.models.onnx_model import FILE, INPUTS, QUANTIZED_FILE, OnnxModel
from elektron.progress import format_quantity
from elektron.terminal import echo

PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
"""Packages whose versions `export.json` records."""
BOUND = 1e-4
"""Maximum absolute difference from PyTorch's outputs in fp32."""
RELATIVE_BOUND = 1e-6
"""Maximum difference relative to the largest output, if that allows more: in fp32, 10,000 is exact to 0.001."""
SHAPES = ((1, 1), (1, 2), (2, 8), (5, 33))
"""Shapes `(rows, tokens)` of the inputs on which outputs are compared; two longer ones are added."""
CHOICES = 3
"""Number of choices in the example inputs of a multiple-choice model."""


@dataclass(frozen=True)
class Source:
    """The model to export, on the CPU in fp32."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    task: Task | None
    """None for a discriminator."""
    longest: int
    """Number of tokens in the longest input."""

    @property
    def network(self) -> Any:
        """The network to export; for an embedding model, the encoder without pooling."""
        return self.model.encoder if isinstance(self.model, SentenceEncoder) else self.model

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs, without `token_type_ids` if it ignores them."""
        segments = getattr(self.network.config, "type_vocab_size", 0) > 1
        return INPUTS if segments else INPUTS[:2]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return (self.task or Task).network_outputs

    @property
    def per_token(self) -> bool:
        """Whether there is an output for each token; outputs at padding are not compared."""
        return self.task is None or isinstance(self.task, TokenClassification | QuestionAnswering | Embedding)


def export(config: ExportConfig) -> dict[str, Any]:
    """Export a model.

    Returns:
        The content of `export.json`.

    Raises:
        ElektronError: there is no such model, it cannot be exported, or its outputs differ from PyTorch's.
    """
    with requires_extra("onnx", "export"):
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    with atomic_folder(config.out) as folder:
        source = load_source(config)
        source.model.save_pretrained(folder)
        for path in folder.glob("*.safetensors*"):
            path.unlink()
        source.tokenizer.save_pretrained(folder)
        if source.task is not None:
            source.task.save(folder)
        file = folder / FILE
        export_network(source, file, config.model)
        compared = compare_on_shapes(source, file)
        if not compared["largest_difference"] <= compared["bound"]:
            raise ElektronError(
                f"{config.model}: the exported network's outputs differ from PyTorch's by up to "
                f"{compared['largest_difference']:.2g}, more than {compared['bound']:.2g}: the export was discarded"
            )
        if config.int8:
            file = quantize(file, folder / QUANTIZED_FILE)
            compared = compare_on_shapes(source, file) | {"bound": None}
        result = {
            "file": str(file.relative_to(folder)),
            "precision": "int8" if config.int8 else "fp32",
            "inputs": source.inputs,
            "outputs": source.outputs,
            **compared,
            "versions": {"elektron": __version__} | {name: version(name) for name in PACKAGES},
        }
        (folder / EXPORT_FILE).write_text(to_json(result, indent=1) + "\n", encoding="utf-8")
        write_checksums(folder)
        size = format_quantity(sum(part.stat().st_size for part in file.parent.iterdir()), "bytes")
    longest = max(length for _, length in result["shapes"])
    echo(
        f"{result['file']}: {result['precision']}, {size}, inputs {', '.join(source.inputs)}, outputs "
        f"{', '.join(source.outputs)}\n"
        f"Largest difference from PyTorch on inputs of {len(result['shapes'])} shapes, up to {longest} tokens: "
        f"{result['largest_difference']:.2g}"
    )
    return result


def load_source(config: ExportConfig) -> Source:
    """Load the model to export.

    Raises:
        ElektronError: there is no such model, it is an exported one, or it generates text.
    """
    if (scorer := load_discriminator(config.model, config.task)) is not None:
        longest = min(DEFAULT_MAX_LENGTH, longest_input(scorer.network.config))
        return Source(scorer.network, scorer.tokenizer, None, longest)
    predictor = load_predictor(config.model, config.task)
    task = predictor.task
    if isinstance(task, SequenceToSequence):
        raise ElektronError(f"{config.model} is a model for {task.name}: models that generate text cannot be exported")
    return Source(predictor.model.cpu(), predictor.tokenizer, task, task.max_length)


class TupleOutputs(nn.Module):
    """A network that returns some of its outputs as a tuple."""

    def __init__(self, network: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Call the network and return the outputs named by `outputs`."""
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        outputs = self.network(input_ids=input_ids, attention_mask=attention_mask, **segments)
        return tuple(outputs[name] for name in self.outputs)


def export_network(source: Source, file: Path, name: str) -> None:
    """Write the network to an ONNX file that accepts any number of rows and tokens.

    Raises:
        ElektronError: torch.onnx cannot export the network.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from torch.export import Dim

    inputs = example_inputs(source, 2, min(8, source.longest))
    axes = ("batch", "choices", "sequence") if isinstance(source.task, MultipleChoice) else ("batch", "sequence")
    dimensions = dict(enumerate(map(Dim, axes)))
    try:
        with quiet_libraries(), torch.no_grad():
            program = torch.onnx.export(
                TupleOutputs(source.network, source.outputs).eval(),
                kwargs=inputs,
                output_names=source.outputs,
                dynamic_shapes=dict.fromkeys(inputs, dimensions),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ElektronError(
            f"{name}: torch.onnx cannot export a {type(source.network).__name__} "
            f"({first_line(error.__cause__ or error)})"
        ) from error
    assert program is not None
    # The metadata has the stack trace of each operation, with paths of this machine.
    ClearMetadataAndDocStringPass()(program.model)
    file.parent.mkdir()
    program.save(file)


def quantize(file: Path, target: Path) -> Path:
    """Replace an ONNX file by one whose weight matrices are int8, with one scale per column; return its path."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet_libraries():
        quantize_dynamic(file, target, per_channel=True, weight_type=QuantType.QInt8)
    for written in file.parent.glob(f"{file.name}*"):  # a large network has its weights in a separate file
        written.unlink()
    return target


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Suppress warnings of the export libraries that the user can do nothing about."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def example_inputs(source: Source, rows: int, length: int) -> Batch:
    """Make random inputs with special tokens, two segments, and rows that get shorter and are padded.

    Returns:
        The network's inputs, `(rows, length)`, or `(rows, CHOICES, length)` for multiple choice.
    """
    tokenizer = source.tokenizer
    special = tokenizer("")["input_ids"]
    ordinary = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    generator = torch.Generator().manual_seed(length)
    positions = torch.arange(length)
    shape = (rows, CHOICES, length) if isinstance(source.task, MultipleChoice) else (rows, length)
    texts = math.prod(shape[:-1])
    lengths = (length * torch.arange(texts, 0, -1) // texts).clamp(min=1)[:, None]
    ids = torch.tensor(ordinary)[torch.randint(len(ordinary), (texts, length), generator=generator)]
    if special:
        ids[positions.expand_as(ids) == lengths - 1] = special[-1]
        ids[:, 0] = special[0]
    mask = (positions < lengths).long()
    ids = torch.where(mask == 1, ids, tokenizer.pad_token_id)
    inputs = dict(zip(INPUTS, (ids, mask, mask * (positions >= lengths // 2)), strict=True))
    return {name: inputs[name].view(shape) for name in source.inputs}


@torch.no_grad()
def compare_on_shapes(source: Source, file: Path) -> dict[str, Any]:
    """Compare the outputs of the ONNX file with PyTorch's on inputs of several shapes.

    Returns:
        `shapes`, the `largest_difference`, and the `bound` that it must not exceed.
    """
    exported, longest = OnnxModel(file, source.outputs), source.longest
    shapes = [(rows, length) for rows, length in SHAPES if length < longest]
    shapes += [(2, max(1, longest // 2)), (1, longest)]
    differences, sizes = [], []
    for rows, length in shapes:
        inputs = example_inputs(source, rows, length)
        ours, theirs = exported(**inputs), source.network(**inputs)
        read = inputs["attention_mask"] == 1 if source.per_token else ...
        for name in source.outputs:
            reference = theirs[name][read]
            differences.append(float((getattr(ours, name)[read] - reference).abs().max()))
            sizes.append(float(reference.abs().max()))
    return {
        "shapes": shapes,
        "largest_difference": float(np.max(differences)),  # NaN if any is NaN
        "bound": max(BOUND, RELATIVE_BOUND * max(sizes)),
    }
