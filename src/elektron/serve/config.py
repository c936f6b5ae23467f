"""Settings of `elektron serve`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from elektron.configuration import AboveZero, Positional, Size, ValidatedConfig, Within
from elektron.finetuning.config import DecodingConfig, TaskName


@dataclass(kw_only=True)
class ServeConfig(ValidatedConfig):
    """Answer HTTP requests with a model, and show a page to try it."""

    model: Positional[str]
    """Folder or hub name of a fine-tuned model, or folder of a pre-training run to find suspicious words."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every address of this machine. There is no authentication."""
    port: Annotated[int, Within(least=0, below=1 << 16)] = 8000
    """Port to listen on; 0 is any free one."""
    task: TaskName | None = None
    """Task of a model that Elektron did not fine-tune (default: inferred from its class)."""
    max_rows: Size = 1000
    """Maximum number of rows in a request."""
    max_characters: Size = 20_000
    """Maximum number of characters in a text of a row."""
    max_queue: Size = 4096
    """Maximum number of waiting rows; a request that exceeds it is answered with status 429."""
    timeout: AboveZero[float] = 60.0
    """Seconds for a request, including upload and waiting; after that it is answered with status 503."""
    batch_size: Size | None = None
    """Maximum number of rows in a batch (default: as many as their length allows)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
