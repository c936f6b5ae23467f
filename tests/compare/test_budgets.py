"""How compute is written."""

import pytest

from elektron.compare.budgets import Budget, parse, parse_all
from elektron.errors import ElektronError


@pytest.mark.parametrize(
    ("text", "budget", "name"),
    [
        ("10m", Budget("time", 600), "10m"),
        ("600s", Budget("time", 600), "10m"),
        ("90s", Budget("time", 90), "90s"),
        ("1.5h", Budget("time", 5400), "90m"),
        ("2H", Budget("time", 7200), "2h"),
        ("0.5s", Budget("time", 0.5), "0.5s"),
        ("2e15flops", Budget("flops", 2e15), "2e15flops"),
        ("2.5e+15FLOPs", Budget("flops", 2.5e15), "2.5e15flops"),
        ("123456789flops", Budget("flops", 123456789), "1.23457e8flops"),
    ],
)
def test_a_budget_has_one_short_name(text: str, budget: Budget, name: str) -> None:
    assert parse(text) == budget
    assert budget.name == name


def test_a_budget_is_the_length_of_a_pre_training() -> None:
    assert parse("90s").length == {"minutes": 1.5}
    assert parse("2e15flops").length == {"flops": 2e15}


@pytest.mark.parametrize(
    "text", ["10", "m", "0m", "-1m", "1e999flops", "1..5m", "10 min", "nanm", ""]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ElektronError, match="--budget must be a time such as 600s"):
        parse(text)


def test_several_are_ordered_and_of_one_kind() -> None:
    assert [budget.name for budget in parse_all(["1h", "10m"])] == ["10m", "1h"]
    with pytest.raises(ElektronError, match="all as times or all as operations"):
        parse_all(["1h", "2e15flops"])
    with pytest.raises(ElektronError, match="given twice"):
        parse_all(["1m", "60s"])
