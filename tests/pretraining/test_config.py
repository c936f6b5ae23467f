"""Invalid values are rejected before any work, with the name of the setting."""

import dataclasses

import pytest

from elektron.errors import ElektronError
from elektron.pretraining.config import PretrainConfig, resolve


def changed(**settings):
    """A configuration with dotted settings changed."""
    config = PretrainConfig(steps=10)
    for name, value in settings.items():
        group, _, field = name.rpartition("__")
        setattr(getattr(config, group) if group else config, field, value)
    return config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "--steps must be above 0, got 0"),
        ({"steps": None}, "exactly one of steps"),
        ({"minutes": 3.0}, "exactly one of steps"),
        ({"batch_size": -1}, "--batch-size must be from 1"),
        ({"micro_batch_size": 0}, "--micro-batch-size must be from 1"),
        ({"masking__mask_probability": 1.2}, "--masking.mask-probability must be above 0 and below 1"),
        ({"masking__mask_probability": 0.0}, "--masking.mask-probability"),
        ({"masking__keep_probability": 1.0}, "--masking.keep-probability"),
        ({"network__dropout": -0.1}, "--network.dropout"),
        ({"network__num_attention_heads": 0}, "--network.num-attention-heads"),
        ({"optimizer__learning_rate": 0.0}, "--optimizer.learning-rate"),
        ({"optimizer__decay_fraction": 0.0}, "--optimizer.decay-fraction"),
        ({"seed": -1}, "--seed must be from 0 to below 2147483648"),
        ({"seed": 2**63}, r"--seed must be below 2\^63, got 9223372036854775808"),
        ({"collective_timeout": 0}, "--collective-timeout must be above 0"),
        ({"collective_timeout": 10**15}, "--collective-timeout must be .* at most 864000"),
        ({"evaluation__every": 0}, "--evaluation.every"),
    ],
)
def test_invalid_values_raise_with_name_of_setting(settings, message):
    with pytest.raises(ElektronError, match=message):
        resolve(changed(**settings))


def test_nan_raises():
    with pytest.raises(ElektronError, match=r"optimizer.learning-rate"):
        resolve(changed(optimizer__learning_rate=float("nan")))


def test_family_defaults_fill_unset_values():
    electra = resolve(changed(family="electra"))
    assert electra.network.dropout == 0.1
    assert (electra.optimizer.name, electra.optimizer.learning_rate) == ("adamw", 5e-4)
    assert electra.optimizer.bias_correction is False
    elektron = resolve(changed(family="elektron", network__dropout=0.2))
    assert elektron.network.dropout == 0.2
    assert elektron.optimizer.name == "muon"


def test_resolve_is_idempotent_and_does_not_modify_argument():
    config = changed()
    before = dataclasses.asdict(config)
    resolved = resolve(config)
    assert dataclasses.asdict(config) == before
    assert resolve(resolved) == resolved
