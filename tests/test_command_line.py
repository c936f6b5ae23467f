"""Parsing of command lines, without running commands."""

import pytest

from elektron.command_line import parse_arguments, usage
from elektron.compare.config import CompareConfig
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.inference.config import ExportConfig


def test_option_values_are_returned_by_setting_name() -> None:
    assert parse_arguments("compare", CompareConfig, ["--seeds", "2", "--data=blocks"]) == {
        "seeds": "2",
        "data": "blocks",
    }


def test_list_option_can_be_repeated() -> None:
    argv = ["--probe", "a --train x", "b", "--seeds", "2", "--probe", "c"]
    assert parse_arguments("compare", CompareConfig, argv)["probe"] == ["a --train x", "b", "c"]


def test_extra_options_are_parsed() -> None:
    extra = [("recipe", "RECIPE", "help of it")]
    assert parse_arguments("compare", CompareConfig, ["--recipe", "r"], extra) == {"recipe": "r"}
    with pytest.raises(ElektronError, match="unknown option --recipe"):
        parse_arguments("compare", CompareConfig, ["--recipe", "r"])


@pytest.mark.parametrize(
    ("old", "new"), [("--vary", "--sweep"), ("--against", "--baseline"), ("--micro-batch", "--micro-batch-size")]
)
def test_renamed_option_raises_with_new_name(old: str, new: str) -> None:
    with pytest.raises(ElektronError, match=f"{old}: it is now {new}$"):
        parse_arguments("finetune", FinetuneConfig, ["classification", f"{old}=x"])


def test_usage_lists_required_arguments() -> None:
    assert usage("compare", CompareConfig) == (
        "elektron compare --data PATH --budget TEXT… --probe TEXT… --out PATH [options]"
    )


def test_boolean_option_without_value_is_true() -> None:
    for argv in (["--int8", "model"], ["model", "--int8"], ["--int8", "true", "model"]):
        assert parse_arguments("export", ExportConfig, argv) == {"model": "model", "int8": "true"}
    assert parse_arguments("export", ExportConfig, ["--int8", "false"])["int8"] == "false"
