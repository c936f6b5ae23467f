"""Variants of a sweep, their names, and budgets of compute."""

from pathlib import Path

import pytest

from elektron.compare.variants import Budget, Variant, parse_budget, parse_budgets, variants
from elektron.errors import ElektronError
from elektron.recipes import pretrain_config

MINUTE = Budget("1m", "time", 60)


def configured(variant: Variant) -> object:
    return variant.configured(MINUTE, Path("blocks"), Path("out"), 3)


def test_single_value_applies_to_all_variants_and_is_not_in_names() -> None:
    made = variants("quickstart", ["network.num_hidden_layers=2", "optimizer.learning_rate=1e-3,3e-3"])
    assert [variant.name for variant in made] == ["optimizer.learning_rate=0.001", "optimizer.learning_rate=0.003"]
    assert configured(made[1]) == pretrain_config(
        "quickstart",
        {
            "network.num_hidden_layers": 2,
            "optimizer.learning_rate": 3e-3,
            "minutes": 1,
            "data": "blocks",
            "out": "out",
            "seed": 3,
        },
    )


def test_several_settings_give_all_combinations() -> None:
    made = variants("quickstart", ["batch_size=8,16", "compile=true,null"])
    assert [variant.name for variant in made] == [
        "batch_size=8,compile=true",
        "batch_size=8,compile=null",
        "batch_size=16,compile=true",
        "batch_size=16,compile=null",
    ]


def test_recipe_can_be_varied(tmp_path: Path) -> None:
    own = tmp_path / "my own.yaml"
    own.write_text("batch_size: 7\n")
    made = variants("elektron-small", [f"config=electra-small,{own}", "network.num_hidden_layers=2"])
    assert [variant.name for variant in made] == ["config=electra-small", "config=my-own"]
    assert [configured(v).family for v in made] == ["electra", "elektron"]  # type: ignore[attr-defined]
    assert configured(made[1]).batch_size == 7  # type: ignore[attr-defined]


def test_empty_sweep_gives_one_variant() -> None:
    assert [v.name for v in variants("electra-small", [])] == ["electra-small"]
    assert [v.name for v in variants("electra-small", ["config=quickstart"])] == ["quickstart"]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (["seed=1,2"], "--sweep: seed cannot be varied"),
        (["steps=1,2"], "--sweep: steps cannot be varied"),
        (["minutes=1"], "--sweep: minutes cannot be varied"),
        (["objektive=rtd"], "did you mean objective"),
        (["family=elektron,nope"], "--sweep family must be"),
        (["config=electra-smal"], "no recipe is named electra-smal: did you mean electra-small"),
        (["config=quickstart", "config=electra-small"], "config is given twice"),
        (["batch_size=8,8"], "two variants are named batch_size=8"),
    ],
)
def test_invalid_sweep_raises(sweep: list[str], message: str) -> None:
    with pytest.raises(ElektronError, match=message):
        variants("quickstart", sweep)


def test_invalid_value_error_names_the_setting() -> None:
    with pytest.raises(ElektronError, match=r"--sweep batch_size must be from 1 to .*, got 0"):
        variants("quickstart", ["batch_size=8,0"])


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10m", Budget("10m", "time", 600)),
        ("600s", Budget("600s", "time", 600)),
        ("1.5h", Budget("1.5h", "time", 5400)),
        ("2H", Budget("2h", "time", 7200)),
        ("0.5s", Budget("0.5s", "time", 0.5)),
        ("2e15flops", Budget("2e15flops", "flops", 2e15)),
        ("2.5e+15FLOPs", Budget("2.5e+15flops", "flops", 2.5e15)),
        ("123456789flops", Budget("123456789flops", "flops", 123456789)),
    ],
)
def test_parse_budget(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(("text", "minutes", "flops"), [("90s", 1.5, None), ("2e15flops", None, 2e15)])
def test_budget_sets_length_of_pretraining(text: str, minutes: float | None, flops: float | None) -> None:
    (variant,) = variants("quickstart", [])
    config = variant.configured(parse_budget(text), Path("blocks"), Path("out"), 3)
    assert (config.minutes, config.flops) == (minutes, flops)


@pytest.mark.parametrize("text", ["10", "m", "0m", "-1m", "1e999flops", "1..5m", "10 min", "nanm", ""])
def test_invalid_budget_raises(text: str) -> None:
    with pytest.raises(ElektronError, match="--budget must be a time such as 600s"):
        parse_budget(text)


def test_budgets_are_sorted_and_must_be_distinct_and_of_one_kind() -> None:
    assert [budget.name for budget in parse_budgets(["1h", "10m"])] == ["10m", "1h"]
    with pytest.raises(ElektronError, match="all as times or all as FLOPs"):
        parse_budgets(["1h", "2e15flops"])
    with pytest.raises(ElektronError, match="two budgets are equal"):
        parse_budgets(["1m", "60s"])
