"""`elektron explain`: the explanations of a file's texts in its form of output, and the figures over all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from elektron.corpus.unknown import count_unknown
from elektron.errors import ElektronError
from elektron.explain.attributions import LARGE_GAP
from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer, Explanation
from elektron.explain.faithfulness import Faithfulness, Figure, Summary, summarize
from elektron.finetuning.prediction_columns import PredictionColumns
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import input_texts
from elektron.inference.output import Write, open_writer
from elektron.io.files import atomic_file, make_parents, refuse_foreign
from elektron.progress import Progress
from elektron.reporting.charts import save_png
from elektron.reporting.page import OURS
from elektron.terminal import output

log = logging.getLogger(__name__)

SHOWN = 100
"""Texts on a page; the figures are of all."""


def explain(config: ExplainConfig) -> dict[str, Any]:
    """Explain each text of the input and write that; returns the figures over all texts.

    Raises:
        ElektronError: there is no such model or file, or the file is not one for the model.
    """
    check_out(config)
    explainer = Explainer.of(config)
    records = list(read_records([config.input], explainer.layout, config, labelled=False))
    texts = input_texts(explainer.layout, records)
    count_unknown(texts, explainer.tokenizer).check(config.input, config.allow_unknown)
    gaps: list[float] = []
    falls: list[list[Faithfulness]] = []
    kept: list[Explanation] = []
    columns = PredictionColumns()
    with (
        writer_of(config) as write,
        Progress(f"explaining {config.input}", len(records), "texts") as bar,
    ):
        for number, record in enumerate(records):
            found = explainer.explain(record, seed=number)
            gaps += [each.attribution.gap for each in found.answers if each.attribution]
            if measured := [each.faithfulness for each in found.answers if each.faithfulness]:
                falls.append(measured)
            if write is not None:
                prediction = found.reading.prediction | {"explanation": found.as_json()}
                write(columns.rows([record], [prediction]))
            elif len(kept) < SHOWN:
                kept.append(found)
            bar.update(number + 1)
    summary = summarize(falls) if falls else None
    result = as_json(config, len(records), gaps, summary)
    if config.out is not None and write is None:
        write_picture(config.out, config, kept, result, summary)
    log_summary(config, gaps, summary)
    return result


def check_out(config: ExplainConfig) -> None:
    """Raise ElektronError, before the work, for an output that must not be replaced."""
    if config.out is None:
        return
    source = Path(config.input)
    if config.out.is_dir():
        raise ElektronError(f"--out {config.out} is a folder: give the name of a file")
    if config.out.exists() and source.exists() and config.out.samefile(source):
        raise ElektronError(f"--out {config.out} is the input itself: choose another name")
    if config.out.suffix == ".html":
        refuse_foreign(config.out, OURS)


@contextmanager
def writer_of(config: ExplainConfig) -> Iterator[Write | None]:
    """A function that writes JSON lines; None for a page or a picture, and where only the figures are wanted."""
    to_stdout = config.out is None and output.results
    if not to_stdout and (config.out is None or config.out.suffix != ".jsonl"):
        yield None
        return
    with open_writer(config.out) as write:
        yield write


def write_picture(
    out: Path,
    config: ExplainConfig,
    explanations: Sequence[Explanation],
    result: dict[str, Any],
    summary: Summary | None,
) -> None:
    """Write a page of the texts, or a picture of the first one.

    Raises:
        ElektronError: it cannot be written.
    """
    from elektron.explain.page import page
    from elektron.explain.picture import picture

    if out.suffix == ".html":
        page(config, explanations, result, summary).write(out)
        return
    if result["texts"] > 1:
        log.info("%s shows the first of %s texts", out, f"{result['texts']:,}")
    try:
        make_parents(out)
        with atomic_file(out) as partial_file:
            save_png(picture(explanations[0]), partial_file)
    except OSError as error:
        raise ElektronError(f"{out} cannot be written ({error.strerror})") from error


def as_json(
    config: ExplainConfig, texts: int, gaps: Sequence[float], summary: Summary | None
) -> dict[str, Any]:
    """The figures over all texts in JSON's types."""
    result: dict[str, Any] = {
        "model": config.model,
        "input": config.input,
        "method": config.method,
        "texts": texts,
    }
    if gaps:
        result["gap"] = {
            "steps": config.steps,
            "answers": len(gaps),
            "median": float(np.median(gaps)),
            "largest": max(gaps),
            "large": sum(gap > LARGE_GAP for gap in gaps),
        }
    if summary is not None:
        result["faithfulness"] = asdict(summary) | {
            "better_than_random": summary.better_than_random
        }
    return result


def log_summary(config: ExplainConfig, gaps: Sequence[float], summary: Summary | None) -> None:
    """The convergence gap, a warning where it is large, and last how faithful the order of words is."""
    if gaps:
        log.info(
            "convergence gap with %s steps: median %.2g %%, largest %.2g %%",
            config.steps,
            100 * np.median(gaps),
            100 * max(gaps),
        )
    if large := sum(gap > LARGE_GAP for gap in gaps):
        log.warning(
            "the attributions of %s of %s answers miss the change of the score by more than %.0f %%: do not rely on "
            "them; --steps %s makes the gap smaller",
            f"{large:,}",
            f"{len(gaps):,}",
            100 * LARGE_GAP,
            4 * config.steps,
        )
    if summary is None:
        log.info("no text has two words or more: how faithful the order is cannot be measured")
        return
    figures = (
        f"comprehensiveness {figure_text(summary.comprehensiveness)}, "
        f"sufficiency {figure_text(summary.sufficiency)}, over {summary.texts:,} texts"
    )
    if summary.better_than_random is False:
        log.warning(
            "the order of the words is not better than a random one, so it does not explain the answers: %s",
            figures,
        )
    else:
        log.info("%s", figures)


def figure_text(figure: Figure) -> str:
    """`0.412 (random order 0.120, difference 0.292, 95 % 0.260 … 0.324)`."""
    interval = (
        f", 95 % {figure.interval[0]:.3f} … {figure.interval[1]:.3f}" if figure.interval else ""
    )
    text = (
        f"{figure.value:.3f} (random order {figure.random:.3f}, difference "
        f"{figure.difference:.3f}{interval})"
    )
    return text.replace("-", "−")
