"""Several fine-tuned models side by side."""

from __future__ import annotations

from collections.abc import Sequence

from elektron.reporting import comparison, task_charts
from elektron.reporting.drawing import look
from elektron.reporting.kinds import Kind
from elektron.reporting.reading import Record
from elektron.reporting.results import Result
from elektron.reporting.seeds import was_it_worth_it
from elektron.reporting.task_summary import (
    TILES,
    facts,
    seed_spreads,
    seeds_sentences,
    task_name,
    warnings,
)

MOST_FIGURES = 6


def side_by_side(results: Sequence[Result]) -> Record:
    """What the page on several models says."""
    shared = same_test(results)
    names = compared_figures(results)
    columns = [_column(results, name, shared) for name in names]
    kinds = [_kind_of(results, name) for name in names]
    main = results[0].figure
    same_task = len({result.task for result in results}) == 1
    return {
        "compared": [
            {
                "result": result,
                "look": look(index),
                "task": task_name(result),
                "figures": [column[index] for column in columns],
                "facts": facts(result),
                "warnings": warnings(result),
                "worth": was_it_worth_it(result),
                "seeds": seeds_sentences(result, seed_spreads(result)),
            }
            for index, result in enumerate(results)
        ],
        "kinds": kinds,
        "shared": shared,
        "intervals": task_charts.intervals(results, main) if same_task else None,
        "main": results[0].kind(main),
        "settings": comparison.settings(results),
    }


def same_test(results: Sequence[Result]) -> bool:
    """Whether all were scored on the same rows, as far as their settings tell."""

    def reported(result: Result) -> tuple[object, ...]:
        files = str(result.config.get(result.split))
        held_out = str(result.config.get("train")) if result.split == "eval" else ""
        return result.task, result.split, files, held_out, result.rows

    return all(reported(result) == reported(results[0]) for result in results)


def compared_figures(results: Sequence[Result]) -> list[str]:
    """The main figures first, then those that stand in tiles."""
    mains = [result.figure for result in results]
    names = dict.fromkeys([*mains, *TILES, "loss"])
    return [name for name in names if any(name in result.figures for result in results)][
        :MOST_FIGURES
    ]


def _kind_of(results: Sequence[Result], name: str) -> Kind:
    return next(result.kind(name) for result in results if name in result.figures)


def _column(results: Sequence[Result], name: str, shared: bool) -> list[comparison.Cell]:
    """A figure of every model; the best is marked where they were scored on the same rows."""
    kind = _kind_of(results, name)
    texts = [kind.write(result.figures.get(name)) for result in results]
    figures = (result.figures.get(name) for result in results)
    best = comparison.best_written(figures, kind.write, kind.less_is_better) if shared else None
    return [
        comparison.Cell(text, text == best, kind.write_interval(result.intervals.get(name)))
        for result, text in zip(results, texts, strict=True)
    ]
