"""Labelled data sets of ../shared/data, read with options only."""

from pathlib import Path
from typing import Any

import pytest

from elektron.finetuning.readers.roles import Layout
from tests.finetuning.readers.layouts import PARALLEL, SQUAD, TAGGED, TEXTS, read

DATA = Path(__file__).parents[4] / "shared" / "data"
STS: dict[str, Any] = {"text": "6", "pair": "7", "label": "5"}
MRPC: dict[str, Any] = {"text": "#1 String", "pair": "#2 String", "label": "Quality"}


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize(
    ("names", "layout", "options", "count"),
    [
        ("agnews/dev.tsv", TEXTS, {}, 10_001),
        ("thucnews/dev.txt", TEXTS, {}, 10_000),
        ("sst2/train.tsv", TEXTS, {}, 60_614),
        ("sst2/dev.tsv", TEXTS, {}, 6_735),
        ("sts-b/sts-train.tsv", TEXTS, STS, 5_749),
        ("sts-b/sts-dev.tsv", TEXTS, STS, 1_500),
        ("mrpc/msr_paraphrase_train.txt", TEXTS, MRPC, 4_076),
        ("mrpc/msr_paraphrase_test.txt", TEXTS, MRPC, 1_725),
        ("imdb/train.csv.gz", TEXTS, {}, 25_000),
        ("imdb/test.csv.gz", TEXTS, {}, 5_000),
        ("ner-resume-zh/train.char.bmes", TAGGED, {}, 3_821),
        ("ner-resume-zh/dev.char.bmes", TAGGED, {}, 463),
        ("squad2/train.json", SQUAD, {}, 3_708),
        ("squad2/dev.json", SQUAD, {}, 1_105),
        ("multi30k/train.en multi30k/train.de", PARALLEL, {}, 29_000),
        ("multi30k/val.en multi30k/val.de", PARALLEL, {}, 1_014),
        ("dialogsum/dialogsum.train.jsonl.gz", PARALLEL, {}, 12_460),
        ("dialogsum/dialogsum.dev.jsonl", PARALLEL, {}, 500),
    ],
)
def test_labelled_sets_have_expected_rows(names: str, layout: Layout, options: dict[str, Any], count: int) -> None:
    files = [DATA / name for name in names.split()]
    records = read(*files, layout=layout, **options)
    assert len(records) == count
    needed = {role.name for role in layout.roles if role.needed in ("always", "labelled")}
    assert all(needed <= record.values.keys() for record in records)
    if layout is TEXTS:
        distinct = {record.values["label"] for record in records}
        assert 2 <= len(distinct) <= 300
    if layout is SQUAD:
        without = sum(not record.values["answers"] for record in records)
        assert 0.4 < without / count < 0.6


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize(
    ("name", "layout", "count"),
    [
        ("thucnews/dev.txt", TEXTS, 10_000),
        ("multi30k/val.en", TEXTS, 1_014),
        ("multi30k/val.en", TAGGED, 1_014),
        ("multi30k/val.en", PARALLEL, 1_014),
        ("ner-resume-zh/dev.char.bmes", TAGGED, 463),
    ],
)
def test_sets_read_for_prediction_have_expected_rows(name: str, layout: Layout, count: int) -> None:
    assert len(read(DATA / name, layout=layout, labelled=False)) == count
