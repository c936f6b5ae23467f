"""`elektron report`: one run, or several over one another, as one HTML file that a person reads.

Folders of fine-tuned models make a page of another kind, which `task_report` writes. What the page
on runs says is gathered here; how it looks is in `report.html.jinja` and `report.css`.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from elektron.errors import ElektronError
from elektron.pretraining.config import CONFIG
from elektron.reporting import charts, comparison, examples, headline, page, task_report, wording
from elektron.reporting.config import ReportConfig
from elektron.reporting.drawing import look, seed_dots
from elektron.reporting.reading import Record, group, number
from elektron.reporting.results import is_result, read_results
from elektron.reporting.runs import Run, read_runs
from elektron.reporting.second_act import ACCURACY, verdict

log = logging.getLogger(__name__)


def report(config: ReportConfig) -> Path:
    """Write the report on the configured folders, all of runs or all of fine-tuned models.

    Raises:
        ElektronError: a folder is not readable, or the file cannot be written.
    """
    tuned = [is_result(folder) for folder in config.runs]
    if any(tuned) and not all(tuned):
        raise ElektronError(
            f"{config.runs[tuned.index(True)]} is a fine-tuned model and "
            f"{config.runs[tuned.index(False)]} is not: they make two reports, not one"
        )
    written = of_results(config.runs) if any(tuned) else render(read_runs(config.runs))
    out = config.out or config.runs[0] / task_report.REPORT
    page.write_page(out, written)
    log.info("the report is %s", out)
    return out


def of_results(folders: Sequence[Path]) -> str:
    """The page on one fine-tuned model or several."""
    return task_report.render(read_results(folders))


def render(runs: list[Run]) -> str:
    """The page on one run or several."""
    return page.render(
        "report.html.jinja",
        runs=[described(run, index) for index, run in enumerate(runs)],
        charts=charts.curves(runs),
        columns=comparison.shown(runs),
        comparison=comparison.table(runs),
        same_text=comparison.same_text(runs),
        corpora=corpora(runs),
        settings=comparison.settings(runs),
        several=len(runs) > 1,
        accuracy=ACCURACY,
    )


def described(run: Run, index: int) -> Record:
    """What the page says of one run; `index` decides its look."""
    shades = examples.shades(run.examples)
    act = run.second_act
    paths = {"run": run.folder, "config": run.folder / CONFIG} | {
        name: run.folder / name for name in ("discriminator", "generator")
    }
    return {
        "run": run,
        "look": look(index),
        "status": headline.status(run),
        "lead": headline.lead(run),
        "facts": headline.facts(run),
        "headlines": headline.headlines(run),
        "sentences": [examples.running_text(example, shades) for example in run.examples],
        "shades": shades,
        "dots": seed_dots(act.sides, ACCURACY, "test documents", f"second-act-{index}")
        if act
        else None,
        "verdict": verdict(act) if act else None,
        "versions": group(run.summary, "versions"),
        "head": headline.head(run),
        "generates": run.config.get("objective") != headline.WITHOUT_GENERATOR,
        "discriminator": repr(str(run.folder / "discriminator")),
        "shell": {name: shlex.quote(str(path)) for name, path in paths.items()},
    }


def corpora(runs: list[Run]) -> list[Record]:
    """Each corpus once, with the names of its runs."""
    found: list[tuple[Record, list[str]]] = []
    for run in runs:
        if run.corpus is None:
            continue
        for corpus, names in found:
            if corpus == run.corpus:
                names.append(run.name)
                break
        else:
            found.append((run.corpus, [run.name]))
    return [_corpus(corpus, names) for corpus, names in found]


def _corpus(corpus: Record, runs: list[str]) -> Record:
    packings = {
        "dense": "dense: several texts a row, each under its own attention",
        "paper": "paper: [CLS] A [SEP] B [SEP] of one document a row",
    }
    sources = corpus.get("sources")
    packing = str(corpus.get("packing", wording.NOTHING))
    return {
        "runs": runs,
        "sources": [str(source) for source in sources] if isinstance(sources, list) else [],
        "splits": [
            (name, number(group(corpus, name), "train"), number(group(corpus, name), "validation"))
            for name in ("documents", "rows", "tokens")
        ],
        "facts": [
            ("row length", f"{wording.whole(number(corpus, 'seq_len'))} tokens"),
            ("packing", packings.get(packing, packing)),
            ("padding", wording.percent(number(corpus, "padding_share"), 2)),
            ("vocabulary", f"{wording.whole(number(corpus, 'vocab_size'))} entries"),
        ],
    }
