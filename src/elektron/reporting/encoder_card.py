"""`README.md` of a pre-trained encoder for the hub, from the folder of its run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from huggingface_hub import ModelCardData

from elektron.hub import OUR_FAMILY
from elektron.models.pair import GENERATOR
from elektron.reporting import markdown
from elektron.reporting.formatting import duration, scientific, whole
from elektron.reporting.markdown import code, plain
from elektron.reporting.model_card import (
    WITHOUT_ELEKTRON,
    encoder_name,
    file_name,
    settings_table,
    versions_line,
)
from elektron.reporting.page import Table
from elektron.reporting.pretraining_report import corpus_tables, lead, tiles
from elektron.reporting.pretraining_run import PretrainingRun
from elektron.reporting.reading import Record, group, number
from elektron.reporting.usage import WITHOUT_GENERATOR, detector_code, encoder_code
from elektron.terminal import escape_control

SETTINGS = (
    "init_from",
    *("batch_size", "optimizer.name", "optimizer.learning_rate", "optimizer.muon_learning_rate"),
    *("optimizer.weight_decay", "optimizer.warmup", "masking.mask_probability", "masking.unit"),
    *("discriminator_weight", "sharing", "seed"),
)
"""Settings in the card."""
LIMITS = (
    "It has been measured on held-out rows of the text that it was trained on and on nothing else. It has no task: "
    "fine-tune it, and test it on rows of your own. What its text says of people, and what it leaves out, has not "
    "been examined, and models learn it. Training text can in part be found again in a model’s weights."
)


def encoder_card(run: PretrainingRun, network: str, name: str) -> str:
    """The card of one network of a finished run as one text.

    Args:
        run: the run.
        network: `discriminator` or `generator`.
        name: what code in the card loads the model by.
    """
    run = _without_folders(run)
    summary, family = run.summary or {}, str(run.config.get("family"))
    parameters = whole(number(group(summary, "parameters"), network))
    metrics = [f"- {plain(f'{t.name}: {t.value}. {t.meaning}')}" for t in tiles(run)]
    costs = {
        "steps": whole(number(summary, "steps")),
        "tokens": whole(number(summary, "tokens")),
        "FLOPs": scientific(number(summary, "flops")),
        "time": duration(number(summary, "seconds")),
        "processor": str(summary.get("device", "not recorded")),
        "precision": str(summary.get("precision", "not recorded")),
    }
    usage = encoder_code(family, name)
    if network != GENERATOR and (detector := detector_code(run)):
        usage += f"\n\n# the probability that each token was replaced\n{detector}"
    corpus = run.corpus or {}
    sources = ", ".join(map(code, corpus["sources"]))
    alarms = [f"- {plain(str(alarm.get('message')))}" for alarm in run.metrics.alarm]
    parts = [
        f"---\n{_metadata(run, family, network).to_yaml()}\n---",
        f"# {plain(name.rpartition('/')[2])}",
        f"The {network}, with {parameters} parameters. {plain(lead(run))}",
        "## Metrics",
        "Of held-out rows:",
        "\n".join(metrics),
        "## How to use it",
        markdown.block(usage, "python"),
        WITHOUT_ELEKTRON if family == OUR_FAMILY else "",
        markdown.block(f"elektron finetune classification --model {name} --train FILE --out model", "sh"),
        "## Training data",
        f"Sources: {sources or 'not recorded'}.",
        *(table.markdown() for table in corpus_tables(corpus)),
        "## Training",
        Table([], [[title, value] for title, value in costs.items()]).markdown(),
        settings_table({name: run.config.get(name) for name in SETTINGS}),
        versions_line(group(summary, "versions")),
        "## Limits",
        LIMITS,
        "\n".join(alarms),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metadata(run: PretrainingRun, family: str, network: str) -> ModelCardData:
    objective = str(run.config.get("objective"))
    predicts = network == GENERATOR or objective == WITHOUT_GENERATOR
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="fill-mask" if predicts else "feature-extraction",
        tags=[escape_control(tag) for tag in dict.fromkeys(["elektron", family, objective])],
    )


def _without_folders(run: PretrainingRun) -> PretrainingRun:
    """The run without the folders of files, which are of this machine only."""
    corpus: Record = dict(run.corpus or {})
    sources = corpus.get("sources")
    corpus["sources"] = [file_name(str(s)) for s in sources] if isinstance(sources, list) else []
    config: dict[str, Any] = dict(run.config)
    if config.get("init_from"):
        names = str(config["init_from"]).split(",")
        config["init_from"] = ",".join(map(encoder_name, names))
    return replace(run, corpus=corpus, config=config)
