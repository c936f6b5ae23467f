"""Settings of `elektron predict`, `detect` and `export`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import EquivalentOptions, Positional, Size, ValidatedConfig, Within
from elektron.finetuning.config import DecodingConfig, FilesConfig, TaskName, TextFilesConfig


@dataclass(kw_only=True)
class PredictConfig(FilesConfig):
    """Predict each row of a file with a fine-tuned model."""

    model: Positional[str]
    """Folder or hub name of the fine-tuned model."""
    input: Annotated[str, EquivalentOptions(("data", "test"))] = "-"
    """File, or hf:NAME[@REVISION][:config][:split]; - is standard input: one text per line, or JSON lines."""
    output: Annotated[Path, EquivalentOptions(("out",))] | None = None
    """File to write; its suffix jsonl, csv, tsv, parquet or, for embeddings alone, npy is the format (default: JSON
    lines on standard output)."""
    task: TaskName | None = None
    """Task of a model that Elektron did not fine-tune (default: inferred from its class)."""
    documents: list[str] = field(default_factory=list)
    """Corpus to answer questions from, or to search: files, folders, globs, hf:NAME or builtin:docs."""
    documents_text: str | None = None
    """Column of the documents' text (default: `text`, or the only one with text)."""
    passages: Size = 10
    """Number of passages to read for each question, or to return for each query."""
    batch_size: Size | None = None
    """Maximum number of rows in a batch (default: as many as their length allows)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


@dataclass(kw_only=True)
class DetectConfig(TextFilesConfig):
    """Find words of texts that look wrong to a pre-trained discriminator."""

    model: Positional[str]
    """Folder of a pre-training run, or folder or hub name of a discriminator (then without suggestions)."""
    input: Annotated[str, EquivalentOptions(("data", "test"))] = "-"
    """File, or hf:NAME[@REVISION][:config][:split]; - is standard input: one text per line, or JSON lines."""
    output: Annotated[Path, EquivalentOptions(("out",))] | None = None
    """File to write; its suffix jsonl, csv, tsv or parquet is the format (default: standard output; marked text for a
    terminal, else JSON lines)."""
    threshold: Annotated[float, Within(least=0, most=1)] = 0.3
    """Minimum probability of being replaced for a word to be suspicious; 0 lists every word."""
    suggestions: Annotated[int, Within(least=0, most=100)] = 3
    """Number of words that the generator suggests for each suspicious word."""
    batch_size: Size | None = None
    """Maximum number of rows in a batch (default: as many as their length allows)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""


EXPORT_FILE = "export.json"
"""File in an exported folder: how the model was exported and how its outputs compare with PyTorch's."""


@dataclass(kw_only=True)
class ExportConfig(ValidatedConfig):
    """Export a fine-tuned model or a discriminator to ONNX, and compare the result with PyTorch."""

    model: Positional[str]
    """Folder or hub name of the model, or folder of a pre-training run, whose discriminator is exported."""
    to: Literal["onnx"] = "onnx"
    """Format of the exported model."""
    int8: bool = False
    """Dynamic quantization: weights are stored in 8 bits, activations are quantized for each matrix product."""
    out: Path
    """Folder for the exported model."""
    task: TaskName | None = None
    """Task of a model that Elektron did not fine-tune (default: inferred from its class)."""
