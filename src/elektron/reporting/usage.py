"""Code to copy from a report or card, by `usage.jinja`: how a pre-trained or fine-tuned model is used."""

from __future__ import annotations

import shlex
from typing import Any

from elektron.reporting import page
from elektron.reporting.page import Block, note, templates, text
from elektron.reporting.pretraining_run import PretrainingRun
from elektron.reporting.task_result import TaskResult

WITHOUT_GENERATOR = "mlm"
WITHOUT_DETECTOR = ("mlm", "replace_mlm")
ANSWERS_REMARK = (
    "This takes the best start and the best end of a passage that fits in one window; “elektron "
    "predict” reads long passages in windows and handles questions without an answer."
)


def render_code(macro: str, *arguments: Any) -> str:
    """Render a macro of `usage.jinja`."""
    module = templates(autoescape=False).get_template("usage.jinja").module
    return str(getattr(module, macro)(*arguments)).strip()


def pretraining_usage(run: PretrainingRun, several: bool) -> list[Block]:
    """Code that uses a pre-trained pair; `several`: whether the page is on other runs too."""
    networks = [shlex.quote(str(run.folder / name)) for name in ("discriminator", "generator")]
    if run.config.get("objective") == WITHOUT_GENERATOR:
        networks.pop()
    whose = f"; here that of {run.name}" if several else ""
    detector = detector_code(run)
    return [
        text(f"The discriminator is the network to keep{whose}. Paths are as they were when this page was written."),
        page.Heading("Hidden states, to build on"),
        page.Code(render_code("encoder", run.config.get("family"), repr(str(run.folder / "discriminator")))),
        *([page.Heading("The probability that each token was replaced"), page.Code(detector)] if detector else []),
        page.Heading("Continue training"),
        page.Code(render_code("continued", shlex.quote(str(run.folder)), networks)),
    ]


def detector_code(run: PretrainingRun) -> str:
    """Code that computes the probability that each token was replaced; empty if the objective does not train that."""
    if run.config.get("objective") in WITHOUT_DETECTOR:
        return ""
    return render_code("detector", run.config.get("family"))


def task_usage(result: TaskResult) -> list[Block]:
    """Code that uses a fine-tuned model; none for a result without a model."""
    if not result.network:
        return []
    return [
        text("Paths are as they were when this page was written."),
        page.Code(shell_usage(str(result.home))),
        page.Heading("In Python"),
        page.Code(python_usage(result, str(result.home))),
        *([note(ANSWERS_REMARK)] if result.task == "question-answering" else []),
    ]


def shell_usage(folder: str) -> str:
    """Command that predicts with a fine-tuned model."""
    return f"elektron predict {shlex.quote(folder)} --input FILE --output predictions.jsonl"


def python_usage(result: TaskResult, folder: str) -> str:
    """Python code that uses a fine-tuned model with transformers, and with `elektron.models` if its family needs it."""
    several, pairs = result.learned.get("several"), result.learned.get("pairs")
    return render_code("task", result.task, result.family, repr(folder), several, pairs)
