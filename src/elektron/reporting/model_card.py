"""Model cards: `README.md` of a fine-tuned model or a pre-trained network, in the format of the Hugging Face hub.

A card says what was measured, and on which data. What is not known, such as the license or the language, is left to
the publisher. The template is `card.md.jinja`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from markupsafe import Markup

from elektron.configuration import format_value
from elektron.io.checksums import text_sha256
from elektron.io.datasets import HUB
from elektron.models.pair import GENERATOR
from elektron.reporting import formatting, markdown, pretraining_report, task_report, task_summary, usage
from elektron.reporting.page import Table, code, templates
from elektron.reporting.pretraining_run import PretrainingRun
from elektron.reporting.reading import Record, group, number
from elektron.reporting.sections import sides_table
from elektron.reporting.task_result import TaskResult, read_task_result
from elektron.terminal import escape_control

CARD = "README.md"
DIGEST = "\n<!-- generated; SHA-256 of the text above: {} -->\n"
PIPELINES = {name: name for name in task_summary.TASKS} | {
    "classification": "text-classification",
    "regression": "text-classification",
    "generation": "text-generation",
    "embedding": "sentence-similarity",
}
HUB_METRICS = {"pearson": "pearsonr", "spearman": "spearmanr", "mcc": "matthews_correlation"} | dict.fromkeys(
    ("rouge1", "rouge2", "rougeL", "rougeLsum"), "rouge"
)
"""Names on the hub of metrics that have another name there."""
TASK_SETTINGS = (
    *("learning_rate", "layer_decay", "epochs", "batch_size", "warmup", "weight_decay", "dropout"),
    *("label_smoothing", "max_length", "truncation", "keep", "decoder_layers"),
    *("max_target_length", "seed", "seeds"),
)
"""Settings in the card of a fine-tuned model."""
ENCODER_SETTINGS = (
    "init_from",
    *("batch_size", "optimizer.name", "optimizer.learning_rate", "optimizer.muon_learning_rate"),
    *("optimizer.weight_decay", "optimizer.warmup", "masking.mask_probability", "masking.unit"),
    *("discriminator_weight", "sharing", "seed"),
)
"""Settings in the card of a pre-trained network."""


def model_card(result: TaskResult, name: str | None = None) -> str:
    """Render the card of a fine-tuned model; `name` is its name on the hub, by default that of its folder."""
    loaded_by = name or result.home.resolve().name
    if name is not None:
        result = replace(result, name=name.rpartition("/")[2])
    settings = {name: result.config.get(name) for name in TASK_SETTINGS}
    gain = task_summary.pretraining_gain(result)
    return _render(
        _metadata(result),
        result=result,
        name=result.name,
        encoder=result.details.hub_name or encoder_name(result.model),
        gain=gain and gain[2],
        sides=gain and sides_table(gain[0], result.format(result.metric), {}),
        family=result.family,
        python=result.network and usage.python_usage(result, loaded_by),
        shell=usage.shell_usage(loaded_by),
        files={split: _files(result, split) for split in ("train", "eval", "test")},
        settings=settings | (result.kept.settings if result.kept else {}),
        versions=result.details.versions,
        warnings=task_summary.warnings(result),
    )


def write_card(folder: Path) -> None:
    """Write the card of a fine-tuned model, with a digest by which `is_generated` recognizes it."""
    text = model_card(read_task_result(folder))
    (folder / CARD).write_text(f"{text}{DIGEST.format(text_sha256(text))}", encoding="utf-8")


def is_generated(card: str) -> bool:
    """Whether a card is unchanged since `write_card` wrote it."""
    text = card[: card.rfind(DIGEST.partition("{")[0])]
    return card == f"{text}{DIGEST.format(text_sha256(text))}"


def encoder_card(run: PretrainingRun, network: str, name: str) -> str:
    """Render the card of a finished run's `discriminator` or `generator`; `name` is its name on the hub."""
    run = _without_folders(run)
    summary = run.summary or {}
    family, objective = str(run.config.get("family")), str(run.config.get("objective"))
    predicts = network == GENERATOR or objective == usage.WITHOUT_GENERATOR
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="fill-mask" if predicts else "feature-extraction",
        tags=[escape_control(tag) for tag in dict.fromkeys(["elektron", family, objective])],
    )
    python = usage.render_code("encoder", run.config.get("family"), repr(name))
    if network != GENERATOR and (detector := usage.detector_code(run)):
        python += f"\n\n# the probability that each token was replaced\n{detector}"
    costs = {
        "steps": formatting.integer(number(summary, "steps")),
        "tokens": formatting.integer(number(summary, "tokens")),
        "FLOPs": formatting.scientific(number(summary, "flops")),
        "time": formatting.duration(number(summary, "seconds")),
        "processor": str(summary.get("device", "not recorded")),
        "precision": str(summary.get("precision", "not recorded")),
    }
    return _render(
        metadata,
        result=None,
        run=run,
        name=name.rpartition("/")[2],
        network=network,
        parameters=number(group(summary, "parameters"), network),
        family=family,
        python=python,
        shell=f"elektron finetune classification --model {name} --train FILE --out model",
        costs=Table([], [[title, value] for title, value in costs.items()]),
        settings={name: run.config.get(name) for name in ENCODER_SETTINGS},
        versions=group(summary, "versions"),
        warnings=[str(alarm.get("message")) for alarm in run.metrics.alarm],
    )


def _render(metadata: ModelCardData, settings: Record, **content: Any) -> str:
    """Render the template; everything it prints is escaped for Markdown unless it is marked as safe."""
    environment = templates(False, lambda value: value if isinstance(value, Markup) else markdown.plain(str(value)))
    environment.filters |= {
        "safe": Markup,
        "table": lambda table: Markup(table.markdown()),
        "code": lambda text: Markup(markdown.code(text)),
        "code_list": lambda texts: Markup(", ".join(markdown.code(str(text)) for text in texts)),
        "block": lambda text, language: Markup(markdown.block(text, language)),
        "value": format_value,
    }
    rows = [[code(name), code(format_value(value))] for name, value in settings.items() if value is not None]
    text = environment.get_template("card.md.jinja").render(
        metadata=metadata.to_yaml(),
        settings=Table(["setting", "value"], rows) if rows else None,
        formatting=formatting,
        number=number,
        pretraining_report=pretraining_report,
        task_report=task_report,
        task_summary=task_summary,
        usage=usage,
        **content,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _metadata(result: TaskResult) -> ModelCardData:
    pipeline = PIPELINES.get(result.task)
    files = _files(result, result.split) or _files(result, "train")
    dataset, revision = "files", None
    if files and files[0].startswith(HUB):
        dataset, _, revision = escape_control(files[0].removeprefix(HUB).partition(":")[0]).partition("@")
    metrics = [
        EvalResult(
            task_type=pipeline or escape_control(result.task),
            task_name=escape_control(task_summary.task_name(result)),
            dataset_type=dataset,
            dataset_name=escape_control(", ".join(files)) or "not recorded",
            dataset_split=escape_control(result.split) or "not recorded",
            dataset_revision=revision or None,
            metric_type=HUB_METRICS.get(name, escape_control(name)),
            metric_value=value,
            metric_name=escape_control(result.format(name).title),
        )
        for name, value in result.metrics.items()
        if name != "null_threshold"
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        base_model=result.details.hub_name.partition("@")[0] or None,
        tags=list(filter(None, dict.fromkeys(["elektron", escape_control(result.family)]))),
        model_name=escape_control(result.name),
        eval_results=metrics,
    )


def _files(result: TaskResult, split: str) -> list[str]:
    """The names of a split's files; empty if the split was held out from the training rows."""
    value = result.config.get(split)
    files = [str(name) for name in value] if isinstance(value, list) else []
    return [file_name(name) for name in files if not re.fullmatch(r"[\d.eE+-]+", name)]


def file_name(name: str) -> str:
    """The name of a file without its folders, which mean nothing on other machines."""
    return name if name.startswith(HUB) else name.replace("\\", "/").rpartition("/")[2]


def on_hub(model: str) -> bool:
    """Whether `model` has the form NAME or OWNER/NAME, as on the hub, or scratch:RECIPE, and is not a folder."""
    has_form = re.fullmatch(r"[\w-][\w.:-]*(/[\w.-]+)?(@[\w./-]+)?", model) is not None
    return has_form and not Path(model).is_dir()


def encoder_name(model: str) -> str:
    """A hub name or a recipe unchanged; the path of a folder without its parents."""
    return model if on_hub(model) else file_name(model.rstrip("/\\"))


def _without_folders(run: PretrainingRun) -> PretrainingRun:
    """The run with all paths shortened to names, since folders mean nothing on other machines."""
    corpus: Record = dict(run.corpus or {})
    sources = corpus.get("sources")
    corpus["sources"] = [file_name(str(s)) for s in sources] if isinstance(sources, list) else []
    config = dict(run.config)
    if config.get("init_from"):
        config["init_from"] = ",".join(map(encoder_name, str(config["init_from"]).split(",")))
    return replace(run, corpus=corpus, config=config)
