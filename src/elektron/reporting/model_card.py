"""`README.md` of a fine-tuned model, as the Hugging Face hub reads it: metadata, then the text.

It says what was measured and on what. What is not known, such as a licence or a language, is left
out for the one who publishes the model to fill in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from elektron.configuration import format_value
from elektron.errors import ElektronError
from elektron.io.datasets import HUB
from elektron.io.files import atomic_write
from elektron.reporting.markdown import block, code, plain, table
from elektron.reporting.reading import number
from elektron.reporting.results import Result, read_result
from elektron.reporting.seeds import was_it_worth_it
from elektron.reporting.task_summary import (
    against_baseline,
    how_trained,
    rows_in_words,
    seed_spreads,
    seeds_sentences,
    task_name,
    warnings,
)
from elektron.reporting.task_tables import figures
from elektron.reporting.usage import usage
from elektron.reporting.wording import whole
from elektron.terminal import escape_control

CARD = "README.md"
PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "multiple-choice": "multiple-choice",
    "translation": "translation",
    "summarization": "summarization",
    "generation": "text-generation",
}
# Names of figures that the hub calls otherwise.
METRICS = {
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "mcc": "matthews_correlation",
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
    "rougeLsum": "rouge",
}
# NAME or OWNER/NAME, with a revision, or scratch:RECIPE.
HUB_NAME = re.compile(r"[\w-][\w.:-]*(/[\w.-]+)?(@[\w./-]+)?")
# Beside the figures, but chosen and not measured.
NOT_MEASURED = {"null_threshold"}
# Settings that say how a model was trained.
TRAINING = [
    "learning_rate",
    "layer_decay",
    "epochs",
    "batch_size",
    "warmup",
    "weight_decay",
    "dropout",
    "label_smoothing",
    "max_length",
    "truncation",
    "keep",
    "decoder_layers",
    "max_target_length",
    "seed",
    "seeds",
]


def write_model_card(folder: Path) -> Path:
    """Write `README.md` into the folder of a fine-tuned model; the path of the file.

    Raises:
        ElektronError: a file in the folder is damaged, or the card cannot be written.
    """
    path = folder / CARD
    text = model_card(read_result(folder))
    try:
        atomic_write(path, text)
    except OSError as error:
        raise ElektronError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def model_card(result: Result) -> str:
    """The card as one text."""
    metadata = yaml.safe_dump(_metadata(result), sort_keys=False, allow_unicode=True, width=1000)
    sections = [
        f"---\n{metadata}---",
        f"# {plain(result.name)}",
        _what_it_is(result),
        *_section("Figures", _figures(result)),
        *_section("Was pre-training worth it?", _worth(result)),
        *_section("How to use it", _use(result)),
        *_section("How it was made", _making(result)),
        *_section("Limits", _limits(result)),
    ]
    return "\n\n".join(sections) + "\n"


def _section(title: str, paragraphs: Iterable[str]) -> list[str]:
    """The heading and what stands under it; nothing if nothing does."""
    found = [paragraph for paragraph in paragraphs if paragraph]
    return [f"## {title}", *found] if found else []


def _metadata(result: Result) -> dict[str, Any]:
    """What the hub reads."""
    pipeline = PIPELINES.get(result.task)
    tags = ["elektron", escape_control(result.family)]
    data = _files(result, result.split) or _files(result, "train")
    dataset = {
        "name": escape_control(", ".join(data)) or "not recorded",
        **_hub_name(data),
        "split": escape_control(result.split) or "not recorded",
    }
    metrics = [
        {
            "type": METRICS.get(name, escape_control(name)),
            "value": value,
            "name": escape_control(kind.title),
        }
        for name, value in result.figures.items()
        for kind in [result.kind(name)]
        if name not in NOT_MEASURED
    ]
    task = {
        "type": pipeline or escape_control(result.task),
        "name": escape_control(task_name(result)),
    }
    return {
        "library_name": "transformers",
        **({"pipeline_tag": pipeline} if pipeline else {}),
        "tags": [tag for tag in dict.fromkeys(tags) if tag],
        "model-index": [
            {
                "name": escape_control(result.name),
                "results": [{"task": task, "dataset": dataset, "metrics": metrics}],
            }
        ],
    }


def _files(result: Result, split: str) -> list[str]:
    """The files of a split by their names; none where they were held out of the training's."""
    value = result.config.get(split)
    files = [str(name) for name in value] if isinstance(value, list) else []
    return [_file_name(name) for name in files if not _is_share(name)]


def _file_name(name: str) -> str:
    """Without folders, which say something of another machine only."""
    return name if name.startswith(HUB) else name.replace("\\", "/").rpartition("/")[2]


def _encoder(model: str) -> str:
    """The hub's name of it or a recipe as they are; of a folder its own name only."""
    named = HUB_NAME.fullmatch(model) and not Path(model).is_dir()
    return model if named else _file_name(model.rstrip("/\\"))


def _is_share(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _hub_name(files: list[str]) -> dict[str, str]:
    """The hub's name of the data and the revision that was asked for, or that they are files."""
    if not files or not files[0].startswith(HUB):
        return {"type": "files"}
    name, _, revision = files[0].removeprefix(HUB).partition(":")[0].partition("@")
    return {
        "type": escape_control(name),
        **({"revision": escape_control(revision)} if revision else {}),
    }


def _what_it_is(result: Result) -> str:
    kind = result.kind(result.figure)
    interval = kind.write_interval(result.intervals.get(result.figure))
    inside = f" (95 % interval {interval})" if interval else ""
    value = kind.write(result.figures.get(result.figure))
    encoder = _encoder(result.model)
    origin = f" ({code(encoder)})" if encoder else ""
    return (
        f"{task_name(result)}: an encoder{origin}, {how_trained(result)} with Elektron. "
        f"{plain(f'{kind.title} is {value}{inside} on {rows_in_words(result)}.')}"
        f"{plain(against_baseline(result))}"
    )


def _figures(result: Result) -> Iterable[str]:
    yield f"Of {plain(rows_in_words(result))}:"
    baseline = result.details.baseline
    head = ["figure", "value", "95 % interval", *([plain(baseline.name)] if baseline else [])]
    rows = []
    for row in figures(result):
        cells = [row.title, row.value, row.interval, *([row.baseline] if baseline else [])]
        rows.append([plain(cell) for cell in cells])
    yield table(head, rows)
    for name, note in result.details.notes.items():
        yield f"{plain(result.kind(name).title)}: {code(note)}"


def _worth(result: Result) -> Iterable[str]:
    worth = was_it_worth_it(result)
    if worth is None:
        return
    yield plain(worth.sentence)
    kind = result.kind(result.figure)
    yield table(
        ["network", "median", "from … to", "seed by seed"],
        [
            [
                side.name,
                plain(kind.write(side.spread.median)),
                plain(kind.write_interval(side.spread.ends)),
                " · ".join(plain(kind.write(value)) for value in side.spread.values),
            ]
            for side in worth.sides
        ],
    )


def _use(result: Result) -> Iterable[str]:
    code_to_copy = usage(result, result.home.name)
    if code_to_copy is not None:
        yield block(code_to_copy.python, "python")
        yield block(code_to_copy.shell, "sh")
        yield plain(code_to_copy.remark)
    if result.labels:
        some = result.labels[:40]
        more = f" and {len(result.labels) - len(some)} more" if len(result.labels) > 40 else ""
        yield f"Labels: {', '.join(code(label) for label in some)}{more}."


def _making(result: Result) -> Iterable[str]:
    for split in ("train", "eval", "test"):
        sentence = _data(result, split)
        if sentence:
            yield sentence
    yield _hand_over(result)
    known = [
        (name, result.config[name]) for name in TRAINING if result.config.get(name) is not None
    ]
    kept = result.kept.settings if result.kept else {}
    settings = dict(known) | {name: value for name, value in kept.items() if value is not None}
    if settings:
        yield table(
            ["setting", "value"],
            [[code(name), code(format_value(value))] for name, value in settings.items()],
        )
    for sentence in seeds_sentences(result, seed_spreads(result)):
        yield plain(sentence)
    versions = result.details.versions
    if versions:
        yield plain(
            ", ".join(f"{name} {format_value(version)}" for name, version in versions.items())
        )


def _data(result: Result, split: str) -> str:
    """Which rows a split has."""
    uses = {"train": "Trained on", "eval": "Chosen on", "test": "Tested on"}
    rows, files = result.details.rows.get(split), _files(result, split)
    names = ", ".join(code(name) for name in files)
    if not rows:
        return f"{uses[split]} {names}." if names else ""
    counted = f"{uses[split]} {whole(rows)} rows"
    if names:
        return f"{counted} of {names}."
    return f"{counted}, held out of the training rows." if split == "eval" else f"{counted}."


def _hand_over(result: Result) -> str:
    loaded, new = (
        number(result.details.hand_over, name) for name in ("loaded_weights", "new_weights")
    )
    if loaded is None or new is None:
        return ""
    return f"{whole(loaded)} weights are the pretrained model’s, {whole(new)} began at random."


def _limits(result: Result) -> Iterable[str]:
    yield (
        "It has been tested on the rows named above and on nothing else: not on text of other "
        "origin, time or language, not on input made to mislead it, and not for how it treats "
        "people. The intervals say how far other rows of the same kind would move the figures, "
        "no more."
    )
    said = [f"- {plain(warning)}" for warning in warnings(result)]
    yield "\n".join(said)
