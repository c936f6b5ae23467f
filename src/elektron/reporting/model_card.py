"""`README.md` of a fine-tuned model, as the Hugging Face hub reads it: metadata, then the text.

It says what was measured and on what. What is not known, such as a license or a language, is left to the publisher.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from elektron.configuration import format_value
from elektron.errors import ElektronError
from elektron.hub import OUR_FAMILY
from elektron.io.datasets import HUB
from elektron.io.files import atomic_write
from elektron.reporting import markdown
from elektron.reporting.formatting import scientific, whole
from elektron.reporting.markdown import code, plain
from elektron.reporting.page import Inline, Table, sides_table
from elektron.reporting.page import code as code_cell
from elektron.reporting.reading import Record, number
from elektron.reporting.task_report import (
    how_trained,
    main_metric,
    metrics_table,
    pretraining_gain,
    privacy_sentence,
    rows_in_words,
    seeds_sentences,
    task_name,
    warnings,
)
from elektron.reporting.task_result import TaskResult, read_task_result
from elektron.reporting.usage import ANSWERS_REMARK, python_usage, shell_usage
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
    "embedding": "sentence-similarity",
}
HUB_METRICS = {
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "mcc": "matthews_correlation",
} | dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), "rouge")
"""Metrics that have another name on the hub."""
HUB_NAME = re.compile(r"[\w-][\w.:-]*(/[\w.-]+)?(@[\w./-]+)?")
"""NAME or OWNER/NAME, with a revision, or scratch:RECIPE."""
NOT_MEASURED = "null_threshold"
TRAINING = (
    *("learning_rate", "layer_decay", "epochs", "batch_size", "warmup", "weight_decay", "dropout"),
    *("label_smoothing", "max_length", "truncation", "keep", "decoder_layers"),
    *("max_target_length", "seed", "seeds"),
)
"""Settings in the card."""
MAX_LABELS = 40
SPLITS = {"train": "Trained on", "eval": "Chosen on", "test": "Tested on"}
LIMITS = (
    "It has been tested on the rows named above and on nothing else: not on text of other origin, "
    "time or language, not on input made to mislead it, and not for how it treats people. The "
    "intervals say how far other rows of the same kind would move the metrics, no more."
)
WITHOUT_ELEKTRON = (
    "Without Elektron installed, leave out the first line and pass `trust_remote_code=True`: the code of the "
    "family, `elektron.py` and `heads.py`, needs torch and transformers only."
)


def write_model_card(folder: Path) -> Path:
    """Write `README.md` into the folder of a fine-tuned model; the path of the file.

    Raises:
        ElektronError: a file in the folder is damaged, or the card cannot be written.
    """
    path, text = folder / CARD, model_card(read_task_result(folder))
    try:
        atomic_write(path, text)
    except OSError as error:
        raise ElektronError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def model_card(result: TaskResult, name: str | None = None) -> str:
    """The card as one text; `name`: the model's on the hub (default: the name of its folder)."""
    if name is not None:
        result = replace(result, name=name.rpartition("/")[2])
    encoder = encoder_name(result.model)
    origin = f" ({code(encoder)})" if encoder else ""
    introduction = (
        f"{task_name(result)}: an encoder{origin}, {how_trained(result)} with Elektron. {plain(main_metric(result))}"
    )
    metrics = [f"Of {plain(rows_in_words(result))}:", metrics_table(result, False).markdown()]
    metrics += [f"{plain(result.format(name).title)}: {code(how)}" for name, how in result.details.notes.items()]
    sections = {
        "Metrics": metrics,
        "Was pre-training worth it?": _gain(result),
        "How to use it": _usage(result, name or result.home.name),
        "How it was made": _making(result),
        "Privacy": [plain(privacy_sentence(result.privacy))] if result.privacy else [],
        "Limits": [LIMITS, "\n".join(f"- {plain(warning)}" for warning in warnings(result))],
    }
    parts = [f"---\n{_metadata(result).to_yaml()}\n---", f"# {plain(result.name)}", introduction]
    for title, paragraphs in sections.items():
        if any(paragraphs):
            parts += [f"## {title}", *filter(None, paragraphs)]
    return "\n\n".join(parts) + "\n"


def _metadata(result: TaskResult) -> ModelCardData:
    pipeline, base = PIPELINES.get(result.task), result.model
    files = _files(result, result.split) or _files(result, "train")
    dataset, revision = "files", None
    if files and files[0].startswith(HUB):
        name = files[0].removeprefix(HUB).partition(":")[0]
        dataset, _, revision = (escape_control(part) for part in name.partition("@"))
    metrics = [
        EvalResult(
            task_type=pipeline or escape_control(result.task),
            task_name=escape_control(task_name(result)),
            dataset_type=dataset,
            dataset_name=escape_control(", ".join(files)) or "not recorded",
            dataset_split=escape_control(result.split) or "not recorded",
            dataset_revision=revision or None,
            metric_type=HUB_METRICS.get(name, escape_control(name)),
            metric_value=value,
            metric_name=escape_control(result.format(name).title),
        )
        for name, value in result.metrics.items()
        if name != NOT_MEASURED
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        base_model=base.partition("@")[0] if "/" in base and on_hub(base) else None,
        tags=list(filter(None, dict.fromkeys(["elektron", escape_control(result.family)]))),
        model_name=escape_control(result.name),
        eval_results=metrics,
    )


def _files(result: TaskResult, split: str) -> list[str]:
    """The names of a split's files; none where it was held out of the training rows."""
    value = result.config.get(split)
    files = [str(name) for name in value] if isinstance(value, list) else []
    return [file_name(name) for name in files if not re.fullmatch(r"[\d.eE+-]+", name)]


def file_name(name: str) -> str:
    """Without folders, which are of this machine only."""
    return name if name.startswith(HUB) else name.replace("\\", "/").rpartition("/")[2]


def on_hub(model: str) -> bool:
    """Whether it is a name on the hub, or a recipe, and not a folder."""
    return bool(HUB_NAME.fullmatch(model)) and not Path(model).is_dir()


def encoder_name(model: str) -> str:
    """The hub's name of it or a recipe as they are; of a folder its own name only."""
    return model if on_hub(model) else file_name(model.rstrip("/\\"))


def _gain(result: TaskResult) -> Sequence[str]:
    gain = pretraining_gain(result)
    if gain is None:
        return []
    spreads, _, verdict = gain
    return [plain(verdict), sides_table(spreads, result.format(result.metric), {}).markdown()]


def _usage(result: TaskResult, name: str) -> Sequence[str]:
    found = []
    if result.network:
        found.append(markdown.block(python_usage(result, name), "python"))
        found.append(WITHOUT_ELEKTRON if result.family == OUR_FAMILY else "")
        found.append(markdown.block(shell_usage(name), "sh"))
        found.append(plain(ANSWERS_REMARK) if result.task == "question-answering" else "")
    if result.labels:
        labels = ", ".join(map(code, result.labels[:MAX_LABELS]))
        more = len(result.labels) - MAX_LABELS
        found.append(f"Labels: {labels}{f' and {more} more' if more > 0 else ''}.")
    return found


def _making(result: TaskResult) -> Sequence[str]:
    found = []
    for split, use in SPLITS.items():
        rows = result.details.rows.get(split)
        counted = f"{whole(rows)} rows" if rows else ""
        names = ", ".join(map(code, _files(result, split)))
        held_out = f"{counted}, held out of the training rows" if split == "eval" else counted
        data = (f"{counted} of {names}" if names else held_out) if counted else names
        found.append(f"{use} {data}." if data else "")
    weights = result.details.hand_over
    if {"loaded_weights", "new_weights"} <= weights.keys():
        found.append(
            f"{whole(weights['loaded_weights'])} weights are the pretrained model’s, "
            f"{whole(weights['new_weights'])} began at random."
        )
    if run := result.details.pretraining:
        sources = ", ".join(code(str(source)) for source in run.get("sources") or ["its corpus"])
        found.append(
            f"The encoder was pre-trained on {whole(number(run, 'tokens'))} tokens of {sources}: "
            f"{whole(number(run, 'steps'))} steps, {scientific(number(run, 'flops'))} FLOPs."
        )
    settings = {name: result.config.get(name) for name in TRAINING}
    settings |= result.kept.settings if result.kept else {}
    found.append(settings_table(settings))
    found += map(plain, seeds_sentences(result))
    found.append(versions_line(result.details.versions))
    return found


def settings_table(settings: Record) -> str:
    """The settings that have a value; empty where none has."""
    shown: list[list[Inline]] = [
        [code_cell(name), code_cell(format_value(value))] for name, value in settings.items() if value is not None
    ]
    return Table(["setting", "value"], shown).markdown() if shown else ""


def versions_line(versions: Record) -> str:
    """The versions of packages."""
    return plain(", ".join(f"{name} {format_value(version)}" for name, version in versions.items()))
