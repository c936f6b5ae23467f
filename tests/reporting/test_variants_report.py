"""Table, charts and page of a comparison of variants."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from elektron.reporting import charts
from elektron.reporting.charts import round_numbers
from elektron.reporting.variants_report import (
    MARKDOWN,
    PAGE,
    Comparison,
    ProbeResult,
    VariantResult,
    VariantRun,
    comparison_markdown,
    notes,
    quality_lines,
    variants_report,
    write_comparison,
)
from tests.reporting.pages import HOSTILE, Page

PROBES = {"sst2": "classification --train sst2/train.tsv", "sts-b": "regression --train sts-b/train.tsv"}
QUALITY = {"objective=rtd": 0.80, "objective=mlm": 0.75, "objective=electra_15": 0.795}


def sst2(value: float, interval: tuple[float, float]) -> ProbeResult:
    return ProbeResult("", "classification", "accuracy", "test", 872, value, interval, None)


def stsb(value: float, interval: tuple[float, float]) -> ProbeResult:
    return ProbeResult("", "regression", "pearson", "eval", 1500, value, interval, None)


def run(variant: str, budget: str, seed: int, compute: float) -> VariantRun:
    quality = QUALITY.get(variant, 0.7) + 0.01 * seed + (0.03 if budget == "10m" else 0)
    folder = f"{variant}/{budget}/seed-{seed}"
    return VariantRun(
        variant=variant,
        budget=budget,
        seed=seed,
        folder=folder,
        flops=compute,
        seconds=60.5,
        tokens=4_500_000,
        generator_loss=None if "mlm" in variant else 4.2,
        discriminator_auc=None if "mlm" in variant else 0.81,
        parameters={"discriminator": 13_549_313},
        device="CPU, 2 threads",
        probes={"sst2": sst2(quality, (quality - 0.02, quality + 0.02)), "sts-b": stsb(quality - 0.2, (0.4, 0.8))},
    )


def comparison(
    names: tuple[str, ...] = tuple(QUALITY), budgets: tuple[str, ...] = ("2m", "10m"), seeds: int = 3
) -> Comparison:
    return Comparison(
        recipe="elektron-small",
        data="blocks",
        shared={"batch_size": 32},
        budget_kind="time",
        budgets=list(budgets),
        seeds=list(range(1, seeds + 1)),
        probes=PROBES,
        variants=[VariantResult(name, {"objective": name}) for name in names],
        runs=[
            run(name, budget, seed, 1e15 * (place + 1) * (5 if budget == "10m" else 1))
            for budget in budgets
            for seed in range(1, seeds + 1)
            for place, name in enumerate(names)
        ],
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_rows_have_median_spread_and_verdict() -> None:
    text = comparison_markdown(comparison())
    table = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 6
    assert table[0][:3] == ["variant", "budget", "sst2, Accuracy on test"]
    first, second, third = table[2:5]
    assert first[:3] == ["`objective=rtd`", "2m", "82.0 % (81.0 to 83.0 %)"]
    assert second[:3] == ["`objective=mlm`", "2m", "77.0 % (76.0 to 78.0 %; behind)"]
    assert third[2].endswith("; not resolved: seeds overlap)")
    assert second[3].endswith("; not resolved: within the interval)")
    assert second[4:] == ["–", "–", "2.0 × 10¹⁵", "1 min", "4.5 M", "13.5 M"]
    assert first[4:6] == ["4.200", "0.810"]


def test_notes_list_simple_baselines_of_probe() -> None:
    made = comparison()
    sst2 = dataclasses.replace(made.runs[0].probes["sst2"], baselines={"always '1'": 0.509, "TF-IDF": 0.8})
    first = dataclasses.replace(made.runs[0], probes=made.runs[0].probes | {"sst2": sst2})
    text = comparison_markdown(dataclasses.replace(made, runs=[first, *made.runs[1:]]))
    (line,) = [line for line in text.splitlines() if "872 rows" in line]
    assert line.endswith("Simple baselines: 50.9 % (always '1'), 80.0 % (TF-IDF).")


def test_markdown_columns_are_aligned() -> None:
    lines = [line for line in comparison_markdown(comparison()).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_one_budget_has_no_column_and_one_seed_no_spread() -> None:
    text = comparison_markdown(comparison(budgets=("2m",), seeds=1))
    assert "budget" not in text.splitlines()[0]
    assert "81.0 % |" in text and "(" not in text.splitlines()[2]
    assert text.count("not resolved: fewer than 3 seeds") == 4
    assert "no comparison with fewer than 3 seeds" in text


def test_notes_state_settings_seeds_budgets_and_rows() -> None:
    text = " ".join(notes(comparison()))
    assert "with batch_size 32 in all variants" in text
    assert "seeds 1 to 3 at equal wall-clock time of training: 2m, 10m" in text
    assert "No learning rate was tuned per variant" in text
    assert "in one of 10 cases" in text
    assert "sts-b, Pearson correlation on eval: 1,500 rows, on which the best epoch" in text
    assert "sst2, Accuracy on test: 872 rows." in text
    assert "Device: CPU, 2 threads." in text


def test_notes_report_collapse_and_different_devices() -> None:
    made = comparison()
    fell = dataclasses.replace(made.runs[0].probes["sst2"], collapsed="it says 1 of every text")
    runs = [
        dataclasses.replace(made.runs[0], device="A GPU", probes=made.runs[0].probes | {"sst2": fell}),
        *made.runs[1:],
    ]
    text = " ".join(notes(dataclasses.replace(made, runs=runs)))
    assert "sst2 collapsed in objective=rtd/2m/seed-1" in text
    assert "different devices: A GPU, CPU, 2 threads. Equal time then does not mean equal compute." in text


def test_varied_learning_rate_is_not_reported_as_untuned() -> None:
    variants = [VariantResult("optimizer.learning_rate=1", {"optimizer.learning_rate": 1})]
    assert "tuned per variant" not in " ".join(notes(dataclasses.replace(comparison(), variants=variants)))


def test_page_is_self_contained_and_links_every_run() -> None:
    page = Page(variants_report(comparison()).html())
    assert not {"script", "link", "img", "iframe", "object"} & set(page.elements)
    links = [value for name, value in page.attributes if name == "href" and value[0] != "#"]
    assert all(value.startswith("./") for value in links)
    assert "./objective%3Drtd/2m/seed-1/pretraining/report.html" in links
    assert "./objective%3Dmlm/10m/seed-3/sts-b/report.html" in links
    assert len(links) == 18 * 3
    assert page.elements.count("svg") == 2


@pytest.mark.parametrize(
    ("names", "budgets", "heading"),
    [
        (("a", "b"), ("2m",), "2 variants at equal compute"),
        (("a",), ("2m", "10m"), "1 variant at several budgets"),
        (("a",), ("2m",), "1 variant at one budget"),
    ],
)
def test_heading_says_how_budgets_compare(names: tuple[str, ...], budgets: tuple[str, ...], heading: str) -> None:
    assert variants_report(comparison(names, budgets)).heading == [heading]


def test_untrusted_names_are_escaped() -> None:
    made = comparison((HOSTILE, "b"), budgets=("2m",))
    page = Page(variants_report(made).html())
    assert "<img" not in variants_report(made).html() and "script" not in page.elements
    assert "\\x1b[31m" in page.words
    awkward = dataclasses.replace(made.runs[0], folder="a b/#?")
    assert awkward.link("p") == "./a%20b/%23%3F/p/report.html"
    assert "\x1b" not in comparison_markdown(made)


def test_quality_lines_have_marker_per_run_and_line_of_medians() -> None:
    drawn = quality_lines(comparison(), "sst2")
    assert [len(points) for points, _ in drawn] == [2, 6] * 3
    single = quality_lines(comparison(budgets=("2m",)), "sst2")
    assert [len(points) for points, _ in single] == [3] * 3
    assert charts.line_chart(drawn, "FLOPs", str, str, log_x=True).axes[0].get_xscale() == "log"
    (section,) = [s for s in variants_report(comparison()).sections if "compute" in s.title]
    assert [chart.title for chart in section.blocks[1].blocks] == ["sst2", "sts-b"]


def test_runs_without_flops_keep_charts_and_table_rows() -> None:
    whole = comparison(budgets=("2m",))
    for without in (["objective=mlm"], list(QUALITY)):
        runs = [dataclasses.replace(run, flops=None) if run.variant in without else run for run in whole.runs]
        made = dataclasses.replace(whole, runs=runs)
        assert Page(variants_report(made).html()).elements.count("svg") == 2
        drawn = [0 if name in without else 3 for name in QUALITY]
        assert [len(points) for points, _ in quality_lines(made, "sst2")] == drawn
        # Only the FLOPs are missing in the table.
        before, after = ([cells(line) for line in comparison_markdown(c).splitlines()[2:5]] for c in (whole, made))
        assert [row[5] == "–" for row in after] == [name in without for name in QUALITY]
        assert [row[:5] + row[6:] for row in after] == [row[:5] + row[6:] for row in before]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1e14, 1e16, [1e14, 5e14, 2e15, 1e16]), (0.9e15, 3.5e15, [1e15, 2e15]), (2.1e15, 5.5e15, [5e15])],
)
def test_round_numbers_of_logarithmic_axis(low: float, high: float, ticks: list[float]) -> None:
    assert round_numbers(low, high) == pytest.approx(ticks)


def test_write_comparison_writes_markdown_html_and_json(tmp_path: Path) -> None:
    text = write_comparison(tmp_path, comparison())
    assert (tmp_path / MARKDOWN).read_text() == text
    assert (tmp_path / PAGE).is_file()
    kept: dict[str, Any] = json.loads((tmp_path / "comparison.json").read_text())
    assert kept["runs"][0]["probes"]["sst2"]["value"] == pytest.approx(0.81)
    assert kept["variants"][1]["settings"] == {"objective": "objective=mlm"}
