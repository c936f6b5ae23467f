"""`elektron report`: pre-training runs, or fine-tuned models, as one HTML file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from elektron.errors import ElektronError, suggest_path
from elektron.reporting.config import ReportConfig
from elektron.reporting.page import Report
from elektron.reporting.pretraining_report import pretraining_report
from elektron.reporting.pretraining_run import read_runs
from elektron.reporting.task_comparison import same_rows, task_comparison, verdict
from elektron.reporting.task_report import REPORT, task_report
from elektron.reporting.task_result import TaskResult, is_task_result, read_task_results
from elektron.terminal import echo, escape_control

log = logging.getLogger(__name__)


def report(config: ReportConfig) -> Path:
    """Write the report on the configured folders, either all runs or all fine-tuned models; returns its path.

    Raises:
        ElektronError: a folder is not readable, or the file cannot be written.
    """
    for folder in config.runs:
        if not folder.exists():
            advice = suggest_path(folder) or ": give one that `elektron pretrain` or `elektron finetune` wrote"
            raise ElektronError(f"{folder}: no such folder{advice}")
    fine_tuned = [is_task_result(folder) for folder in config.runs]
    if any(fine_tuned) and not all(fine_tuned):
        raise ElektronError(
            f"{config.runs[fine_tuned.index(True)]} is a fine-tuned model and "
            f"{config.runs[fine_tuned.index(False)]} is not: make a report for each kind"
        )
    several = len({folder.resolve() for folder in config.runs}) > 1
    if any(fine_tuned):
        results = read_task_results(config.runs)
        page = compare_models(results) if several else task_report(results[0])
    else:
        page = pretraining_report(read_runs(config.runs))
    out = config.out or (Path("comparison.html") if several else config.runs[0] / REPORT)
    page.write(out)
    log.info("the report is %s", out)
    return out


def compare_models(results: Sequence[TaskResult]) -> Report:
    """The page on several models; also prints the verdicts that compare the first with each of the others."""
    verdicts = []
    if same_rows(results):
        from elektron.finetuning.results import paired_difference

        base = results[0]
        for other in results[1:]:
            try:
                difference = paired_difference(base.folder, other.folder, base.metric)
            except ElektronError as error:  # written by another version, or changed since
                log.warning("no interval of the difference: %s", error)
                difference = None
            verdicts.append(verdict(base, other, difference))
            echo(escape_control(verdicts[-1]))
    else:
        log.warning("the models were not tested on the same rows: no verdict is given")
    return task_comparison(results, verdicts)
