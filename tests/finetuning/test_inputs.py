from itertools import pairwise

import pytest

from elektron.corpus.tokenizer import load_tokenizer
from elektron.finetuning.inputs import encode

LONG = "the cat sees the blue house . the red fox finds some warm bread . my old friend meets an apple ."


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return load_tokenizer(str(tokenizer_folder))


@pytest.fixture(scope="module")
def ids(tokenizer):
    return tokenizer(LONG, add_special_tokens=False)["input_ids"]


def test_head_truncation(tokenizer, ids):
    (row,) = encode(tokenizer, [LONG], max_length=10)
    assert row["input_ids"] == [tokenizer.cls_token_id, *ids[:8], tokenizer.sep_token_id]
    assert row["record"] == 0


def test_head_tail_truncation(tokenizer, ids):
    (row,) = encode(tokenizer, [LONG], max_length=10, truncation="head-tail")
    assert row["input_ids"] == [tokenizer.cls_token_id, *ids[:4], *ids[-4:], tokenizer.sep_token_id]


def test_windows_cover_text_and_overlap_by_stride(tokenizer, ids):
    rows = encode(tokenizer, ["the cat .", LONG], max_length=10, truncation="windows", stride=3)
    assert [row["record"] for row in rows] == [0] + [1] * (len(rows) - 1)
    pieces = [row["input_ids"][1:-1] for row in rows[1:]]
    whole = list(pieces[0])
    for before, after in pairwise(pieces):
        assert before[-3:] == after[:3]
        whole += after[3:]
    assert whole == ids


@pytest.mark.parametrize("truncation", ["head", "head-tail", "windows"])
def test_short_text_is_not_truncated(tokenizer, truncation):
    (row,) = encode(tokenizer, ["the cat ."], max_length=10, truncation=truncation, stride=2)
    assert row["input_ids"] == tokenizer("the cat .")["input_ids"]


def test_longer_text_of_pair_is_truncated(tokenizer):
    (row,) = encode(tokenizer, [LONG], ["the cat ."], max_length=16)
    assert len(row["input_ids"]) == 16
    cat = tokenizer("the cat .", add_special_tokens=False)["input_ids"]
    assert row["input_ids"][-1 - len(cat) : -1] == cat
