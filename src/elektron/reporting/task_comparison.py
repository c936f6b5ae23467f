"""The page on several fine-tuned models side by side."""

from __future__ import annotations

from collections.abc import Sequence

from elektron.reporting import charts, page, sections
from elektron.reporting.formatting import whole
from elektron.reporting.page import Cell, Inline, Report, Section, Table, named, note, text
from elektron.reporting.task_report import KIND, TILES, warnings_block
from elektron.reporting.task_result import TaskResult
from elektron.reporting.task_summary import facts, pretraining_gain, seeds_sentences, task_name


def task_comparison(results: Sequence[TaskResult]) -> Report:
    """The page."""
    names = [named(result.name, charts.style(index)) for index, result in enumerate(results)]
    shared = same_rows(results)
    blocks: list[page.Block] = [comparison_table(results, names, shared)]
    remark = "Below each value is its 95 % interval. "
    remark += (
        "Where intervals overlap widely, other rows might reverse the order."
        if shared
        else "These models were scored on different rows as far as their settings tell, so that none is marked as best."
    )
    blocks.append(note(remark))
    if len({result.task for result in results}) == 1:
        main = results[0].metric
        metric = results[0].format(main)
        rows = [
            charts.Dots([value], result.intervals.get(main, (value, value)))
            if (value := result.metrics.get(main)) is not None
            else charts.Dots([])
            for result in results
        ]
        figure = charts.dot_plot(rows, metric.title_in_chart, metric.format_tick)
        svg = charts.inline_svg(figure, "intervals", "The main metric of every model")
        caption = f"{metric.title}, each with its 95 % interval."
        blocks += [page.Legend(names), page.Chart(svg, caption, size="square")]
    details: list[page.Block] = []
    for result, name in zip(results, names, strict=True):
        gain = pretraining_gain(result)
        details += [page.Heading(name), *map(note, seeds_sentences(result))]
        details += [text(gain[-1])] if gain else []
        details += [page.Facts(facts(result)), warnings_block(result)]
    pairs = list(zip(names, results, strict=True))
    return Report(
        title=", ".join(result.name for result in results),
        kind=KIND,
        heading=[f"{len(results)} models compared"],
        sections=[
            Section("Side by side", blocks),
            Section("One by one", details),
            sections.settings_section([(name, result.config) for name, result in pairs], "model"),
            sections.versions_section([(name, result.details.versions) for name, result in pairs]),
        ],
    )


def same_rows(results: Sequence[TaskResult]) -> bool:
    """Whether all were scored on the same rows, as far as their settings tell."""

    def reported(result: TaskResult) -> tuple[object, ...]:
        files = str(result.config.get(result.split))
        held_out = str(result.config.get("train")) if result.split == "eval" else ""
        return result.task, result.split, files, held_out, result.rows

    return all(reported(result) == reported(results[0]) for result in results)


def best_baseline(result: TaskResult) -> Inline:
    """The main metric of the best simple method on the same rows, and what it is; empty where there is none."""
    metric, known = result.format(result.metric), result.of_baselines(result.metric)
    if not known:
        return ""
    sign = -1 if metric.less_is_better else 1
    name = max(known, key=lambda name: sign * known[name])
    return Cell(metric.format_value(known[name]), below=[(name, "")])


def comparison_table(results: Sequence[TaskResult], names: Sequence[Inline], shared: bool) -> Table:
    """The main metrics, then those in tiles; the best is marked if all were scored on the same rows."""
    found = dict.fromkeys([*(result.metric for result in results), *TILES, "loss"])
    known = [name for name in found if any(name in result.metrics for result in results)]
    head = ["model", "task"]
    columns: list[Sequence[Inline]] = [names, [task_name(result) for result in results]]
    for name in known[:6]:
        metric = next(result.format(name) for result in results if name in result.metrics)
        values = [result.metrics.get(name) for result in results]
        intervals = [result.intervals.get(name) for result in results]
        columns.append(sections.metric_cells(values, metric, [shared] * len(results), intervals))
        head.append(metric.title)
    best = [best_baseline(result) for result in results]
    if any(best):
        head.append("best baseline")
        columns.append(best)
    rows = [Cell(whole(result.rows), below=[(result.split, "")]) for result in results]
    return Table([*head, "rows"], list(zip(*columns, rows, strict=True)), left=[1])
