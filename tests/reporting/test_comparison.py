"""Runs side by side."""

from elektron.reporting.comparison import COLUMNS, same_text, settings, shown, table
from elektron.reporting.runs import read_runs
from tests.reporting.conftest import CONFIG, CORPUS, MakeRun

CORRECTION = ("correction_loss", "correction_accuracy")
NAMES = [column.name for column in COLUMNS if column.name not in CORRECTION]


def best(cells: list[list[object]]) -> dict[str, list[int]]:
    """For each column the rows that are marked."""
    return {
        name: [row for row, line in enumerate(cells) if line[column].best]  # type: ignore[attr-defined]
        for column, name in enumerate(NAMES)
    }


def test_the_best_of_each_column_is_marked(make_run: MakeRun) -> None:
    runs = read_runs([make_run("a", end=3.8, speed=9000.0), make_run("b", end=4.2, speed=13000.0)])
    marked = best(table(runs))
    assert marked["generator_loss"] == [0] and marked["tokens_per_second"] == [1]
    assert marked["steps"] == marked["seconds"] == [], "neither more nor fewer steps are better"
    assert marked["discriminator_auc"] == [], "equal figures have no best"


def test_a_run_in_progress_has_figures_but_is_never_best(make_run: MakeRun) -> None:
    runs = read_runs(
        [make_run("a"), make_run("b", end=4.2), make_run("c", end=1.0, finished=False)]
    )
    cells = table(runs)
    assert best(cells)["generator_loss"] == [0]
    assert cells[2][NAMES.index("steps")].text == "640"
    assert cells[2][NAMES.index("generator_loss")].text not in ("", "–")
    assert cells[2][NAMES.index("flops")].text == "–"


def test_losses_on_different_text_are_not_ranked(make_run: MakeRun) -> None:
    runs = read_runs(
        [make_run("a"), make_run("b", end=4.2, speed=1.0, corpus=CORPUS | {"vocab_size": 8192})]
    )
    assert not same_text(runs)
    marked = best(table(runs))
    assert marked["generator_loss"] == [] and marked["tokens_per_second"] == [0]


def test_settings_that_differ_are_found(make_run: MakeRun) -> None:
    other = {"seed": 2, "optimizer": CONFIG["optimizer"] | {"learning_rate": 1e-3, "extra": 1}}
    found = settings(read_runs([make_run("a"), make_run("b", config=other)]))
    differing = {setting.name: setting.values for setting in found.differing}
    assert differing == {
        "seed": [1, 2],
        "optimizer.learning_rate": [0.003, 0.001],
        "optimizer.extra": [None, 1],
    }
    assert [setting.name for setting in found.groups["masking"]] == [
        "masking.mask_probability",
        "masking.keep_probability",
    ]
    assert "network.num_hidden_layers" not in [setting.name for setting in found.groups[""]]


def test_only_figures_that_a_run_has_get_a_column(make_run: MakeRun) -> None:
    assert [column.name for column in shown(read_runs([make_run("a")]))] == NAMES
    line = {"kind": "evaluation", "step": 1200, "tokens": 5, "seconds": 1.0, "correction_loss": 3.2}
    columns = [column.name for column in shown(read_runs([make_run("b", lines=[line])]))]
    assert "correction_loss" in columns
    assert "generator_loss" not in columns
    assert "discriminator_auc" not in columns
