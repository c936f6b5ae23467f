"""DP-SGD: per-row losses, clipping, noise, privacy accounting, invalid options and written files."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from elektron.cli import main
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning import private, recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import load_encoder
from elektron.finetuning.finetune import finetune
from elektron.finetuning.private import Privacy, calibrate_noise, first_of_each_row, row_losses
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.registry import TASKS
from tests.finetuning.conftest import labelled_sentences, write_jsonl, write_tsv

RATE = {"learning_rate": 0.5, "warmup": 0.0, "weight_decay": 0.0, "batch_size": 4, "epochs": 1.0}


@pytest.fixture
def opacus():
    """The library of the extra `privacy`, without which the test is skipped."""
    return pytest.importorskip("opacus")


def config(encoders, animals, family="elektron", **options):
    settings = {
        "task": "classification",
        "model": str(encoders[family]),
        "train": [str(animals["train"])],
        "eval": [str(animals["eval"])],
        "out": "unused",
        "private": True,
        "epsilon": 50.0,
    }
    return FinetuneConfig(**settings | options)


RECORDS = {
    "classification": [{"text": t, "label": label} for t, label in labelled_sentences(4, 1)],
    "several": [
        {"text": t, "label": labels}
        for (t, _), labels in zip(labelled_sentences(3, 2), (["a", "b"], ["b"], []), strict=True)
    ],
    "regression": [{"text": t, "label": float(n)} for n, (t, _) in enumerate(labelled_sentences(4, 3))],
    "token-classification": [
        {"tokens": ["the", "cat", "sees"], "tags": ["O", "B-A", "O"]},
        {"tokens": ["her", "brother", "likes", "the", "river", "."], "tags": ["O", "B-P", *"OOOO"]},
    ],
}


def made(encoders, animals, family, kind):
    """A new model of a family and task without dropout, its task, tokenizer, features and resolved settings."""
    name = "classification" if kind == "several" else kind
    settings = config(encoders, animals, family, task=name, **RATE)
    encoder = load_encoder(settings.model)
    settings = recipe.resolve(settings, family, 32, 64, len(RECORDS[kind]), pretrained=True)
    records = [Record(values, {}, "") for values in RECORDS[kind]]
    torch.manual_seed(1)
    task = TASKS[name].from_records(records, settings, encoder)
    model = task.new_model(encoder, 0.0)
    return model, task, encoder.tokenizer, task.features(records, encoder.tokenizer, True), settings


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_row_losses_equal_losses_of_single_rows(encoders, animals, family, kind):
    model, task, tokenizer, features, _ = made(encoders, animals, family, kind)
    together = row_losses(model.eval(), task.collate(features, tokenizer), 0.0)
    alone = [model(**task.collate([feature], tokenizer)).loss for feature in features]
    assert together.tolist() == pytest.approx([loss.item() for loss in alone], rel=1e-4)


def test_first_of_each_row_keeps_one_feature_per_row():
    rows = [{"record": number, "part": part} for number, part in ((0, 0), (0, 1), (1, 0), (2, 0))]
    assert first_of_each_row(rows) == [rows[0], rows[2], rows[3]]


class Recorder(torch.optim.SGD):
    """SGD that records its gradients and updates nothing."""

    def step(self, closure=None):
        self.seen = [p.grad.clone() for group in self.param_groups for p in group["params"]]


def step(monkeypatch, parts, privacy, seed=0):
    """The gradients passed to the optimizer in the last step of a private training."""
    model, task, tokenizer, features, settings = parts
    found = []

    def recorder(model, config):
        found.append(Recorder([p for p in model.parameters() if p.requires_grad], lr=0.0))
        return found[0]

    generator = torch.Generator().manual_seed(seed)
    monkeypatch.setattr(private, "make_optimizer", recorder)
    monkeypatch.setattr(private, "system_seeded_generator", lambda device: generator)
    arguments = (task, model, tokenizer, features, settings, lambda: {task.metric: 0.0}, "")
    private.train_privately(*arguments, privacy=privacy)
    return found[0].seen


def settings_of(noise, norm, rate=1.0, steps=1):
    return Privacy(8.0, 1e-5, noise, norm, rate, steps, 1)


@pytest.mark.extras
@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("family", recipe.PRIVATE_FAMILIES)
def test_gradient_without_noise_and_clipping_equals_plain_gradient(
    opacus, monkeypatch, families, animals, family, kind
):
    parts = made(families, animals, family, kind)
    model, task, tokenizer, features, settings = parts
    settings.micro_batch_size = 3  # two micro-batches of the four rows
    private_ones = step(monkeypatch, parts, settings_of(0.0, 1e6))
    model.train()
    model.zero_grad()
    losses = [model(**task.collate([feature], tokenizer)).loss for feature in features]
    torch.stack(losses).mean().backward()
    embeddings = model.get_input_embeddings().weight
    plain = [p.grad for p in model.parameters() if p is not embeddings]
    for ours, theirs in zip(private_ones, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.extras
def test_gradient_of_each_row_is_clipped_to_norm(opacus, monkeypatch, encoders, animals):
    parts = made(encoders, animals, "elektron", "classification")
    *rest, features, settings = parts
    for bound in (1e-3, 0.1):
        clipped = []
        for feature in features:
            alone = step(monkeypatch, (*rest, [feature], settings), settings_of(0.0, bound))
            norm = math.sqrt(sum(float(g.square().sum()) for g in alone))
            assert norm == pytest.approx(bound, rel=1e-2)  # the gradients exceed the bound
            clipped.append(alone)
        together = step(monkeypatch, parts, settings_of(0.0, bound))
        for mean, *each in zip(together, *clipped, strict=True):  # of all rows, each of which was clipped
            torch.testing.assert_close(mean, torch.stack(each).mean(0), rtol=1e-2, atol=1e-3 * bound)


@pytest.mark.extras
def test_noise_has_configured_scale_in_empty_batch(opacus, monkeypatch, encoders, animals):
    parts = made(encoders, animals, "elektron", "classification")
    privacy = settings_of(3.0, 0.5, rate=1e-6)
    noise = torch.cat([g.flatten() for g in step(monkeypatch, parts, privacy)])
    noise = noise * privacy.sample_rate * len(parts[3])  # undo the division by the expected number of rows
    assert len(noise) > 10_000
    assert float(noise.std()) == pytest.approx(3.0 * 0.5, rel=0.02)
    assert abs(float(noise.mean())) < 5 * 1.5 / math.sqrt(len(noise))


@pytest.mark.extras
def test_epsilon_equals_opacus_prv_accountant(opacus, encoders, animals):
    from opacus.accountants import PRVAccountant, RDPAccountant

    settings = config(encoders, animals, epsilon=6.0, delta=1e-4, epochs=3.0, batch_size=50)
    settings = recipe.resolve(settings, "elektron", 32, 64, 200, pretrained=True)
    one, three = calibrate_noise(settings, 200), calibrate_noise(settings, 200, trainings=3)
    assert one.steps == three.steps == 12
    assert one.sample_rate == 0.25
    assert one.noise_multiplier < three.noise_multiplier
    for privacy, steps in ((one, 12), (three, 36)):
        exact, loose = PRVAccountant(), RDPAccountant()
        for _ in range(steps):
            for accountant in (exact, loose):
                accountant.step(noise_multiplier=privacy.noise_multiplier, sample_rate=0.25)
        assert privacy.epsilon == pytest.approx(exact.get_epsilon(1e-4), rel=1e-6)
        assert 5.9 < privacy.epsilon <= 6.0 < loose.get_epsilon(1e-4) < 7.5


@pytest.mark.extras
def test_too_small_epsilon_or_too_large_delta_raises(opacus, encoders, animals):
    for options, said in (({"delta": 0.01}, "below 1/200"), ({"epsilon": 1e-9}, "too low")):
        settings = config(encoders, animals, **options)
        settings = recipe.resolve(settings, "elektron", 32, 64, 200, pretrained=True)
        with pytest.raises(ElektronError, match=said):
            calibrate_noise(settings, 200)


def test_noise_generator_ignores_torch_seed():
    torch.manual_seed(1)
    first = torch.randn(4, generator=private.system_seeded_generator(torch.device("cpu")))
    torch.manual_seed(1)
    assert not torch.equal(first, torch.randn(4, generator=private.system_seeded_generator(torch.device("cpu"))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epsilon": None}, "needs --epsilon"),
        ({"private": False}, "--epsilon is for --private"),
        ({"task": "question-answering"}, "not for question-answering"),
        ({"eval": ["0.1"]}, "a fraction for --eval or --test"),
        ({"test": ["0.2"]}, "a fraction for --eval or --test"),
        ({"test": "train"}, "both in --train"),
        ({"eval": "train"}, "both in --train"),
        ({"baseline": "scratch"}, "--baseline"),
        ({"max_train": 10}, "--max-train"),
        ({"truncation": "windows"}, "windows"),
        ({"precision": "bf16"}, "bf16"),
        ({"sweep": ["epochs=1,2"]}, "--sweep epochs"),
        ({"model": "scratch:quickstart"}, "scratch:RECIPE"),
    ],
)
def test_options_that_void_privacy_guarantee_raise(encoders, animals, options, said):
    same = {name: [str(animals["train"])] for name, value in options.items() if value == "train"}
    with pytest.raises(ElektronError, match=said):
        recipe.check(config(encoders, animals, **options | same))


@pytest.mark.extras
@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_private_finetuning_reports_spent_budget(opacus, encoders, animals, tmp_path, family):
    out = tmp_path / "m"
    options = ["--epochs", "4", "--batch-size", "50", "--seeds", "2", "--learning-rate", "0.01"]
    files = ["--train", str(animals["train"]), "--eval", str(animals["eval"])]
    arguments = ["finetune", "classification", "--model", str(encoders[family]), *files]
    arguments += ["--private", "--epsilon", "200", "--out", str(out), *options]
    assert main(arguments) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    privacy = metrics["privacy"]
    assert 190 < privacy["epsilon"] <= 200
    assert privacy["delta"] == pytest.approx(200**-1.1)
    assert (privacy["sample_rate"], privacy["steps"], privacy["trainings"]) == (0.25, 16, 2)
    for name in ("README.md", "report.html"):
        text = (out / name).read_text()
        assert f"ε = {privacy['epsilon']:.3g}" in text
        assert "2 training runs together" in text
    for run in json.loads((out / "runs.json").read_text()):
        assert [epoch["train_loss"] for epoch in run["epochs"]] == [None] * 4
    before, after = load_encoder(str(encoders[family])).weights, load_file(out / "model.safetensors")
    assert all(torch.equal(before[name], after[f"{family}.{name}"]) for name in before)  # only the head is trained
    # No JSON file contains a training text.
    kept = {path: path.read_text() for path in out.glob("*.json*") if path.name != "tokenizer.json"}
    train = {text for text, _ in labelled_sentences(200, 1)}
    shown = {text for text, _ in labelled_sentences(60, 2)}
    assert not [p for p, text in kept.items() for row in train - shown if row in text]


@pytest.mark.extras
def test_labels_and_scale_come_from_public_rows_only(opacus, encoders, animals, tmp_path):
    rows = [*labelled_sentences(30, 5), ("a rare thing .", "rare")]
    train = write_tsv(tmp_path / "train.tsv", rows, ("sentence", "label"))
    with pytest.raises(ElektronError, match="do not have rare"):
        finetune(config(encoders, animals, train=[str(train)], out=tmp_path / "a"))
    numbers = [{"text": text, "label": 100.0 + n} for n, (text, _) in enumerate(rows)]
    public = [{"text": text, "label": float(n % 5)} for n, (text, _) in enumerate(rows)]
    finetune(
        config(
            encoders,
            animals,
            task="regression",
            train=[str(write_jsonl(tmp_path / "train.jsonl", numbers))],
            eval=[str(write_jsonl(tmp_path / "eval.jsonl", public))],
            out=tmp_path / "b",
            epochs=0.1,
        )
    )
    seen = [json.loads(line) for line in (tmp_path / "b/predictions.jsonl").open()]
    assert all(abs(row["predicted_score"]) < 50 for row in seen)  # the training labels are 100 or more


@pytest.mark.extras
def test_private_finetuning_of_unsupported_family_raises(opacus, encoders, animals, tmp_path):
    from transformers import RobertaConfig, RobertaModel

    tokenizer = load_tokenizer(str(encoders["electra"]))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = RobertaConfig(vocab_size=len(tokenizer), intermediate_size=32, **sizes)
    RobertaModel(network).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    with pytest.raises(ElektronError, match="elektron, electra, bert, not for roberta"):
        finetune(config(encoders, animals, model=str(tmp_path / "roberta"), out=tmp_path / "m"))
