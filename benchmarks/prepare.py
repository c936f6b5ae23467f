"""How fast `elektron prepare` is, beside `Tokenizer.encode_batch` alone on the same text.

`prepare` reads, drops copies, tokenizes, packs, and writes verified blocks; the bar is 80 % of
what tokenizing alone reaches on all cores. Repetitions of the two are interleaved, so that a busy
machine slows both; medians are compared. Documents of `builtin:docs` are in memory for both.

    python benchmarks/prepare.py --corpus builtin:docs --json benchmarks/results/prepare.json
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Worker processes import this file anew, so what is heavy is imported where it is needed.
TARGET = 0.8
VOCAB_SIZE = 8192
DOCUMENTS_TO_LEARN_FROM = 5000
DOCUMENTS_AT_ONCE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", default="builtin:docs")
    parser.add_argument("--text", help="column of the text")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/prepare.json"))
    options = parser.parse_args()
    logging.disable(logging.INFO)

    with tempfile.TemporaryDirectory() as folder:
        result = compare(options.corpus, options.text, options.repetitions, Path(folder))
    print(f"{result['corpus']}: {result['megabytes']:.1f} MB of text, {result['cores']} cores")
    print(f"{'':24}{'median':>10}{'all repetitions, MB/s':>32}")
    for name in ("encode_batch", "prepare"):
        speeds = result["megabytes_per_second"][name]
        every = "  ".join(f"{speed:.2f}" for speed in speeds)
        print(f"{name:24}{statistics.median(speeds):10.2f}{every:>32}")
    verdict = "at least" if result["ratio"] >= TARGET else "below"
    print(f"prepare / encode_batch: {result['ratio']:.2f}, {verdict} the {TARGET} asked for")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(corpus: str, text: str | None, repetitions: int, folder: Path) -> dict[str, Any]:
    """Measure both in turns."""
    from tokenizers import Tokenizer

    from elektron.corpus.config import PrepareConfig, TokenizerConfig
    from elektron.corpus.documents import read_documents
    from elektron.corpus.prepare import prepare
    from elektron.corpus.vocabulary import train_tokenizer

    tokenizer_folder = folder / "tokenizer"
    train_tokenizer(
        TokenizerConfig(
            [corpus],
            tokenizer_folder,
            vocab_size=VOCAB_SIZE,
            max_documents=DOCUMENTS_TO_LEARN_FROM,
            text=text,
        )
    )
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    texts = [document.text for document in read_documents([corpus], text)]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6

    speeds: dict[str, list[float]] = {"encode_batch": [], "prepare": []}
    for repetition in range(repetitions):
        began = time.perf_counter()
        encode(tokenizer, texts)
        speeds["encode_batch"].append(megabytes / (time.perf_counter() - began))
        config = PrepareConfig(
            [corpus], str(tokenizer_folder), folder / f"blocks-{repetition}", text=text
        )
        began = time.perf_counter()
        prepare(config)
        speeds["prepare"].append(megabytes / (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "corpus": Path(corpus).name,
        "megabytes": megabytes,
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "megabytes_per_second": speeds,
        "ratio": medians["prepare"] / medians["encode_batch"],
        "target": TARGET,
    }


def encode(tokenizer: Tokenizer, texts: list[str]) -> None:
    """Tokenize everything with the library's own threads, keeping nothing."""
    for first in range(0, len(texts), DOCUMENTS_AT_ONCE):
        tokenizer.encode_batch(texts[first : first + DOCUMENTS_AT_ONCE])


if __name__ == "__main__":
    main()
