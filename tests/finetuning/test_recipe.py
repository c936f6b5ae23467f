import dataclasses
import math
from contextlib import nullcontext
from pathlib import Path

import pytest

from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig, FinetuneConfig
from elektron.finetuning.finetune import finetune
from elektron.finetuning.recipe import check, combinations, resolve


def config(task="classification", **options):
    return FinetuneConfig(task=task, model="m", train=["t"], out=Path("o"), **options)


def resolved(options=None, **facts):
    facts = {"family": "electra", "width": 256, "longest": 512, "rows": 50_000, "pretrained": True} | facts
    return resolve(config(**(options or {})), **facts)


@pytest.mark.parametrize(("width", "rate", "decay"), [(256, 3e-4, 0.8), (768, 1e-4, 0.8), (1024, 5e-5, 0.9)])
def test_defaults_equal_paper_settings_by_width(width, rate, decay):
    found = resolved(width=width)
    assert (found.learning_rate, found.layer_decay) == (rate, decay)
    assert (found.batch_size, found.epochs, found.dropout, found.weight_decay) == (32, 3, 0.1, 0.0)
    assert found.warmup == 0.1


def test_defaults_for_regression_few_rows_and_question_answering():
    assert resolved({"task": "regression"}).epochs == 10
    assert resolved(rows=2500).epochs == 10
    answers = resolved({"task": "question-answering"})
    assert (answers.epochs, answers.max_length, answers.stride) == (2, 512, 128)


def test_random_weights_get_more_epochs_and_no_layer_decay():
    found = resolved(pretrained=False)
    assert found.epochs == 9
    assert found.layer_decay == 1.0


def test_given_settings_are_not_overridden():
    found = resolved({"learning_rate": 1e-5, "epochs": 1.5, "batch_size": 8, "max_length": 100})
    assert (found.learning_rate, found.epochs, found.batch_size, found.max_length) == (1e-5, 1.5, 8, 100)
    assert found.stride < 100


def test_resolve_sets_all_training_settings():
    for task in ("classification", "translation"):
        found = resolved({"task": task})
        needed = ["learning_rate", "layer_decay", "epochs", "batch_size", "weight_decay", "dropout"]
        needed += ["optimizer", "muon_learning_rate", "label_smoothing", "max_length", "truncation", "stride", "keep"]
        assert all(getattr(found, name) is not None for name in needed)
    assert resolved({"task": "embedding"}).dropout is None  # the encoder's own


def test_private_learning_rate_depends_on_training_the_encoder():
    private = {"private": True, "epsilon": 8.0}
    head = resolved(private)
    assert (head.layer_decay, head.learning_rate, head.max_grad_norm, head.optimizer) == (0.0, 0.03, 1.0, "adamw")
    assert resolved(private | {"layer_decay": 0.9}).learning_rate == 1e-3
    assert resolved(private | {"layer_decay": 0.9, "learning_rate": 0.1}).learning_rate == 0.1


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({"task": "translation", "micro_batch_size": 48}, True),
        ({"task": "summarization", "micro_batch_size": 24}, False),
        ({"private": True, "epsilon": 8.0, "eval": ["e"], "micro_batch_size": 64}, True),
        ({"batch_size": 16, "micro_batch_size": 24}, False),
    ],
)
def test_micro_batch_larger_than_batch_raises(settings, fits):
    with nullcontext() if fits else pytest.raises(ElektronError, match="--micro-batch-size"):
        check(config(**settings))


@pytest.mark.parametrize("length", [8, 9, 10])
def test_small_max_length_is_accepted(length):
    check(config(max_length=length))
    assert resolved({"max_length": length}).max_length == length


def test_stride_as_long_as_encoder_input_raises():
    with pytest.raises(ElektronError, match="--stride 64 must be well below the 64 tokens"):
        resolved({"stride": 64}, longest=64)


@pytest.mark.parametrize(
    ("task", "settings", "complaint"),
    [("embedding", {"layer_decay": 0.0}, "--layer-decay 0"), ("mt", {"patience": 1}, "--patience needs --keep best")],
)
def test_contradictory_settings_raise(task, settings, complaint):
    with pytest.raises(ElektronError, match=complaint):
        check(config(task, **settings))


def test_max_length_above_encoder_limit_raises():
    with pytest.raises(ElektronError, match=r"--max-length 600 is more than the 512"):
        resolved({"max_length": 600})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("muon_learning_rate", 0.0),
        ("layer_decay", 1.5),
        ("epochs", -1.0),
        ("batch_size", 0),
        ("seeds", 0),
        ("seed", -1),
        pytest.param("seed", 10**400, id="seed-of-400-digits"),
        ("dropout", 1.0),
        ("warmup", -0.1),
        ("weight_decay", -1.0),
        ("max_length", 3),
        ("stride", 512),
        ("micro_batch_size", 64),
    ],
)
def test_invalid_value_raises_with_option_name(name, value):
    with pytest.raises(ElektronError, match="--" + name.replace("_", "-")):
        check(config(**{name: value}))


@pytest.mark.parametrize(
    ("item", "settings", "complaint"),
    [
        ("micro_batch_size=16,64", {}, "--micro-batch-size 64"),
        ("batch-size=16,32", {"private": True, "epsilon": 8.0}, "refuses --sweep batch_size"),
        ("max_train=100,1000", {}, "max_train cannot be varied"),
    ],
)
def test_invalid_sweep_values_raise_before_files_are_read(item, settings, complaint, tmp_path):
    with pytest.raises(ElektronError, match=complaint):
        finetune(dataclasses.replace(config(**settings), sweep=[item], out=tmp_path / "m"))


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("quickstart", "a recipe: did you mean scratch:quickstart"),
        ("scratch:quikstart", "did you mean quickstart"),
        ("scratch:", "There are .*quickstart"),
    ],
)
def test_misspelled_recipe_raises_with_suggestion(model, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ElektronError, match=complaint):
        check(dataclasses.replace(config(), model=model))
    (tmp_path / "quickstart").mkdir()
    for name in ("quickstart", "scratch:quickstart"):
        check(dataclasses.replace(config(), model=name))


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        ("classification", "null_threshold", 0.5),
        ("classification", "decoder_layers", 2),
        ("question-answering", "max_target_length", 20),
        ("regression", "label_separator", "|"),
        ("token-classification", "decoding", DecodingConfig(beams=2)),
    ],
)
def test_settings_of_other_tasks_raise(task, name, value):
    with pytest.raises(ElektronError, match=f"--{name.replace('_', '-')} does not apply to {task}"):
        check(config(task=task, **{name: value}))


def test_combinations_convert_values_to_setting_types():
    found = combinations(["learning_rate=1e-4,3e-4", "epochs=3", "decoding.beams=1,4"])
    assert len(found) == 4
    assert found[0] == {"learning_rate": 1e-4, "epochs": 3.0, "decoding.beams": 1}
    assert found[-1] == {"learning_rate": 3e-4, "epochs": 3.0, "decoding.beams": 4}


def test_combinations_of_empty_sweep_are_one_run():
    assert combinations([]) == [{}]


@pytest.mark.parametrize("item", ["train=a,b", "text=a,b", "seeds=1,2", "out=a"])
def test_sweep_over_data_or_search_options_raises(item):
    with pytest.raises(ElektronError, match="cannot be varied"):
        combinations([item])
