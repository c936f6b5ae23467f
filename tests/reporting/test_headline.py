"""A run in a few figures."""

import pytest

from elektron.reporting.headline import facts, head, headlines, lead, status
from elektron.reporting.runs import read_run
from tests.reporting.conftest import MakeRun


def test_main_figures_and_what_they_mean(make_run: MakeRun) -> None:
    run = read_run(make_run())
    told = {headline.name: headline for headline in headlines(run)}
    assert told["Discriminator AUC"].value == "0.761"
    assert told["Generator loss"].value == "3.83"
    # exp(3.834) = 46.2; ln(4096) = 8.32
    assert "among 46.2 equally likely" in told["Generator loss"].meaning
    assert "has 8.32" in told["Generator loss"].meaning
    assert told["Recall at 0.5"].value == "8.0 %"
    assert "Near 0 is normal early on" in told["Recall at 0.5"].meaning
    assert "elektron" in lead(run) and "builtin:docs" in lead(run)
    # 1200 · 2048 / 6,281,120
    assert "2.46 M tokens (0.39 passes over the text), in 3 min 6 s" in lead(run)
    assert dict(facts(run))["discriminator"] == "1.33 M parameters"


def test_a_bare_run_still_has_its_headline(make_run: MakeRun) -> None:
    run = read_run(make_run(finished=False, lines=[], corpus=None))
    assert {headline.value for headline in headlines(run)} == {"–"}
    assert "its corpus" in lead(run) and facts(run) == []


@pytest.mark.parametrize(
    ("length", "told"),
    [
        ({"steps": 1200}, "in progress: step 640 of 1,200"),
        ({"tokens": 5_000_000}, "in progress: step 640, 1.31 M of 5 M tokens"),
        ({"minutes": 3.0}, "in progress: step 640, 1 min 39 s of 3 min"),
        ({}, "in progress: step 640"),
    ],
)
def test_status_of_a_run_in_progress(
    make_run: MakeRun, length: dict[str, float], told: str
) -> None:
    config = {"steps": None, "tokens": None, "minutes": None} | length
    assert status(read_run(make_run(finished=False, config=config))) == told


def test_a_finished_run_needs_no_status(make_run: MakeRun) -> None:
    assert status(read_run(make_run())) == ""


def test_figures_that_an_objective_does_not_have_are_left_out(make_run: MakeRun) -> None:
    line = {"kind": "evaluation", "step": 9, "tokens": 5, "seconds": 1.0, "correction_loss": 3.25}
    run = read_run(make_run(lines=[line], config={"objective": "mlm", "plan": "joint"}))
    assert {h.name: h.value for h in headlines(run)} == {"Correction loss": "3.25"}
    assert lead(run).startswith("An encoder of family elektron, trained by masked language")
    assert head(run) == []


def test_a_token_classifier_is_asked_in_its_way(make_run: MakeRun) -> None:
    run = read_run(make_run(config={"family": "modernbert", "plan": "two_stage"}))
    assert "AutoModelForTokenClassification" in "".join(head(run))
    assert "trained one after the other by replaced token detection" in lead(run)
