"""`elektron report`: pre-training runs, or fine-tuned models, as one HTML file."""

from __future__ import annotations

import logging
from pathlib import Path

from elektron.errors import ElektronError, suggest_path
from elektron.reporting.config import ReportConfig
from elektron.reporting.pretraining_report import pretraining_report
from elektron.reporting.pretraining_run import read_runs
from elektron.reporting.task_comparison import task_comparison
from elektron.reporting.task_report import REPORT, task_report
from elektron.reporting.task_result import is_task_result, read_task_results

log = logging.getLogger(__name__)


def report(config: ReportConfig) -> Path:
    """Write the report on the configured folders, all of runs or all of fine-tuned models.

    Raises:
        ElektronError: a folder is not readable, or the file cannot be written.
    """
    for folder in config.runs:
        if not folder.exists():
            wanted = ": give one that `elektron pretrain` or `elektron finetune` wrote"
            raise ElektronError(f"{folder}: no such folder{suggest_path(folder) or wanted}")
    fine_tuned = [is_task_result(folder) for folder in config.runs]
    if any(fine_tuned) and not all(fine_tuned):
        raise ElektronError(
            f"{config.runs[fine_tuned.index(True)]} is a fine-tuned model and "
            f"{config.runs[fine_tuned.index(False)]} is not: they make two reports, not one"
        )
    if any(fine_tuned):
        results = read_task_results(config.runs)
        page = task_comparison(results) if len(results) > 1 else task_report(results[0])
    else:
        page = pretraining_report(read_runs(config.runs))
    out = config.out or config.runs[0] / REPORT
    page.write(out)
    log.info("the report is %s", out)
    return out
