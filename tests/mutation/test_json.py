"""Wrong values in every JSON file that commands read: rejected in one line, or accepted for a listed reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.cases import FOLDER, Case, of_files, outcomes
from tests.mutation.conftest import CommandLines

ACCEPTED = {
    # Blocks and checkpoints
    r"(inspect|pretrain) manifest\.json (options.*|tokenizer|corpus\S*) .*": "for `prepare` and people alone",
    r"(inspect|pretrain) manifest\.json all_special_ids \[\]": "an empty list is of its type",
    r"\S+ manifest\.json (duplicates|splits\.\w+\.(documents|pieces)) \d+": "counts that are shown only",
    r"inspect manifest\.json splits\.validation\.files\S* \"x\"": "rows of that split are not read",
    r"pretrain (progress\.json|manifest\.json ( |run|files)).*": "a damaged checkpoint is set aside, and the run "
    "resumes from the one before",
    r"pretrain metrics\.jsonl .*": "lines before the checkpoint that are not of their kind are ignored",
    # Reports
    r"report (corpus|examples|summary|details|metrics|runs|run)\.jsonl? .*": "the page leaves out what is not of "
    "its type",
    r"compare settings\.json (variants|probes).*": "other settings than those of the command: its runs are redone",
    r"compare result\.json \S+ -?\d+": "numbers that are shown only",
    r"compare result\.json (flops|seconds|tokens|generator_loss|discriminator_auc|device|probes\S+) null": "may "
    "be unknown",
    r"compare result\.json (device|diverged|folder|probes\S+) \"x\"": "text that is shown only",
    r"compare result\.json (tuned|parameters) .*": "shown only",
    # Models: transformers and tokenizers decide what they accept
    r"verify config\.json .*": "it is JSON",
    r"(finetune|predict) config\.json (auto_map|transformers_version|architectures|pretraining_objective)\S* .*": "not "
    "followed",
    r"(finetune|predict) config\.json (cls|sep|pad)_token_id .*": "the tokenizer's are used",
    r"(finetune|predict) config\.json (attention_probs|classifier|hidden)\S*dropout\S* .*": "--dropout replaces "
    "it, and predicting has none",
    r"(finetune|predict) config\.json max_position_embeddings (null|-1|\d+)": "positions are rotary",
    r"(finetune|predict) config\.json (tie_word_embeddings|dtype|use_cache|problem_type|label2id)\S* .*": "without "
    "effect on loading a task's weights",
    r"predict config\.json id2label\S* .*": "labels are those of task.json",
    r"predict task\.json (columns\S*|labels\.\d|label_separator) (\"x\"|-?\d+|\{.*)": "other names; numbers are text",
    r"predict task\.json pairs null": "decided by the records",
    r"predict tokenizer\.json (truncation|normalizer|post_processor|decoder)\S* .*": "another tokenizer",
    r"predict tokenizer\.json (added_tokens|model\.unk_token)\S* .*": "another tokenizer",
    r"predict tokenizer_config\.json (backend|is_local|local_files_only|model_input_names)\S* .*": "not followed",
    r"predict tokenizer_config\.json model_max_length .*": "the length is that of task.json",
    r"predict tokenizer_config\.json (\w+_token|tokenizer_class) .*": "tokenizer.json decides",
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
        (compared, ["*/*/*/result.json"], [reading("compare", "--out")]),
    ]
    return [case for read in reads for case in of_files(*read)]


@pytest.mark.parametrize("every", [83, pytest.param(1, marks=pytest.mark.slow)])
def test_invalid_values_in_json_files_are_rejected(every: int, cases: list[Case], tmp_path: Path) -> None:
    found = outcomes(cases[::every], tmp_path, ACCEPTED)
    assert not found, "\n".join(found)
