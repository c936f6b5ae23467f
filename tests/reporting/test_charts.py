"""Curves: which points are drawn, and what reaches the page."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.reporting.charts import CURVES, curves, draw_curve, series, thinned
from elektron.reporting.drawing import LARGE, Ticks, look
from elektron.reporting.inline_svg import inline_svg
from elektron.reporting.kinds import kind
from elektron.reporting.runs import read_run, read_runs
from tests.reporting.conftest import MakeRun


def test_series_leaves_out_what_is_unknown() -> None:
    records = [
        {"tokens": 10, "loss": 3.0},
        {"tokens": 20, "loss": None},
        {"loss": 2.0},
        {"tokens": 30, "loss": 1.0},
    ]
    assert series(records, "loss") == [(10.0, 3.0), (30.0, 1.0)]


@given(st.lists(st.floats(-1e6, 1e6), max_size=400))
def test_thinning_keeps_order_and_extremes(values: list[float]) -> None:
    points = [(float(index), value) for index, value in enumerate(values)]
    kept = thinned(points, buckets=20)
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
def test_numbers_beside_an_axis_differ(values: list[float], written: list[str]) -> None:
    assert Ticks().format_ticks(values) == written


def test_nothing_stands_beyond_the_end_of_a_scale() -> None:
    assert Ticks(kind("accuracy", "classification").write_tick).format_ticks(
        [-0.2, 0.975, 1.0, 1.025]
    ) == ["", "97.5 %", "100 %", ""]


def test_held_out_line_is_bold_and_training_line_thin(make_run: MakeRun) -> None:
    figure = draw_curve(CURVES[0], [read_run(make_run())])
    training, held_out, end, *_ = figure.axes[0].lines
    assert held_out.get_linewidth() > 2 * training.get_linewidth()
    assert list(held_out.get_xdata()) == [step * 2048 for step in range(100, 1201, 100)]
    assert len(training.get_xdata()) == 60 and list(end.get_xdata()) == [1200 * 2048]


def test_each_logged_figure_has_a_chart(make_run: MakeRun) -> None:
    drawn = curves([read_run(make_run())])
    logged = [c for c in CURVES if c.name not in ("correction_loss", "similarity_loss")]
    assert [chart.title for chart in drawn] == [curve.title for curve in logged]
    assert sum(chart.large for chart in drawn) == 2


def test_a_run_that_has_logged_nothing_has_no_charts(make_run: MakeRun) -> None:
    assert curves([read_run(make_run(finished=False, lines=[]))]) == []


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-300, 1e30, 1e299])
def test_odd_figures_are_drawn(make_run: MakeRun, value: float) -> None:
    line = {"kind": "train", "step": 1, "tokens": 64} | {curve.name: value for curve in CURVES}
    assert len(curves([read_run(make_run(finished=False, lines=[line]))])) == len(CURVES)


def test_drawings_take_the_pages_colours_and_font_and_share_no_ids(make_run: MakeRun) -> None:
    drawings = [str(c.drawing) for c in curves(read_runs([make_run("a"), make_run("b", seed=2)]))]
    page = "".join(drawings)
    assert "font-family" not in page and "<style" not in page and "xmlns" not in page
    assert "#0102" not in page and "var(--run-1)" in page and "var(--run-2)" in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for drawing in drawings:
        own = set(re.findall(r'id="([^"]+)"', drawing))
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing))
        assert {first or second for first, second in used} <= own
        assert ET.fromstring(drawing).attrib["role"] == "img"


def test_drawings_are_the_same_every_time(make_run: MakeRun) -> None:
    run = read_run(make_run())
    first, second = (inline_svg(draw_curve(CURVES[1], [run]), "auc", "AUC") for _ in range(2))
    assert first == second and f'viewBox="0 0 {LARGE[0]} {LARGE[1]}"' in first


def test_64_runs_look_different() -> None:
    assert len({look(index) for index in range(64)}) == 64


def test_no_display_and_no_global_state_is_needed(make_run: MakeRun, tmp_path: Path) -> None:
    source = Path(draw_curve.__code__.co_filename).read_text()
    assert "pyplot" not in source
