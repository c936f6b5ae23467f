"""Rows held out by seed and stratified by class, and the class counts in the log."""

from collections import Counter
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.labelled import Labelled, hold_out, read_labelled, stratified
from elektron.finetuning.readers.records import Record
from elektron.finetuning.recipe import held_out_fraction


def test_held_out_fraction_must_be_between_0_and_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert held_out_fraction(["0.1"]) == 0.1
    assert held_out_fraction(["dev.csv"]) is None
    assert held_out_fraction(["0.1", "0.2"]) is None
    assert held_out_fraction([]) is None
    for wrong in ("0", "1", "1.5", "-0.1", "nan", "inf", "10"):
        with pytest.raises(ElektronError, match="between 0 and 1"):
            held_out_fraction([wrong])
    (tmp_path / "10").touch()
    assert held_out_fraction(["10"]) is None


def records(count: int) -> list[Record]:
    return [Record({"text": str(n)}, {}, f"line {n}") for n in range(count)]


def test_hold_out_splits_rows_reproducibly_by_seed() -> None:
    rows = records(100)
    train, held_out = hold_out(rows, 0.1, seed=1)
    assert len(held_out) == 10
    assert sorted([*train, *held_out], key=rows.index) == rows
    assert train == sorted(train, key=rows.index)
    assert hold_out(rows, 0.1, seed=1) == (train, held_out)
    assert hold_out(rows, 0.1, seed=2)[1] != held_out


@pytest.mark.parametrize(("count", "share"), [(3, 0.1), (0, 0.5), (1, 0.5), (3, 0.9)])
def test_hold_out_with_empty_part_raises(count: int, share: float) -> None:
    with pytest.raises(ElektronError, match=f"of {count} rows cannot be held out"):
        hold_out(records(count), share, seed=1)


def texts(records: list[Record]) -> list[str]:
    return [record.values["text"] for record in records]


def test_held_out_test_rows_are_in_no_other_split(tmp_path: Path) -> None:
    file = tmp_path / "train.tsv"
    file.write_text("text\tlabel\n" + "".join(f"text {n}\t{'ab'[n % 4 == 0]}\n" for n in range(100)))

    def read(**settings: object) -> Labelled:
        config = FinetuneConfig(
            task="classification", model="m", train=[str(file)], out=tmp_path, **{"test": ["0.2"]} | settings
        )
        return read_labelled(config)

    found = read()
    assert (len(found.train), len(found.eval), len(found.test)) == (72, 8, 20)
    assert sorted(texts(found.train) + texts(found.eval) + texts(found.test)) == sorted(texts(found.all_train))
    assert Counter(record.values["label"] for record in found.test) == {"a": 15, "b": 5}
    assert (found.reported_on, found.remarks) == ("test", [])
    assert texts(read(eval=["0.3"], max_train=10).test) == texts(read().test) != texts(read(seed=2).test)
    assert read(eval=[str(file)]).remarks == ["train.tsv is both trained on and given as --eval"]
    with pytest.raises(ElektronError, match="--test-columns is for files"):
        read(test_columns=["text=body"])


def of_classes(**counts: int) -> list[Record]:
    names = [name for name, count in counts.items() for _ in range(count)]
    return [Record({"label": name}, {}, "file") for name in names]


@pytest.mark.parametrize("seed", range(5))
def test_stratified_split_keeps_single_row_classes_in_training(seed: int) -> None:
    rows = of_classes(common=60, some=20, rare=1, lone=1)
    train, held_out = hold_out(rows, 0.25, seed, by_class=True)
    assert Counter(record.values["label"] for record in held_out) == {"common": 15, "some": 5}
    assert len(train) + len(held_out) == len(rows)
    drawn = stratified(rows, 9, seed, by_class=True)
    assert Counter(rows[index].values["label"] for index in drawn) == {"common": 5, "some": 2, "rare": 1, "lone": 1}


def test_row_of_several_classes_is_stratified_by_rarest_class() -> None:
    tags = [["O", "B"], ["O", "S"], *[["O"]] * 18]
    rows = [Record({"tags": found}, {}, "file") for found in tags]
    for seed in range(5):
        assert {0, 1} < stratified(rows, 4, seed, by_class=True)


def test_classes_of_equal_count_are_logged_alphabetically(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"name {letter}" for letter in "dbeacf"]
    file = tmp_path / "train.tsv"
    file.write_text("text\tlabel\n" + "".join(f"text {n}\t{name}\n" for name in names for n in range(4)))
    config = FinetuneConfig(task="classification", model="m", train=[str(file)], eval=["0.25"], out=tmp_path)
    with caplog.at_level("INFO"):
        read_labelled(config)
    assert f"6 classes: {', '.join(f'{name} 3' for name in sorted(names))}" in caplog.text
