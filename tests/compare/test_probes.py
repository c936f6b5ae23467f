"""A probe is a command line of `elektron finetune`."""

import dataclasses
import sys
import types
from pathlib import Path

import pytest

from elektron.cli import COMMANDS, main
from elektron.compare.probes import data_name, parse_probe, parse_probes
from elektron.errors import ElektronError


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("sst2/train.tsv", "sst2/dev.tsv", "my file.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parsed_probe_equals_finetune_command(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    module, _, function = COMMANDS["finetune"].function.partition(":")
    stand_in = types.ModuleType(module)
    setattr(stand_in, function, received.append)
    monkeypatch.setitem(sys.modules, module, stand_in)
    typed = [
        "summarization", "--train", "sst2/train.tsv", "my file.csv", "--eval=0.2",
        "--sweep", "learning_rate=1e-4,3e-4", "epochs=1,2", "--decoding.beams", "4", "--max-train", "100",
    ]  # fmt: skip
    assert main(["finetune", *typed, "--model", "m", "--out", "o", "--seed", "7"]) == 0
    text = " ".join(f"'{word}'" for word in typed)
    probe = parse_probe(text)
    assert (probe.name, probe.command) == ("sst2", text)
    given = {"model": "m", "out": Path("o"), "seed": 7}
    assert dataclasses.replace(probe.config, **given) == received[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "TASK is missing"),
        ("classification", "--train is missing"),
        ("classificatoin --train sst2/train.tsv", "did you mean classification"),
        ("classification --train sst2/train.tsv --epoch 3", "unknown option --epoch: did you mean"),
        ("classification --train sst2/train.tsv --epochs x", "--epochs must be a number"),
        ("classification --train sst2/train.tsv --epochs 0", "--epochs must be above 0"),
        ("classification --train sst2/train.tsv --sweep lr", "--sweep takes NAME=VALUE"),
        ("classification --train sst2/train.tsv --eval 1.5", "to hold out"),
        ("classification --train sst2/train.tsv --model m", "--model is set by the comparison"),
        ("classification --train sst2/train.tsv --seed 3", "--seed is set by the comparison"),
        ("classification --train sst2/train.tvs", "sst2/train.tvs: no such file"),
        ("classification --train sst2/train.tsv --test sst2", "sst2: a folder: give its files"),
        ("classification --train 'sst2/train.tsv", "No closing quotation"),
    ],
)
def test_invalid_probe_raises_and_is_quoted_in_error(files: Path, text: str, message: str) -> None:
    with pytest.raises(ElektronError) as refused:
        parse_probe(text)
    assert str(refused.value).startswith(f"--probe {text!r}: ")
    assert message in str(refused.value)


def test_probe_name_is_given_or_derived_from_data(files: Path) -> None:
    task = "regression --train sst2/train.tsv"
    named, own = parse_probes([f"my-task={task}", task])
    assert (named.name, named.command, own.name) == ("my-task", task, "sst2")
    for texts in ([task, task], [f"pretraining={task}"]):
        with pytest.raises(ElektronError, match="is taken: give another name before the task"):
            parse_probes(texts)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("sst2/train.tsv", "sst2"),
        ("../sst2/Train-00001-of-2.jsonl.gz", "sst2"),
        ("sst2/training.csv", "sst2"),
        ("data/sts-train.tsv", "sts"),
        ("mrpc/train_1.txt", "mrpc"),
        ("data/msr_paraphrase_train.txt", "msr_paraphrase"),
        ("data/constraints.csv", "constraints"),
        ("data/trains.csv", "trains"),
        ("my file.csv", "my-file"),
        ("hf:nyu-mll/glue:mrpc:train", "glue"),
        ("hf:nyu-mll/glue@v1.0:mrpc:train", "glue"),
    ],
)
def test_data_name(source: str, name: str) -> None:
    assert data_name(source) == name
