"""Every objective, plan, sharing, family and masking in a whole run: its outputs, and exact resuming."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForTokenClassification

from elektron.errors import ElektronError
from elektron.finetuning.encoders import load_encoder
from elektron.models.families import FAMILIES
from elektron.pretraining.checkpoint import newest_valid, read_progress
from elektron.pretraining.config import (
    CheckpointConfig,
    CurriculumConfig,
    MaskingConfig,
    NetworkConfig,
    OptimizerConfig,
    PlanOptions,
)
from elektron.pretraining.objectives import OBJECTIVES
from elektron.pretraining.pretrain import pretrain
from tests.pretraining.conftest import TINY, killed_before, metrics, same_weights, tiny_config

DETECTING = ("rtd", "electra_15", "all_tokens_mlm", "corrective")
SHALLOW = TINY | {"embedding_size": 32, "generator_width": 1.0, "generator_layers": 1, "num_hidden_layers": 2}


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_objectives_write_expected_metrics_and_models(objective, blocks, tmp_path, caplog):
    out = tmp_path / "run"
    summary = pretrain(tiny_config(blocks, out, objective=objective))
    assert summary["objective"] == objective
    detects, predicts_tokens = objective in DETECTING, OBJECTIVES[objective].predicts_tokens
    assert summary["discriminator_auc"] is None or detects
    assert (summary["logit_spread"] is not None) == detects
    assert (summary["lm_loss"] is not None) == predicts_tokens
    assert (summary["generator_loss"] is not None) == (objective != "mlm")
    assert (out / "examples.json").exists() == detects
    assert (out / "generator").exists() == (objective != "mlm")
    assert summary["flops"] > 0
    config = json.loads((out / "discriminator/config.json").read_text())
    assert config["pretraining_objective"] == objective
    assert config["hidden_size"] == 32
    if not detects:
        AutoModelForMaskedLM.from_pretrained(out / "discriminator")
    with caplog.at_level("WARNING", "elektron"):
        load_encoder(str(out))
    assert "generator" not in caplog.text


@pytest.mark.parametrize("objective", ["replace_mlm", "mlm"])
def test_objectives_without_detection_reduce_lm_loss(objective, blocks, tmp_path):
    network = NetworkConfig(**(TINY | {"embedding_size": 32}))
    config = tiny_config(
        blocks, tmp_path / "run", objective=objective, steps=150, batch_size=16, network=network,
        optimizer=OptimizerConfig(warmup=0.1),
    )  # fmt: skip
    summary = pretrain(config)
    first = metrics(tmp_path / "run", "train")[0]
    assert summary["lm_loss"] < first["lm_loss"] - 0.5


def test_two_stage_trains_generator_then_discriminator(blocks, tmp_path, caplog):
    out = tmp_path / "run"
    with caplog.at_level("INFO", "elektron"):
        summary = pretrain(tiny_config(blocks, out, plan="two_stage"))
    assert "second stage" in caplog.text
    before, after = metrics(out, "evaluation")
    assert before["discriminator_auc"] is None
    assert after["discriminator_auc"] is not None
    # The second stage does not change the generator.
    assert summary["generator_loss"] == pytest.approx(before["generator_loss"], abs=1e-6)
    first, _, last = metrics(out, "train")
    assert first["gradient_norm_discriminator"] is None
    assert last["gradient_norm_generator"] is None
    assert last["generator_loss"] is not None


def test_run_killed_in_second_stage_resumes_from_first_stage(blocks, tmp_path, monkeypatch):
    """The resumed run copies the weights of the generator to the discriminator again."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    pretrain(tiny_config(blocks, whole, plan="two_stage", steps=16))
    with killed_before(10, monkeypatch):
        pretrain(tiny_config(blocks, out, plan="two_stage", steps=16))
    pretrain(tiny_config(blocks, out, plan="two_stage", steps=16))
    assert same_weights(whole, out)


def test_run_resumed_in_second_stage_equals_uninterrupted_run(blocks, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "run"
    checkpoints = CheckpointConfig(every=4, keep=2)
    settings = {"plan": "two_stage", "steps": 16, "checkpoint": checkpoints}
    pretrain(tiny_config(blocks, whole, **settings))
    with killed_before(14, monkeypatch):
        pretrain(tiny_config(blocks, out, **settings))
    progress = read_progress(newest_valid(out))
    assert (progress.step, progress.stage, progress.stage_step) == (12, 1, 8)
    pretrain(tiny_config(blocks, out, **settings))
    assert same_weights(whole, out)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "corrective"},
        {"objective": "mlm"},
        {"family": "modernbert", "network": NetworkConfig(**SHALLOW)},
        {"family": "deberta-v2", "network": NetworkConfig(**SHALLOW), "sharing": "gdes"},
        {"plan": "alternating"},
        {"plan": "alternating", "plan_options": PlanOptions(similarity=1.0)},
        {"plan": "adversarial"},
        {"sharing": "none"},
        {"sharing": "tokens"},
        {"sharing": "gdes"},
        {"sharing": "all", "network": NetworkConfig(**(TINY | {"generator_width": 1.0}))},
        {"plan": "two_stage", "sharing": "gdes"},
        {"masking": MaskingConfig(unit="whole_word")},
        {"masking": MaskingConfig(mask_probability=0.4, final_mask_probability=0.15)},
        {"curriculum": CurriculumConfig(first_length=8, first_batch_size=2)},
        {"objective": "all_tokens_mlm", "micro_batch_size": 3},
    ],
    ids=str,
)
def test_resumed_variants_equal_uninterrupted_runs(changes, blocks, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "run"
    summary = pretrain(tiny_config(blocks, whole, **changes))
    assert summary["steps"] == 12
    if changes.get("plan") == "alternating":
        assert (metrics(whole, "train")[0]["similarity_loss"] is not None) == ("plan_options" in changes)
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(blocks, out, **changes))
    pretrain(tiny_config(blocks, out, **changes))
    assert same_weights(whole, out)
    figures = [json.loads((folder / "summary.json").read_text()) for folder in (whole, out)]
    assert figures[0]["generator_loss"] == figures[1]["generator_loss"]
    assert figures[0]["lm_loss"] == figures[1]["lm_loss"]
    assert figures[0]["flops"] == figures[1]["flops"]


def test_curriculum_tokens_are_counted_and_flops_decrease(blocks, tmp_path):
    flat = pretrain(tiny_config(blocks, tmp_path / "flat"))
    ramped = pretrain(tiny_config(blocks, tmp_path / "ramped", curriculum=CurriculumConfig(first_batch_size=2)))
    short = pretrain(tiny_config(blocks, tmp_path / "short", curriculum=CurriculumConfig(first_length=8)))
    assert ramped["tokens"] == (3 * 2 + 3 * 4 + 6 * 8) * 32
    assert ramped["flops"] < flat["flops"]
    assert short["tokens"] == flat["tokens"]
    assert short["flops"] < flat["flops"]
    first = metrics(tmp_path / "ramped", "train")[0]
    assert first["tokens"] == (3 * 2 + 4) * 32


@pytest.mark.parametrize("family", ["deberta-v2", "modernbert"])
def test_families_exported_as_token_classifiers(family, blocks, tmp_path):
    out = tmp_path / "run"
    config = tiny_config(blocks, out, family=family, network=NetworkConfig(**SHALLOW))
    summary = pretrain(config)
    assert summary["parameters"]["generator"] < summary["parameters"]["discriminator"] * 1.2
    model = AutoModelForTokenClassification.from_pretrained(out / "discriminator").eval()
    assert model.config.id2label == {0: "original", 1: "replaced"}
    logits = model(torch.tensor([[2, 9, 10, 3]])).logits
    assert (logits[..., 0] == 0).all()
    assert (logits[..., 1] != 0).all()
    assert FAMILIES[family].name in AutoModel.from_pretrained(out / "generator").config.model_type
    more = tiny_config(
        blocks, tmp_path / "more", init_from=f"{out / 'discriminator'},{out / 'generator'}",
        family=family, network=NetworkConfig(**SHALLOW), steps=2,
    )  # fmt: skip
    assert pretrain(more)["steps"] == 2


def test_frozen_generator_is_unchanged(blocks, tmp_path):
    pretrain(tiny_config(blocks, tmp_path / "first"))
    options = PlanOptions(generator=str(tmp_path / "first"))
    config = tiny_config(blocks, tmp_path / "run", plan="frozen_generator", plan_options=options)
    summary = pretrain(config)
    given, kept = (load_file(tmp_path / run / "generator/model.safetensors") for run in ("first", "run"))
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert summary["discriminator_auc"] is not None
    assert metrics(tmp_path / "run", "train")[0]["gradient_norm_generator"] is None


def test_frozen_generator_of_another_family(paper_blocks, tmp_path):
    pretrain(tiny_config(paper_blocks, tmp_path / "first", family="electra", steps=2))
    options = PlanOptions(generator=str(tmp_path / "first/generator"))
    for sharing in ("none", "gdes"):
        config = tiny_config(
            paper_blocks, tmp_path / sharing, plan="frozen_generator", plan_options=options,
            sharing=sharing, steps=4,
        )  # fmt: skip
        assert pretrain(config)["steps"] == 4


def test_frozen_generator_with_another_vocabulary_raises(blocks, tmp_path):
    pretrain(tiny_config(blocks, tmp_path / "first", steps=2))
    folder = tmp_path / "first/generator/tokenizer.json"
    tokenizer = json.loads(folder.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["the"], vocabulary["cat"] = vocabulary["cat"], vocabulary["the"]
    folder.write_text(json.dumps(tokenizer))
    options = PlanOptions(generator=str(tmp_path / "first"))
    config = tiny_config(blocks, tmp_path / "run", plan="frozen_generator", plan_options=options)
    with pytest.raises(ElektronError, match="another tokenizer"):
        pretrain(config)
    config.plan_options.generator = str(tmp_path / "nothing")
    with pytest.raises(ElektronError, match="nothing: no such folder"):
        pretrain(config)
    assert not (tmp_path / "run").exists()


def test_run_ends_at_flops_budget(blocks, tmp_path):
    per_step = pretrain(tiny_config(blocks, tmp_path / "one", steps=1))["flops"]
    summary = pretrain(tiny_config(blocks, tmp_path / "run", steps=None, flops=9.5 * per_step))
    assert summary["steps"] == 10
    rates = [line["learning_rate"] for line in metrics(tmp_path / "run", "train")]
    assert rates[-1] < rates[0]


def test_length_curriculum_with_paper_packing_raises(paper_blocks, tmp_path):
    config = tiny_config(paper_blocks, tmp_path / "run", curriculum=CurriculumConfig(first_length=8))
    with pytest.raises(ElektronError, match="--packing dense"):
        pretrain(config)


@pytest.mark.slow
def test_compiled_run_agrees_with_eager(blocks, tmp_path):
    """Under a plan that trains one network at a time."""
    plain = pretrain(tiny_config(blocks, tmp_path / "plain", steps=4, plan="alternating"))
    compiled = pretrain(tiny_config(blocks, tmp_path / "compiled", steps=4, compile=True, plan="alternating"))
    assert compiled["compiled"]
    assert compiled["generator_loss"] == pytest.approx(plain["generator_loss"], rel=1e-4)


@pytest.mark.parametrize("objective", ["mlm", "replace_mlm"])
def test_run_without_detection_can_be_continued(objective, blocks, tmp_path):
    first = pretrain(tiny_config(blocks, tmp_path / "first", objective=objective))
    slow = OptimizerConfig(learning_rate=1e-9, muon_learning_rate=1e-9)
    more = tiny_config(
        blocks, tmp_path / "more", objective=objective, init_from=str(tmp_path / "first"),
        optimizer=slow, steps=2,
    )  # fmt: skip
    assert pretrain(more)["lm_loss"] == pytest.approx(first["lm_loss"], abs=1e-3)
    detector = tiny_config(blocks, tmp_path / "rtd", init_from=str(tmp_path / "first"), steps=2)
    assert pretrain(detector)["discriminator_auc"] is not None


def test_rejected_run_creates_no_folder(blocks, tmp_path):
    for changes, message in (
        ({"curriculum": CurriculumConfig(first_length=24)}, "first-length 24 does not double"),
        ({"curriculum": CurriculumConfig(first_batch_size=3)}, "first-batch-size 3 does not double to 8"),
        ({"masking": MaskingConfig(unit="whole_word", segmenter=":cut")}, "segmenter"),
        ({"plan": "two_stage", "steps": 1}, "two stages"),
        ({"plan": "two_stage", "steps": None, "tokens": 3 * 8 * 32,
          "plan_options": PlanOptions(generator_steps=3)}, "two stages"),
        ({"plan": "alternating", "plan_options": PlanOptions(generator_turn=12)}, "to train the discriminator"),
    ):  # fmt: skip
        with pytest.raises(ElektronError, match=message):
            pretrain(tiny_config(blocks, tmp_path / "run", **changes))
        assert not (tmp_path / "run").exists()


def test_run_without_generator_as_frozen_generator_raises(blocks, tmp_path):
    pretrain(tiny_config(blocks, tmp_path / "first", objective="mlm", steps=2))
    options = PlanOptions(generator=str(tmp_path / "first"))
    config = tiny_config(blocks, tmp_path / "run", plan="frozen_generator", plan_options=options)
    with pytest.raises(ElektronError, match=r"is a run without a generator: .*give .*discriminator"):
        pretrain(config)
    config.plan_options.generator = str(tmp_path / "first/discriminator")
    assert pretrain(config)["steps"] == 12
