"""The report on several fine-tuned models side by side."""

from __future__ import annotations

from collections.abc import Sequence

from elektron.reporting import charts, page, sections, task_summary
from elektron.reporting.formatting import integer
from elektron.reporting.page import Cell, Inline, Report, Section, Table, named, note, text
from elektron.reporting.predictions import tested_rows
from elektron.reporting.seed_comparison import Interval, compare_seeds
from elektron.reporting.task_report import KIND, TILES, warnings_block
from elektron.reporting.task_result import TaskResult


def task_comparison(results: Sequence[TaskResult], verdicts: Sequence[str]) -> Report:
    """Create the report; `verdicts` say which model is ahead, none if they were not tested on the same rows."""
    names = [named(result.name, charts.style(index)) for index, result in enumerate(results)]
    blocks: list[page.Block] = [*map(text, verdicts), comparison_table(results, names, bool(verdicts))]
    remark = (
        "Below a median are the lowest and the highest seed, below any other value, which is of the kept model, its "
        "95 % interval. A model is ahead where every seed of it is better than every seed of the other and the medians "
        "differ by more than half the interval."
        if verdicts
        else "Below each value is its 95 % interval. These models were not tested on the same rows, according to "
        "their predictions.jsonl, so none is marked as best."
    )
    blocks.append(note(remark))
    if len({result.task for result in results}) == 1:
        main = results[0].metric
        metric = results[0].format(main)
        values = [[result.metrics[main]] if main in result.metrics else [] for result in results]
        intervals = [result.intervals.get(main) for result in results]
        figure = charts.dot_plot(values, metric.title_in_chart, metric.format_tick, intervals=intervals)
        svg = charts.inline_svg(figure, "intervals", "The main metric of every model")
        caption = f"{metric.title} of the kept models, each with its 95 % interval."
        blocks += [page.Legend(names), page.Chart(svg, caption, size="square")]
    details: list[page.Block] = []
    for result, name in zip(results, names, strict=True):
        gain = task_summary.pretraining_gain(result)
        details += [page.Heading(name), *map(note, task_summary.seeds_sentences(result))]
        details += [text(gain[-1])] if gain else []
        details += [page.Facts(task_summary.facts(result)), warnings_block(result)]
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
    """Whether all have the same task and main metric and were tested on the same rows."""
    tested_on = {(result.task, result.metric, result.split, tested_rows(result)) for result in results}
    has_values = all(task_summary.reported_spread(result).values for result in results)
    return has_values and len(tested_on) == 1 and None not in tested_on.pop()


def verdict(base: TaskResult, other: TaskResult, difference: Interval | None) -> str:
    """Say whether `other` is ahead of `base`, tested on the same rows, by the rule of `seed_comparison`.

    `difference` is the 95 % interval of the metric of the kept models, `other` minus `base`, if it is known.
    """
    metric = base.format(base.metric)
    spread, base_spread = map(task_summary.reported_spread, (other, base))
    intervals = [base.intervals.get(base.metric)] * len(base_spread.values)
    intervals += [other.intervals.get(other.metric)] * len(spread.values)
    outcome = compare_seeds(base_spread.values, spread.values, intervals, metric.less_is_better)
    medians = f"{metric.title} {metric.format_value(spread.median)} against {metric.format_value(base_spread.median)}"
    medians += ", medians of seeds" if len(intervals) > 2 else ""  # each seed has an interval
    names = f"“{other.name}”", f"“{base.name}”"
    if outcome.result == "not resolved":
        sentence = f"{names[0]} against {names[1]} is not resolved, {outcome.reason}: {medians}."
    else:
        ahead = outcome.result == "ahead"
        better, worse = names if ahead else reversed(names)
        points = metric.format_difference(abs(spread.median - base_spread.median))
        sentence = (
            f"{names[0]} is {'ahead of' if ahead else 'behind'} {names[1]} by {points} ({medians}): every seed of "
            f"{better} beats every seed of {worse}."
        )
    if difference is not None:
        ends = metric.format_difference_interval(difference)
        sentence += (
            f" Of the kept models alone, {names[0]} minus {names[1]} is {ends} (95 % interval, both resampled over the "
            f"same {task_summary.rows_in_words(base)})."
        )
    return sentence


def best_baseline(result: TaskResult) -> Inline:
    """The main metric of the best baseline on the same rows, with the baseline's name; empty if there is none."""
    metric, values = result.format(result.metric), result.of_baselines(result.metric)
    if not values:
        return ""
    name = (min if metric.less_is_better else max)(values, key=values.__getitem__)
    return Cell(metric.format_value(values[name]), below=[(name, "")])


def comparison_table(results: Sequence[TaskResult], names: Sequence[Inline], shared: bool) -> Table:
    """The main metrics, then those in tiles; the best is marked if all were tested on the same rows."""
    order = dict.fromkeys([*(result.metric for result in results), *TILES, "loss"])
    metrics = [name for name in order if any(name in result.metrics for result in results)]
    head = ["model", "task"]
    columns: list[Sequence[Inline]] = [names, [task_summary.task_name(result) for result in results]]
    spreads = [task_summary.reported_spread(result) for result in results]
    if several := shared and any(len(spread.values) > 1 for spread in spreads):
        metric, medians = results[0].format(results[0].metric), [spread.median for spread in spreads]
        head.append(f"{metric.title}, median of seeds")
        columns.append(sections.metric_cells(medians, metric, [False] * len(results), [s.ends for s in spreads]))
    for name in metrics[:6]:
        metric = next(result.format(name) for result in results if name in result.metrics)
        values = [result.metrics.get(name) for result in results]
        intervals = [result.intervals.get(name) for result in results]
        if shared:
            columns.append(sections.metric_cells(values, metric, [not several] * len(results), intervals))
        else:  # perhaps of several tasks, whose F1 have different scales
            columns.append(
                [sections.metric_cell(r.metrics.get(name), r.format(name), r.intervals.get(name)) for r in results]
            )
        head.append(metric.title)
    best = [best_baseline(result) for result in results]
    if any(best):
        head.append("best baseline")
        columns.append(best)
    rows = [Cell(integer(result.rows), below=[(result.split, "")]) for result in results]
    return Table([*head, "rows"], list(zip(*columns, rows, strict=True)), left=[1])
