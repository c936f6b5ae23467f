"""What is said of a fine-tuned model in words: how good, on what, with which reservations."""

from __future__ import annotations

from pathlib import Path

from elektron.reporting import wording
from elektron.reporting.headline import Headline
from elektron.reporting.reading import number
from elektron.reporting.results import Result
from elektron.reporting.seeds import chosen
from elektron.reporting.worth import Spread

TASKS = {
    "classification": "Text classification",
    "regression": "Regression on text",
    "token-classification": "Token classification",
    "question-answering": "Question answering",
    "multiple-choice": "Multiple choice",
    "translation": "Translation",
    "summarization": "Summarization",
    "generation": "Text generation",
}
# The figures that stand in tiles, after the one that the runs go by.
TILES = ["accuracy", "f1", "mcc", "spearman", "mae", "exact_match", "chrf", "bleu", "rouge2"]
MOST_TILES = 4


def task_name(result: Result) -> str:
    """The task in words."""
    return TASKS.get(result.task, result.task or "A task")


def short_model(result: Result) -> str:
    """The end of the pretrained model's path, which tells it from others."""
    return "/".join(Path(result.model).parts[-2:]) or "an encoder"


def how_trained(result: Result) -> str:
    """In a word or two."""
    return "trained from random weights" if from_scratch(result) else "fine-tuned"


def from_scratch(result: Result) -> bool:
    """Whether the model was asked to begin from random weights."""
    return result.model.startswith("scratch:")


def rows_in_words(result: Result) -> str:
    """`5,000 test rows`."""
    rows = f"{wording.whole(result.rows)} " if result.rows is not None else ""
    split = "evaluation" if result.split == "eval" else result.split
    return f"{rows}{split} rows".replace("  ", " ")


def lead(result: Result) -> str:
    """What was learned, how well, and against what."""
    kind = result.kind(result.figure)
    interval = kind.write_interval(result.intervals.get(result.figure))
    rows = result.details.rows.get("train")
    on = f" on {wording.whole(rows)} rows" if rows is not None else ""
    inside = f" (95 % interval {interval})" if interval else ""
    return (
        f"{short_model(result)}, {how_trained(result)}{on}. {kind.title} is "
        f"{kind.write(result.figures.get(result.figure))}{inside} on {rows_in_words(result)}."
        f"{against_baseline(result)}"
    )


def against_baseline(result: Result) -> str:
    """What a constant prediction gets of the main figure, in a sentence; empty without a baseline."""
    value = baseline_figure(result)
    if result.details.baseline is None or value is None:
        return ""
    written = result.kind(result.figure).write(value)
    return f" A constant prediction ({result.details.baseline.name}) gets {written}."


def baseline_figure(result: Result) -> float | None:
    """The main figure of a constant prediction."""
    baseline = result.details.baseline
    return baseline.figures.get(result.figure) if baseline else None


def headlines(result: Result) -> list[Headline]:
    """The figures that say how good the model is."""
    names = dict.fromkeys([result.figure, *TILES, *result.figures])
    known = [name for name in names if name in result.figures and name != "loss"]
    return [
        Headline(kind.title, kind.write(result.figures[name]), "", _tile_meaning(result, name))
        for name in known[:MOST_TILES]
        for kind in [result.kind(name)]
    ]


def _tile_meaning(result: Result, name: str) -> str:
    kind = result.kind(name)
    interval = kind.write_interval(result.intervals.get(name))
    return f"95 % interval {interval}. {kind.meaning}" if interval else kind.meaning


def warnings(result: Result) -> list[str]:
    """What a reader of the figures must know."""
    found = list(result.details.warnings)
    kept = result.kept
    if kept is not None and kept.collapsed and not any(kept.collapsed in said for said in found):
        found.append(f"{kept.name} has collapsed: {kept.collapsed}")
    if number(result.details.hand_over, "loaded_weights") == 0 and not from_scratch(result):
        found.append("no pretrained weights were loaded: the encoder began from random ones")
    same = result.details.chosen_on == result.details.reported_on != ""
    if same and not any("chosen on" in said for said in found):
        found.append(
            "the figures are of the rows that the model was chosen on, and flatter it: "
            "rows that nothing was chosen on would give fairer ones"
        )
    return found


def facts(result: Result) -> list[tuple[str, str]]:
    """What was trained on what, as names and values."""
    details = result.details
    counted = {"train": "training rows", "eval": "evaluation rows", "test": "test rows"}
    kept = result.kept
    encoder = "encoder" if from_scratch(result) else "pretrained encoder"
    if not details.rows:  # of `evaluate`, which trains nothing
        encoder = "model"
    known = [
        (encoder, result.model),
        *(
            (words, wording.whole(details.rows.get(name) or None))
            for name, words in counted.items()
        ),
        ("pretrained weights", wording.short(number(details.hand_over, "loaded_weights") or None)),
        ("new weights", wording.short(number(details.hand_over, "new_weights"))),
        ("chosen on", details.chosen_on),
        ("training time", wording.duration(kept.seconds if kept else None)),
        ("device", details.device),
    ]
    return [(name, value) for name, value in known if value and value != wording.NOTHING]


def seed_spreads(result: Result) -> dict[str, Spread]:
    """What the seeds of the chosen settings gave, by split; empty with less than two seeds."""
    trial = chosen(result, "pretrained") or chosen(result, "scratch")
    if trial is None or len(trial.runs) < 2:
        return {}
    spreads = {split: trial.spread(split, result.figure) for split in ("eval", "test")}
    return {split: spread for split, spread in spreads.items() if spread is not None}


def seeds_sentences(result: Result, spreads: dict[str, Spread]) -> list[str]:
    """Median and spread over seeds, a sentence a split."""
    kind = result.kind(result.figure)
    return [
        f"{kind.title} on {split}: median {kind.write(spread.median)} of "
        f"{len(spread.values)} seeds, from {kind.write_interval(spread.ends)}."
        for split, spread in spreads.items()
    ]
