"""`elektron explain`: explain each text of a file, and write the explanations and the metrics over all texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer, Explanation
from elektron.explain.faithfulness import Faithfulness, summarize
from elektron.explain.importance import LARGE_GAP
from elektron.explain.page import explain_report, tiles, trust_warnings
from elektron.finetuning.readers.lines import STDIN
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.output import check_output, open_writer
from elektron.inference.predict import predict_rows
from elektron.io.files import refuse_foreign
from elektron.progress import Progress
from elektron.reporting.page import PAGE_MARKER
from elektron.terminal import output

log = logging.getLogger(__name__)

SHOWN = 100
"""Maximum number of texts on a page; the metrics are over all texts."""
TEXTS_AT_ONCE = 32
"""Number of texts that are explained before they are written; small, because attention weights need much memory."""


def explain(config: ExplainConfig) -> dict[str, Any]:
    """Explain each text of the input and write the explanations.

    Returns:
        The metrics over all texts.

    Raises:
        ElektronError: there is no such model or file, or the file does not fit the model's task.
    """
    out = config.output
    is_page = out is not None and out.suffix == ".html"
    if out is not None:
        check_output(out, config.input)
        if is_page:
            refuse_foreign(out, PAGE_MARKER)
    explainer = Explainer.of(config)
    gaps: list[float] = []
    measured: list[list[Faithfulness]] = []
    shown: list[Explanation] = []

    def explain_records(records: Sequence[Record]) -> list[Prediction]:
        predictions = []
        with Progress("these texts", len(records), "texts", shown=config.input != STDIN, brief=True) as bar:
            for record in records:
                explanation = explainer.explain(record, seed=len(measured))
                gaps.extend(each.attribution.gap for each in explanation.answers if each.attribution)
                measured.append([each.faithfulness for each in explanation.answers if each.faithfulness])
                if is_page and len(shown) < SHOWN:
                    shown.append(explanation)
                column = {} if is_page else {"explanation": explanation.as_json()}
                predictions.append(explanation.reading.prediction | column)
                bar.update(len(predictions))
        return predictions

    is_json = output.results if out is None else not is_page
    with open_writer(out, config.input) if is_json else nullcontext(lambda rows: None) as write:
        texts = predict_rows(
            config, explainer.layout, explainer.tokenizer, explain_records, write, TEXTS_AT_ONCE, "explaining"
        )
    result: dict[str, Any] = {"model": config.model, "input": config.input, "method": config.method, "texts": texts}
    if gaps:
        result["gap"] = {
            "steps": config.steps,
            "answers": len(gaps),
            "median": float(np.median(gaps)),
            "largest": max(gaps),
            "large": sum(gap > LARGE_GAP for gap in gaps),
        }
    if any(measured):
        result["faithfulness"] = summarize([text for text in measured if text])
    if out is not None and is_page:
        explain_report(result, shown).write(out)
    for name, meaning in trust_warnings(result).items():
        log.warning("%s: %s", name, meaning)
    metrics = (f"{tile.name.lower()} {tile.value} ({tile.meaning.rstrip('.')})" for tile in tiles(result).tiles)
    log.info("%s", "; ".join(metrics) or "no text has two or more words: faithfulness cannot be measured")
    return result
