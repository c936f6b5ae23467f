"""Incompatible settings are rejected before any work, with the reason and an alternative."""

import dataclasses
from typing import Any

import pytest

from elektron.errors import ElektronError
from elektron.pretraining.config import PlanOptions, PretrainConfig, resolve
from tests.pretraining.test_config import changed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plan": "two_stage", "objective": "mlm"}, "objective mlm has none: choose --plan joint"),
        ({"plan": "adversarial", "objective": "replace_mlm"}, "trains none: choose --objective rtd"),
        ({"plan": "frozen_generator"}, "needs either --plan-options.generator"),
        (
            {"plan": "frozen_generator", "plan_options__generator": "x", "init_from": "y"},
            "or --init-from",
        ),
        (
            {"plan": "frozen_generator", "init_from": "x", "generator": "small"},
            "choose --generator same",
        ),
        ({"family": "bert"}, "give --init-from"),
        ({"generator": "same"}, "no effect without --init-from"),
        ({"replace_tokenizer": True}, "no effect without --init-from"),
        ({"init_from": "x", "generator": "same", "objective": "mlm"}, "which has no generator"),
        ({"init_from": "x", "network__embedding_init": "cooccurrence"}, "only applies to new networks"),
        ({"plan_options__similarity": 1.0}, "belongs to plan alternating and has no effect under joint"),
        (
            {"plan": "two_stage", "plan_options__temperature": 1.0},
            "belongs to plan frozen_generator and has no effect under two_stage",
        ),
        (
            {
                "plan": "two_stage",
                "plan_options__generator_steps": 5,
                "steps": None,
                "minutes": 1.0,
            },
            "length is in steps or tokens",
        ),
        ({"plan": "two_stage", "sharing": "embeddings"}, "choose none or gdes"),
        ({"sharing": "all"}, "add --network.generator-width 1 --network.generator-layers 12"),
        ({"sharing": "gdes", "objective": "corrective"}, "choose --sharing embeddings"),
        (
            {"sharing": "gdes", "plan": "alternating", "plan_options__similarity": 1.0},
            "which --plan-options.similarity needs",
        ),
        ({"family": "modernbert", "network__embedding_size": 128}, "remove --network.embedding-size"),
        (
            {"family": "deberta-v2", "network__generator_width": 0.25},
            "use --network.generator-layers instead",
        ),
        ({"parallel": "fsdp", "compile": True}, "remove --compile"),
        ({"plan": "two_stage", "init_from": "x"}, "would overwrite the discriminator of --init-from"),
        ({"masking__segmenter": "jieba"}, "without --masking.unit whole_word"),
        ({"masking__final_mask_probability": 0.3}, "must be at most --masking.mask-probability"),
        ({"masking__final_mask_probability": 0.1, "steps": None, "flops": 1e12}, "length is in steps or tokens"),
        ({"curriculum__first_length": 0}, "--curriculum.first-length must be above 0"),
        ({"plan": "alternating", "plan_options__similarity": -1.0}, "must be 0 or above"),
    ],
)  # fmt: skip
def test_incompatible_settings_raise(settings, message):
    with pytest.raises(ElektronError, match=message.replace("(", r"\(")):
        resolve(changed(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"plan": "two_stage"},
        {"plan": "two_stage", "sharing": "gdes"},
        {"plan": "frozen_generator", "plan_options__generator": "x", "sharing": "gdes"},
        {"sharing": "all", "network__generator_width": 1.0},
        {"objective": "mlm"},
        {"objective": "corrective", "plan": "adversarial"},
        {"family": "modernbert"},
        {"family": "deberta-v2", "network__embedding_size": 128},
        {"curriculum__first_batch_size": 32, "curriculum__first_length": 16},
    ],
)
def test_compatible_settings_resolve_idempotently(settings):
    assert resolve(resolve(changed(**settings))) == resolve(changed(**settings))


def test_default_sharing_by_plan_family_and_objective():
    assert resolve(changed(plan="two_stage")).sharing == "none"
    assert resolve(changed(plan="joint", network__embedding_init="random")).sharing == "gdes"
    assert resolve(changed(plan="joint", family="electra")).sharing == "embeddings"
    assert resolve(changed(plan="joint", objective="corrective")).sharing == "embeddings"


def test_default_generator_size_by_family():
    narrow, shallow = (resolve(changed(family=f)).network for f in ("electra", "modernbert"))
    assert (narrow.generator_width, narrow.generator_layers) == (0.25, 12)
    assert (shallow.generator_width, shallow.generator_layers) == (1.0, 6)
    assert (narrow.embedding_size, shallow.embedding_size) == (128, 256)


def test_every_plan_option_belongs_to_one_plan():
    from elektron.pretraining.compatibility import OPTIONS_OF_PLAN

    owned = [name for names in OPTIONS_OF_PLAN.values() for name in names]
    fields: list[Any] = [field.name for field in dataclasses.fields(PlanOptions)]
    assert sorted(owned) == sorted(fields)
    assert PretrainConfig().plan in OPTIONS_OF_PLAN
