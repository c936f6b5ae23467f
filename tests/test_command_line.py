"""The splitting of a command line, apart from the commands."""

import pytest

from elektron.command_line import parse_arguments, usage
from elektron.compare.config import CompareConfig
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.inference.config import ExportConfig


def test_texts_are_found_under_the_names_of_settings() -> None:
    assert parse_arguments("compare", CompareConfig, ["--seeds", "2", "--data=blocks"]) == {
        "seeds": "2",
        "data": "blocks",
    }


def test_an_option_of_several_values_may_come_several_times() -> None:
    argv = ["--probe", "a --train x", "b", "--seeds", "2", "--probe", "c"]
    assert parse_arguments("compare", CompareConfig, argv)["probe"] == ["a --train x", "b", "c"]


def test_options_besides_the_settings() -> None:
    extra = [("recipe", "RECIPE", "help of it")]
    assert parse_arguments("compare", CompareConfig, ["--recipe", "r"], extra) == {"recipe": "r"}
    with pytest.raises(ElektronError, match="unknown option --recipe"):
        parse_arguments("compare", CompareConfig, ["--recipe", "r"])


@pytest.mark.parametrize(
    ("old", "new"),
    [("--vary", "--sweep"), ("--against", "--baseline"), ("--micro-batch", "--micro-batch-size")],
)
def test_an_option_of_an_earlier_version_is_named_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ElektronError, match=f"{old}: it is now {new}$"):
        parse_arguments("finetune", FinetuneConfig, ["classification", f"{old}=x"])


def test_usage_names_what_must_be_given() -> None:
    assert usage("compare", CompareConfig) == (
        "elektron compare --data PATH --budget TEXT… --probe TEXT… --out PATH [options]"
    )


def test_an_option_that_is_true_or_false_may_stand_alone() -> None:
    for argv in (["--int8", "model"], ["model", "--int8"], ["--int8", "true", "model"]):
        assert parse_arguments("export", ExportConfig, argv) == {"model": "model", "int8": "true"}
    assert parse_arguments("export", ExportConfig, ["--int8", "false"])["int8"] == "false"
