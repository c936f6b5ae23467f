"""Speed of `elektron prepare`, compared with `Tokenizer.encode_batch` alone on the same text.

`prepare` reads, deduplicates, tokenizes, packs and writes blocks with checksums; the target is 80 % of the speed of
tokenizing alone on all cores. The two alternate, so that other jobs slow both.

    python benchmarks/prepare.py --corpus builtin:docs --json benchmarks/results/prepare.json
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, new_parser, print_table, print_target, save

# Worker processes import this file again, so large packages are imported in functions.
TARGET = 0.8
VOCAB_SIZE = 8192
DOCUMENTS_TO_LEARN_FROM = 5000
DOCUMENTS_AT_ONCE = 1000


def main() -> None:
    parser = new_parser(__doc__, "prepare")
    parser.add_argument("--corpus", default="builtin:docs")
    parser.add_argument("--text", help="column of the text")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    logging.disable(logging.INFO)

    with tempfile.TemporaryDirectory() as folder:
        result = compare(options.corpus, options.text, options.repetitions, Path(folder))
    result |= machine()
    print_table(
        f"{result['corpus']}: {result['megabytes']:.1f} MB of text, {result['cores']} cores; MB/s",
        ("", "median", "all repetitions"),
        [
            (name, f"{statistics.median(speeds):.2f}", "  ".join(f"{s:.2f}" for s in speeds))
            for name, speeds in result["megabytes_per_second"].items()
        ],
    )
    print_target("prepare / encode_batch", result["ratio"], TARGET)
    save(result, options.json)


def compare(corpus: str, text: str | None, repetitions: int, folder: Path) -> dict[str, Any]:
    """Measure both alternately."""
    from tokenizers import Tokenizer

    from elektron.corpus.config import PrepareConfig, TokenizerConfig
    from elektron.corpus.documents import Corpus
    from elektron.corpus.prepare import prepare
    from elektron.corpus.tokenizer import train_tokenizer

    tokenizer_folder = folder / "tokenizer"
    train_tokenizer(
        TokenizerConfig(
            [corpus], tokenizer_folder, vocab_size=VOCAB_SIZE, max_documents=DOCUMENTS_TO_LEARN_FROM, text=text
        )
    )
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    texts = [document.text for document in Corpus([corpus], text)]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6

    speeds: dict[str, list[float]] = {"encode_batch": [], "prepare": []}
    for repetition in range(repetitions):
        began = time.perf_counter()
        for first in range(0, len(texts), DOCUMENTS_AT_ONCE):
            tokenizer.encode_batch(texts[first : first + DOCUMENTS_AT_ONCE])
        speeds["encode_batch"].append(megabytes / (time.perf_counter() - began))
        config = PrepareConfig([corpus], str(tokenizer_folder), folder / f"blocks-{repetition}", text=text)
        began = time.perf_counter()
        prepare(config)
        speeds["prepare"].append(megabytes / (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "corpus": Path(corpus).name,
        "megabytes": megabytes,
        "cores": len(os.sched_getaffinity(0)),
        "megabytes_per_second": speeds,
        "ratio": medians["prepare"] / medians["encode_batch"],
        "target": TARGET,
    }


if __name__ == "__main__":
    main()
