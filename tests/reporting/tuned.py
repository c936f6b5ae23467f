"""Folders as `elektron finetune` writes them, one for each task, with realistic metrics."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

Files = dict[str, Any]

CONFIG: dict[str, Any] = {
    "task": "classification",
    "model": "runs/small/discriminator",
    "train": ["data/train.tsv"],
    "eval": ["data/dev.tsv"],
    "test": ["data/test.tsv"],
    "out": "models/reviews",
    "baseline": None,
    "sweep": [],
    "seeds": 1,
    "seed": 1,
    "learning_rate": 0.001,
    "layer_decay": 0.8,
    "epochs": 3.0,
    "batch_size": 32,
    "warmup": 0.1,
    "dropout": 0.1,
    "max_length": 128,
    "keep": "best",
    "decoding": {"beams": None, "max_length": None},
}
VERSIONS = {"elektron": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.2"}
DETAILS: dict[str, Any] = {
    "metric": "accuracy",
    "model": "runs/small/discriminator",
    "train_rows": 9600,
    "eval_rows": 1200,
    "test_rows": 1200,
    "chosen_on": "eval",
    "reported_on": "test",
    "weights": {"loaded": 1_312_640, "new": 16_898},
    "device": "CPU, 2 threads",
    "versions": VERSIONS,
    "warnings": [],
    "columns": {},
    "notes": {},
}
POSITIVE = ["A quiet film that stays with you for days.", "She carries every scene with ease."]
NEGATIVE = ["Two hours that feel like four; nobody had a plan.", "I left before the end."]


def baseline(name: str, **metrics: float) -> dict[str, Any]:
    """A simple method tested on the same rows."""
    return {"name": name, "metrics": metrics, "differences": {}}


def epochs(figure: float, draw: random.Random, count: int = 3) -> list[dict[str, Any]]:
    """Epochs of a run whose metric ends near `figure`."""
    return [
        {
            "epoch": float(epoch),
            "train_loss": round(0.7 / epoch**0.9 + draw.uniform(0, 0.02), 4),
            "eval": round(figure - 0.06 / epoch + draw.uniform(0, 0.01), 4),
            "eval_loss": round(0.45 / epoch**0.4 + draw.uniform(0, 0.02), 4),
        }
        for epoch in range(1, count + 1)
    ]


def run(
    side: str = "pretrained",
    seed: int = 1,
    figure: float = 0.83,
    name: str = "accuracy",
    *,
    settings: dict[str, Any] | None = None,
    test: bool = True,
    kept: bool = False,
    collapsed: str = "",
) -> dict[str, Any]:
    """One entry of `runs.json`."""
    draw = random.Random(f"{side} {seed} {figure}")
    words = ", ".join(f"{key} {value}" for key, value in (settings or {}).items())
    return {
        "name": " · ".join(filter(None, [side, words, f"seed {seed}"])),
        "side": side,
        "seed": seed,
        "settings": settings or {},
        "epochs": epochs(figure, draw),
        "kept_epoch": 2.0 if kept else 3.0,
        "eval": {name: figure + 0.004, "loss": 0.41},
        "test": {name: figure, "loss": 0.42} if test else {},
        "seconds": 61.5 + seed,
        "collapsed": collapsed,
        "kept": kept,
    }


def fine_tuned(
    task: str,
    metrics: dict[str, float],
    intervals: dict[str, list[float]],
    runs: list[Files],
    rows: list[Files],
    *,
    baselines: Sequence[Files] = (),
    learned: Files | None = None,
    config: Files | None = None,
    details: Files | None = None,
    network: Files | None = None,
) -> Files:
    """The files of a model: `learned` is added to `task.json`, `config`, `details` and `network` to theirs."""
    reported = {"rows": 1200, "intervals": intervals, "baselines": list(baselines), "split": "test", "seconds": 512.4}
    return {
        "task.json": {"task": task, "format": 2, "max_length": 128} | (learned or {}),
        "config.yaml": CONFIG | {"task": task} | (config or {}),
        "config.json": network or {"model_type": "electra"},
        "metrics.json": metrics | reported,
        "details.json": DETAILS | (details or {}),
        "runs.json": runs,
        "predictions.jsonl": rows,
    }


def classification() -> Files:
    """Two classes, two learning rates, three seeds, pre-trained and from scratch."""
    draw = random.Random(1)
    rows = []
    for place in range(120):
        truth = draw.choice(["neg", "pos"])
        wrong = draw.random() < 0.17
        guess = {"neg": "pos", "pos": "neg"}[truth] if wrong else truth
        text = draw.choice(POSITIVE if truth == "pos" else NEGATIVE) + f" ({place})"
        rows.append({"text": text, "label": truth, "predicted_label": guess, "predicted_score": draw.uniform(0.5, 1)})
    low, high = {"learning_rate": 0.0003}, {"learning_rate": 0.001}
    runs = [
        run(figure=0.801, settings=low, test=False),
        run(figure=0.829, settings=high, kept=True),
        run(seed=2, figure=0.824, settings=high),
        run(seed=3, figure=0.827, settings=high),
        run("scratch", figure=0.701, settings=low, test=False),
        run("scratch", figure=0.742, settings=high),
        run("scratch", 2, 0.735, settings=high),
        run("scratch", 3, 0.503, settings=high, collapsed="it says 'pos' of every text"),
    ]
    metrics = {"loss": 0.4178, "accuracy": 0.8292, "precision": 0.8211, "recall": 0.8432, "f1": 0.832}
    intervals = {
        "accuracy": [0.8075, 0.85],
        "precision": [0.79, 0.852],
        "recall": [0.814, 0.871],
        "f1": [0.81, 0.853],
        "mcc": [0.616, 0.7],
    }
    return fine_tuned(
        "classification",
        metrics | {"f1_macro": 0.8291, "mcc": 0.6586},
        intervals,
        runs,
        rows,
        baselines=[
            baseline("always 'pos'", accuracy=0.5033, f1=0.6696, mcc=0.0),
            baseline("TF-IDF with logistic regression", accuracy=0.7683, f1=0.7712, mcc=0.5367),
        ],
        learned={"labels": ["neg", "pos"], "several": False, "pairs": False},
        config={"sweep": ["learning_rate=0.0003,0.001"], "seeds": 3, "baseline": "scratch"},
        details={
            "confusion": {"labels": ["neg", "pos"], "counts": [[486, 110], [95, 509]]},
            "per_class": {
                "neg": {"precision": 0.8365, "recall": 0.8154, "f1": 0.8258, "support": 596},
                "pos": {"precision": 0.8223, "recall": 0.8427, "f1": 0.8324, "support": 604},
            },
            "warnings": ["scratch · learning_rate 0.001 · seed 3 has collapsed: it says 'pos' of every text"],
            "columns": {"text": "text", "label": "label"},
        },
        network={"model_type": "elektron"},
    )


def many_classes(classes: int = 14) -> Files:
    """More classes; the model is chosen and reported on the same rows."""
    draw = random.Random(2)
    labels = [f"topic {place}" for place in range(classes)]
    counts = [
        [draw.randrange(60, 90) if a == b else int(draw.expovariate(0.4)) for b in range(classes)]
        for a in range(classes)
    ]
    figures = {
        name: {"precision": 0.7 + place / 100, "recall": 0.8, "f1": 0.75 + place / 100, "support": 90}
        for place, name in enumerate(labels)
    }
    files = classification()
    files["task.json"] |= {"labels": labels}
    files["config.yaml"] = CONFIG | {"eval": ["0.1"], "test": []}
    files["metrics.json"] |= {"split": "eval", "baselines": [baseline("always 'topic 1'", accuracy=0.09)]}
    files["details.json"] |= {
        "reported_on": "eval",
        "test_rows": 0,
        "confusion": {"labels": labels, "counts": counts},
        "per_class": figures,
        "warnings": [],
    }
    files["runs.json"] = [run(figure=0.78, test=False, kept=True)]
    return files


def regression() -> Files:
    """Pairs of texts with their similarity; two seeds."""
    draw = random.Random(3)
    truths = [draw.uniform(0, 5) for _ in range(400)]
    points = [[truth, min(5.0, max(0.0, truth + draw.gauss(0, 0.7)))] for truth in truths]
    rows = [
        {
            "sentence1": f"A man plays the guitar, take {place}.",
            "sentence2": "Somebody makes music.",
            "score": round(truth, 2),
            "predicted_score": round(predicted, 4),
        }
        for place, (truth, predicted) in enumerate(points)
    ]
    return fine_tuned(
        "regression",
        {"loss": 0.31, "pearson": 0.871, "spearman": 0.864, "mse": 0.49, "mae": 0.55},
        {"pearson": [0.85, 0.89], "spearman": [0.84, 0.88], "mae": [0.52, 0.58]},
        [run(figure=0.871, name="pearson", kept=True), run(seed=2, figure=0.866, name="pearson")],
        rows,
        baselines=[baseline("always 2.61", pearson=0.0, spearman=0.0, mae=1.29)],
        learned={"pairs": True},
        config={"seeds": 2},
        details={
            "metric": "pearson",
            "points": points,
            "columns": {"text": "sentence1", "pair": "sentence2", "label": "score"},
        },
    )


def tagging() -> Files:
    """Names of persons and places."""
    tokens = ["Ada", "Lovelace", "was", "born", "in", "London", "."]
    truth = ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O"]
    slips = [list(truth), ["B-PER", "O", *truth[2:]], [*truth[:5], "B-PER", "O"]]
    rows = [{"tokens": tokens, "tags": truth, "predicted_tags": slips[place % 3]} for place in range(30)]
    per_class = {
        "LOC": {"precision": 0.84, "recall": 0.85, "f1": 0.845, "support": 812},
        "PER": {"precision": 0.77, "recall": 0.8, "f1": 0.785, "support": 903},
    }
    return fine_tuned(
        "token-classification",
        {"loss": 0.12, "accuracy": 0.961, "precision": 0.801, "recall": 0.822, "f1": 0.811},
        {"f1": [0.79, 0.83]},
        [run(figure=0.811, name="f1", kept=True)],
        rows,
        learned={"labels": ["B-LOC", "B-PER", "I-PER", "O"]},
        details={"metric": "f1", "per_class": per_class},
    )


def answers() -> Files:
    """Questions to a passage, some of them without an answer."""
    passage = (
        "The mill was built in 1843 by the brothers Karsten beside the old weir. "
        + "For sixty years it ground the grain of four villages. " * 8
        + "It burned down in the winter of 1907 and was never rebuilt."
    )
    rows = [
        {
            "id": str(place),
            "question": "When did the mill burn down?",
            "context": passage,
            "answers": {"text": ["1907", "the winter of 1907"], "answer_start": [500, 490]},
            "predicted_answer": "1843" if place % 3 else "1907",
        }
        for place in range(30)
    ]
    metrics = {"loss": 1.9, "exact_match": 61.2, "f1": 70.4, "has_answer_f1": 72.5, "no_answer_f1": 66.0}
    return fine_tuned(
        "question-answering",
        metrics | {"answered": 0.71, "null_threshold": -1.25},
        {"exact_match": [58.4, 64.0], "f1": [67.9, 72.8]},
        [run(figure=70.4, name="f1", kept=True)],
        rows,
        learned={"max_length": 384},
        details={"metric": "f1"},
    )


def translation() -> Files:
    """From English into German."""
    rows = [
        {
            "source": f"The committee will meet again on day {place}.",
            "target": f"Der Ausschuss tritt am {place}. Tag wieder zusammen.",
            "predicted_text": f"Der Ausschuss trifft sich wieder am Tag {place}.",
        }
        for place in range(40)
    ]
    without_metric = [{"epoch": e, "train_loss": 5 / e, "eval": None, "eval_loss": 4 / e} for e in (1, 2, 3)]
    return fine_tuned(
        "translation",
        {"loss": 2.3, "bleu": 17.42, "chrf": 44.1},
        {"bleu": [16.5, 18.4], "chrf": [43.2, 45.0]},
        [run(figure=17.4, name="bleu", kept=True) | {"epochs": without_metric}],
        rows,
        config={"decoding": {"beams": 5}},
        details={"metric": "bleu", "notes": {"bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"}},
        network={"model_type": "encoder-decoder", "encoder": {"model_type": "elektron"}},
    )


KINDS: dict[str, Callable[[], Files]] = {
    "classification": classification,
    "many-classes": many_classes,
    "regression": regression,
    "tagging": tagging,
    "answers": answers,
    "translation": translation,
}


def write(folder: Path, files: Files) -> Path:
    """Write the files into a new folder; content that is text is written as it is."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, str):
            text = content
        elif name.endswith(".yaml"):
            text = yaml.safe_dump(content, sort_keys=False)
        elif name.endswith(".jsonl"):
            text = "".join(json.dumps(row) + "\n" for row in content)
        else:
            text = json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
