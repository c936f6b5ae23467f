"""Reading the folder of a run that is finished, in progress or damaged."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elektron.errors import ElektronError
from elektron.reporting.pretraining_run import read_run, read_runs
from elektron.reporting.reading import number
from tests.reporting.conftest import MakeRun


def test_finished_run_is_read_completely(make_run: MakeRun) -> None:
    run = read_run(make_run("mine", downstream=True))
    assert run.name == "mine" and run.finished
    assert run.config["network.num_hidden_layers"] == 4 and run.config["family"] == "elektron"
    assert [len(run.metrics.train), len(run.metrics.evaluation)] == [60, 12]
    assert run.latest["generator_loss"] == run.metrics.evaluation[-1]["generator_loss"]
    assert run.downstream is not None and run.downstream.labels == ["neg", "pos"]
    assert len(run.examples) == 4


def test_incomplete_last_line_of_run_in_progress_is_ignored(make_run: MakeRun) -> None:
    run = read_run(make_run(finished=False))
    assert not run.finished and run.examples == [] and run.downstream is None
    assert run.metrics.unreadable == 0, "the line being written is no damage"
    assert run.latest["kind"] == "evaluation" and run.latest["step"] == 600
    assert run.position["step"] == 640


def test_damaged_lines_are_skipped_and_counted(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    damaged = b'{"kind": "train", "ste\n[1]\n\xff\xfe\n\n'
    lines = damaged + b'{"kind": "resumed", "step": NaN}\n{"kind": "new"}\n'
    (folder / "metrics.jsonl").write_bytes(lines)
    run = read_run(folder)
    assert run.metrics.unreadable == 3
    assert number(run.metrics.resumed[0], "step") is None
    assert run.latest == {} and run.position == {}


@given(st.binary(max_size=300))
def test_arbitrary_metrics_file_does_not_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text("")
    (folder / "metrics.jsonl").write_bytes(content)
    read_run(folder)


@pytest.mark.parametrize("value", [None, True, "3", [3], float("nan"), float("inf"), 10**400])
def test_number_is_none_unless_finite(value: object) -> None:
    assert number({"loss": value}, "loss") is None
    assert number({"loss": 3}, "loss") == 3.0 and number({}, "loss") is None


def test_run_names_are_distinct_and_duplicates_are_read_once(make_run: MakeRun) -> None:
    one, two = make_run("a/muon"), make_run("b/muon")
    again = two / ".." / "muon"
    assert [run.name for run in read_runs([one, two, again])] == ["a/muon", "b/muon"]
    assert [run.name for run in read_runs([one])] == ["muon"]
    assert [run.name for run in read_runs([make_run("quickstart/run")])] == ["quickstart/run"]


def refusal(folder: Path) -> str:
    with pytest.raises(ElektronError) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folder_without_run_raises_naming_what_is_missing(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("quickstart/run")
    for other in (tmp_path / "absent", folder / "config.yaml"):
        assert "is not the folder of a run, it has no config.yaml: give a folder" in refusal(other)
    assert f"no config.yaml: did you mean {folder}?" in refusal(folder.parent)
    (folder / "metrics.jsonl").unlink()
    assert "no metrics.jsonl: a run has it once" in refusal(folder)
    with pytest.raises(ElektronError, match="no run to report on"):
        read_runs([])


@pytest.mark.parametrize("file", ["summary.json", "corpus.json", "examples.json"])
@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", b"7", b"null", b"[" * 100_000, b"1" * 5000])
def test_damaged_file_raises_naming_it(make_run: MakeRun, file: str, content: bytes) -> None:
    folder = make_run()
    (folder / file).write_bytes(content)
    message = refusal(folder)
    assert str(folder / file) in message and "leave it out of the report" in message


def test_malformed_examples_raise(make_run: MakeRun) -> None:
    folder = make_run()
    examples = json.loads((folder / "examples.json").read_text())
    examples[0]["masked"].pop()
    (folder / "examples.json").write_text(json.dumps(examples))
    assert "differ in length" in refusal(folder)
    (folder / "examples.json").write_text('[{"tokens": []}]')
    assert "has no 'original'" in refusal(folder)


def test_damaged_config_raises(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "config.yaml").write_text("steps: [1,")
    assert "not valid YAML" in refusal(folder)
