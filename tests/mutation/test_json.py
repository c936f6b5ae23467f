"""Wrong values in every JSON file that commands read: refused in one line, or accepted for a reason given here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.cases import FOLDER, Case, of_files, outcomes
from tests.mutation.conftest import CommandLines

ACCEPTED = {
    r"(inspect|pretrain) manifest\.json options.*": "how blocks were made, for `prepare` to compare",
    r"\S+ manifest\.json (duplicates|splits\.\w+\.(documents|pieces)) \d+": "counts that are said only",
    r"report (corpus|examples)\.json .*": "the page leaves out what is not of its type",
    r"report (summary|details|metrics|runs)\.json .*": "the page leaves out figures that are none",
    r"report metrics\.jsonl .*": "the page draws the lines and figures that are of their types",
    r"pretrain metrics\.jsonl .*": "lines before the checkpoint that are not of their kind say nothing",
    r"pretrain progress\.json .*": "a damaged checkpoint is set aside, and the run resumes from the one before",
    r"verify config\.json .*": "it is JSON; what its keys mean is transformers' to say",
    r"(finetune|predict) config\.json auto_map\S* .*": "a key that is not followed",
    r"finetune config\.json tie_word_embeddings -1": "transformers takes it for true",
    r"predict config\.json id2label\.\d+ null": "labels are those of task.json",
    r"compare settings\.json probes\.\w+ \[\]": "settings that are none are those of another version",
}
"""Reasons by expressions on the command, the file, the place in it and the value."""


@pytest.fixture(scope="session")
def cases(
    blocks: Path,
    finished: Path,
    unfinished: Path,
    encoders: dict[str, Path],
    tuned: Path,
    compared: Path,
    animals: dict[str, Path],
    command_lines: CommandLines,
) -> list[Case]:
    """Every file, place, value and command that reads it."""

    def reading(command: str, option: str) -> list[str]:
        argv = [command, *command_lines[command]]
        argv[argv.index(option) + 1] = FOLDER
        return argv

    report = ["report", FOLDER, "--out", "out.html"]
    resume = ["pretrain", "--config", f"{FOLDER}/config.yaml", "--out", FOLDER]
    predict = ["predict", FOLDER, "--input", str(animals["test"])]
    reads = [
        (blocks, ["*.json"], [["inspect", FOLDER, "--rows", "1"], reading("pretrain", "--data")]),
        (blocks, ["tokenizer/*.json"], [["inspect", FOLDER]]),
        (finished, ["*.json", "*.jsonl"], [report]),
        (finished, ["run.json"], [["verify", FOLDER]]),
        (unfinished, ["run.json", "metrics.jsonl"], [resume]),
        (unfinished, ["checkpoints/step-00000012/*.json"], [resume]),
        (
            encoders["elektron"],
            ["config.json"],
            [reading("finetune", "--model"), ["verify", FOLDER]],
        ),
        (tuned, ["config.json", "task.json", "tokenizer*.json"], [predict]),
        (tuned, ["details.json", "metrics.json", "runs.json"], [report]),
        (compared, ["settings.json", "*/*/*/result.json"], [reading("compare", "--out")]),
    ]
    return [case for read in reads for case in of_files(*read)]


@pytest.mark.parametrize("every", [127, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_values_in_json(every: int, cases: list[Case], tmp_path: Path) -> None:
    found = outcomes(cases[::every], tmp_path, ACCEPTED)
    assert not found, "\n".join(found)
