"""Which runs belong together."""

from pathlib import Path

from elektron.reporting.results import read_result
from elektron.reporting.seeds import chosen, settings_tried, trials, was_it_worth_it
from tests.reporting import tuned


def test_the_chosen_settings_are_those_kept_or_run_most_often(tmp_path: Path) -> None:
    result = read_result(tuned.write(tmp_path / "a", tuned.classification()))
    assert settings_tried(result.runs) == ["learning_rate"]
    assert [(t.side, len(t.runs)) for t in trials(result.runs)] == [
        ("pretrained", 1), ("pretrained", 3), ("scratch", 1), ("scratch", 3),
    ]  # fmt: skip
    for side in ("pretrained", "scratch"):
        trial = chosen(result, side)  # type: ignore[arg-type]
        assert trial is not None and trial.settings == {"learning_rate": 0.001}


def test_with_one_seed_the_best_on_eval_is_chosen(tmp_path: Path) -> None:
    files = tuned.classification()
    files["runs.json"] = [
        tuned.run("scratch", figure=figure, settings={"epochs": count})
        for count, figure in ((3, 0.7), (10, 0.8), (30, 0.75))
    ]
    trial = chosen(read_result(tuned.write(tmp_path / "a", files)), "scratch")
    assert trial is not None and trial.settings == {"epochs": 10}


def test_sides_compare_on_eval_where_one_has_no_test_rows(tmp_path: Path) -> None:
    files = tuned.classification()
    files["runs.json"] = [tuned.run(kept=True), tuned.run("scratch", test=False)]
    worth = was_it_worth_it(read_result(tuned.write(tmp_path / "a", files)))
    assert worth is not None and worth.split == "eval"
    assert "Another" not in worth.sentence, "the interval is of other rows"


def test_one_side_is_no_comparison(tmp_path: Path) -> None:
    assert was_it_worth_it(read_result(tuned.write(tmp_path / "a", tuned.regression()))) is None
