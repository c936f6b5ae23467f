"""Settings of `elektron predict`, `detect` and `export`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import InPlaceOf, Positional, Size, ValidatedConfig, Within
from elektron.finetuning.config import DecodingConfig, FilesConfig, TaskName, TextFilesConfig


@dataclass(kw_only=True)
class PredictConfig(FilesConfig):
    """Predict each row of a file with a fine-tuned model."""

    model: Positional[str]
    """Folder or hub name of the fine-tuned model."""
    input: Annotated[str, InPlaceOf(("data", "test"))] = "-"
    """File, or hf:NAME[@REVISION][:config][:split]; - is standard input: a text a line, or JSON lines."""
    output: Annotated[Path, InPlaceOf(("out",))] | None = None
    """File, by its ending jsonl, csv, tsv or parquet (default: JSON lines on standard output)."""
    task: TaskName | None = None
    """For a model that was not made here: what it does (default: by its class)."""
    documents: list[str] = field(default_factory=list)
    """Corpus to answer questions from, or to search: files, folders, globs, hf:NAME or builtin:docs."""
    passages: Size = 10
    """Passages of the documents that are read for each question, or found for each query."""
    batch_size: Size | None = None
    """Most rows that pass through the network at once (default: as many as their length allows)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


@dataclass(kw_only=True)
class DetectConfig(TextFilesConfig):
    """Find words of texts that look wrong to a pre-trained discriminator."""

    model: Positional[str]
    """Folder of a pre-training run, or folder or hub name of a discriminator (then without suggestions)."""
    input: Annotated[str, InPlaceOf(("data", "test"))] = "-"
    """File, or hf:NAME[@REVISION][:config][:split]; - is standard input: a text a line, or JSON lines."""
    output: Annotated[Path, InPlaceOf(("out",))] | None = None
    """File, by its ending jsonl, csv, tsv or parquet (default: standard output; marked text for a
    terminal, else JSON lines)."""
    threshold: Annotated[float, Within(least=0, most=1)] = 0.3
    """Least probability of being replaced of a suspicious word; 0 lists every word."""
    suggestions: Annotated[int, Within(least=0, most=100)] = 3
    """Words that the generator would write instead, for each suspicious word."""
    batch_size: Size | None = None
    """Most rows that pass through the network at once (default: as many as their length allows)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""


EXPORT_FILE = "export.json"
"""In an exported folder: how it was made and compared with PyTorch."""


@dataclass(kw_only=True)
class ExportConfig(ValidatedConfig):
    """Export a fine-tuned model or a discriminator to ONNX, and compare the result with PyTorch."""

    model: Positional[str]
    """Folder or hub name of the model, or a pre-training run, of which the discriminator is exported."""
    to: Literal["onnx"] = "onnx"
    """Format."""
    int8: bool = False
    """Weights in 8 bits, and activations while a matrix product is computed (dynamic quantization)."""
    out: Path
    """Folder for the exported model."""
    task: TaskName | None = None
    """For a model that was not made here: what it does (default: by its class)."""
