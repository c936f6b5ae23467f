"""Batches limited by a number of tokens."""

import pytest
import torch

from elektron.accelerator import Accelerator
from elektron.finetuning import predictor as module
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.tasks.classification import Classification
from elektron.finetuning.tasks.multiple_choice import MultipleChoice


class Tokenizer:
    pad_token_id = 0


def predictor(task, batch_size=None):
    return Predictor(
        task, torch.nn.Identity(), Tokenizer(), Accelerator(torch.device("cpu"), torch.float32), batch_size
    )


def of_length(length):
    return {"input_ids": [1] * length, "record": 0}


@pytest.fixture
def classification():
    return Classification(labels=["a", "b"], max_length=64, pairs=None, truncation="head", stride=0)


@pytest.fixture(autouse=True)
def max_batch_tokens(monkeypatch):
    monkeypatch.setitem(module.MAX_BATCH_TOKENS, "cpu", 24)


def test_batches_are_filled_up_to_token_limit(classification):
    features = [of_length(length) for length in (2, 30, 12, 3, 6, 12, 6, 6, 5)]
    batches = list(predictor(classification).batches(features))
    # 30 exceeds the limit and has its own batch; two of 12 are 24; three of 6 and one of 5 are padded to 24; padding
    # 2 to 3 would add half of its length.
    assert [numbers for numbers, _ in batches] == [[1], [2, 5], [4, 6, 7, 8], [3], [0]]
    assert [tuple(batch["input_ids"].shape) for _, batch in batches] == [(1, 30), (2, 12), (4, 6), (1, 3), (1, 2)]


def test_only_large_batches_end_before_much_shorter_row():
    """A batch of at least 1/16 of the limit, 10 tokens here, ends before a much shorter row; a smaller one does not."""
    assert list(module.batches_by_size([5, 5, 3, 1], 160, None)) == [[0, 1], [2, 3]]
    assert list(module.batches_by_size([9, 3, 1, 8], 160, None)) == [[0, 3], [1, 2]]
    assert list(module.batches_by_size([5, 4, 4], 160, None)) == [[0, 1, 2]]


def test_batch_size_limits_number_of_rows(classification):
    features = [of_length(3)] * 7 + [of_length(20)] * 2
    sizes = [len(numbers) for numbers, _ in predictor(classification, batch_size=3).batches(features)]
    assert sizes == [1, 1, 3, 3, 1]


def test_tokens_of_all_choices_count_towards_limit():
    rows = [of_length(4), of_length(2), of_length(3)]
    feature = {"choices": rows, "input_ids": rows[0]["input_ids"], "record": 0}
    task = MultipleChoice(max_length=64)
    batches = list(predictor(task).batches([feature] * 3))
    assert [tuple(batch["input_ids"].shape) for _, batch in batches] == [(2, 3, 4), (1, 3, 4)]


def test_feature_without_tokens_is_batched(classification):
    assert [numbers for numbers, _ in predictor(classification).batches([of_length(0)])] == [[0]]
