"""Curves of runs: the points that are drawn, and their SVG."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.reporting import charts
from elektron.reporting.charts import SIZES, Ticks, inline_svg, style
from elektron.reporting.curves import HELD_OUT, TRAINING_METRICS, curve_lines, curves, reference, series, thinned
from elektron.reporting.formatting import metric_format
from elektron.reporting.pretraining_run import read_run, read_runs
from tests.reporting.conftest import MakeRun

CURVES = (*HELD_OUT, *TRAINING_METRICS)


def test_series_leaves_out_records_without_value() -> None:
    records = [{"tokens": 10, "loss": 3.0}, {"tokens": 20, "loss": None}, {"loss": 2.0}, {"tokens": 30, "loss": 1.0}]
    assert series(records, "loss") == [(10.0, 3.0), (30.0, 1.0)]


@given(st.lists(st.floats(-1e6, 1e6), max_size=400))
def test_thinning_keeps_order_and_extremes(values: list[float]) -> None:
    points = [(float(index), value) for index, value in enumerate(values)]
    kept = thinned(points, limit=40)
    assert len(kept) <= 40 and kept == sorted(kept)
    assert set(kept) <= set(points)
    if values:
        drawn = [value for _, value in kept]
        assert (min(drawn), max(drawn)) == (min(values), max(values))


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([2008, 2010, 2012], ["2,008", "2,010", "2,012"]),
        ([0, 50_000, 100_000], ["0", "50 k", "100 k"]),
        ([-0.5, 0.0, 0.5], ["−0.5", "0", "0.5"]),
        ([1e-7, 1.5e-7], ["1e−07", "1.5e−07"]),
    ],
)
def test_tick_labels_are_distinct(values: list[float], written: list[str]) -> None:
    assert Ticks().format_ticks(values) == written


def test_ticks_beyond_scale_have_no_label() -> None:
    assert Ticks(metric_format("accuracy", "classification").format_tick).format_ticks([-0.2, 0.975, 1.0, 1.025]) == [
        "",
        "97.5 %",
        "100 %",
        "",
    ]


def test_held_out_line_is_bold_and_training_line_thin(make_run: MakeRun) -> None:
    training, held_out, end = curve_lines(HELD_OUT[0], read_run(make_run()), 0)
    assert held_out[1]["linewidth"] > 2 * training[1]["linewidth"]
    assert [x for x, _ in held_out[0]] == [step * 2048 for step in range(100, 1201, 100)]
    assert len(training[0]) == 60 and [x for x, _ in end[0]] == [1200 * 2048]


def test_reference_is_metric_of_untrained_network(make_run: MakeRun) -> None:
    run, end = read_run(make_run()), 1200 * 2048
    assert reference("generator_loss", run) == [(0, 6.07), (end, 6.07)]
    assert reference("discriminator_auc", run) == [(0, 0.5), (end, 0.5)]
    share = run.metrics.train[-1]["replaced_share"]
    loss = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert reference("discriminator_loss", run)[-1] == pytest.approx((end, loss))
    assert reference("learning_rate", run) == reference("lm_loss", run) == []
    svg = {chart.title: str(chart.svg) for chart in curves([run])}
    assert "unigram entropy" in svg["Generator loss"] and "base rate" in svg["Discriminator loss"]


def test_reference_far_above_curve_is_left_out(make_run: MakeRun) -> None:
    line = {"kind": "evaluation", "step": 1, "tokens": 64, "generator_loss": 2.5}
    assert reference("generator_loss", read_run(make_run(finished=False, lines=[line]))) == []


def test_each_logged_metric_has_chart(make_run: MakeRun) -> None:
    drawn = curves([read_run(make_run())])
    logged = [metric_format(name).title for name in CURVES if name not in ("lm_loss", "similarity_loss")]
    assert [chart.title for chart in drawn] == logged
    assert sum(chart.size == "large" for chart in drawn) == 2


def test_run_without_metrics_has_no_charts(make_run: MakeRun) -> None:
    assert curves([read_run(make_run(finished=False, lines=[]))]) == []


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-300, 1e30, 1e299])
def test_extreme_values_are_drawn(make_run: MakeRun, value: float) -> None:
    line = {"kind": "train", "step": 1, "tokens": 64} | dict.fromkeys(CURVES, value)
    assert len(curves([read_run(make_run(finished=False, lines=[line]))])) == len(CURVES)


def test_svgs_use_css_variables_and_unique_ids(make_run: MakeRun) -> None:
    drawings = [str(c.svg) for c in curves(read_runs([make_run("a"), make_run("b", seed=2)]))]
    page = "".join(drawings)
    assert "font-family" not in page and "<style" not in page and "xmlns" not in page
    assert not any(color in page for color in charts.CSS_VARIABLES)
    assert "var(--run-1)" in page and "var(--run-2)" in page and "var(--chart-grid)" in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for drawing in drawings:
        own = set(re.findall(r'id="([^"]+)"', drawing))
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing))
        assert {first or second for first, second in used} <= own
        assert ET.fromstring(drawing).attrib["role"] == "img"


def test_svg_is_deterministic(make_run: MakeRun) -> None:
    run = read_run(make_run())
    drawn = curve_lines(HELD_OUT[1], run, 0)
    first, second = (inline_svg(charts.line_chart(drawn, "tokens"), "auc", "AUC") for _ in range(2))
    assert first == second and f'viewBox="0 0 {SIZES["large"][0]} {SIZES["large"][1]}"' in first


def test_64_runs_have_distinct_styles() -> None:
    assert len({style(index) for index in range(64)}) == 64


def test_charts_do_not_use_pyplot() -> None:
    assert "pyplot" not in Path(charts.__file__).read_text()
