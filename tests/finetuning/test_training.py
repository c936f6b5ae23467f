"""Training with the Trainer of transformers: epochs, patience, losses, micro-batches and optimizers."""

import itertools
from pathlib import Path

import pytest
import torch

from elektron.errors import ElektronError
from elektron.finetuning import recipe, training
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.encoders import load_encoder
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.classification import Classification
from elektron.finetuning.training import smoothed_loss, train
from elektron.progress import Progress
from tests.finetuning.conftest import labelled_sentences


def records(count=64, seed=0):
    return [
        Record({"text": text, "label": label}, {}, f"line {number}")
        for number, (text, label) in enumerate(labelled_sentences(count, seed))
    ]


class Setup:
    """A model about to be trained."""

    def __init__(self, folder, **options):
        self.encoder = load_encoder(str(folder))
        settings = {"dropout": 0.0, "epochs": 3.0, "batch_size": 16, "learning_rate": 5e-3} | options
        config = FinetuneConfig(task="classification", model="m", train=["t"], out=Path("o"), **settings)
        self.config = recipe.resolve(config, family="elektron", width=32, longest=64, rows=64, pretrained=True)
        rows = records()
        self.task = Classification.from_records(rows, self.config, self.encoder)
        self.features = self.task.features(rows, self.encoder.tokenizer, labelled=True)
        torch.manual_seed(0)
        self.model = self.task.new_model(self.encoder, 0.0)

    def train(self, evaluate):
        tokenizer = self.encoder.tokenizer
        return train(self.task, self.model, tokenizer, self.features, self.config, evaluate, "test", seed=1)


def accuracies(*figures):
    remaining = list(figures)
    return lambda: {"accuracy": remaining.pop(0)}


def test_the_best_epoch_is_kept(encoders):
    setup = Setup(encoders["elektron"])
    seen = []

    def evaluate():
        seen.append(setup.model.classifier.linear.weight.detach().clone())
        return {"accuracy": [0.5, 0.9, 0.9][len(seen) - 1]}

    history = setup.train(evaluate)
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3]
    assert [epoch.eval for epoch in history.epochs] == [0.5, 0.9, 0.9]
    assert history.kept == 1  # the first of equal epochs
    assert torch.equal(setup.model.classifier.linear.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_patience_stops_training_after_epochs_without_improvement(encoders):
    figures = (0.5, 0.9, 0.8, 0.9, 0.7, 0.6)
    history = Setup(encoders["elektron"], epochs=6.0, patience=2).train(accuracies(*figures))
    assert [epoch.eval for epoch in history.epochs] == [0.5, 0.9, 0.8, 0.9]
    assert history.kept == 1
    patient = Setup(encoders["elektron"], epochs=6.0, patience=5).train(accuracies(*figures))
    assert len(patient.epochs) == 6


def test_keep_last_keeps_last_epoch(encoders):
    setup = Setup(encoders["elektron"], keep="last")
    history = setup.train(accuracies(0.9, 0.8, 0.7))
    assert history.kept == 2


def test_loss_decreases_and_model_ends_in_eval_mode(encoders):
    setup = Setup(encoders["elektron"], epochs=6.0)
    history = setup.train(lambda: {"accuracy": 0.0})
    assert history.epochs[-1].train_loss < 0.5 * history.epochs[0].train_loss
    assert not setup.model.training


def test_progress_bar_shows_running_mean_loss_of_epoch(encoders, monkeypatch):
    notes = []
    monkeypatch.setattr(Progress, "update", lambda bar, done, note="": notes.append((done, note)))
    monkeypatch.setattr(training.time, "monotonic", itertools.count(step=2).__next__)
    history = Setup(encoders["elektron"], epochs=2.0).train(lambda: {"accuracy": 0.0})
    shown = [
        [float(note.removeprefix("loss ")) for step, note in notes if step in steps] for steps in ([1], [4], [5, 8])
    ]
    means = [round(epoch.train_loss, 3) for epoch in history.epochs]
    # The bar shows the mean of the epoch at its last step and again after logging.
    assert shown[1] == [means[0]] * 2
    assert shown[2][1:] == [means[1]] * 2
    assert shown[2][0] < shown[0][0]


def test_fractional_epochs(encoders):
    setup = Setup(encoders["elektron"], epochs=1.5)
    history = setup.train(accuracies(0.1, 0.2))
    assert [epoch.epoch for epoch in history.epochs] == [1, 1.5]


def trained_weights(folder, **options):
    setup = Setup(folder, epochs=1.0, keep="last", **options)
    setup.train(lambda: {"loss": 0.0})
    return torch.cat([parameter.flatten() for parameter in setup.model.parameters()])


def test_micro_batches_equal_full_batch(encoders):
    whole = trained_weights(encoders["elektron"])
    # The mean over equally large micro-batches equals the mean over the batch.
    assert torch.allclose(trained_weights(encoders["elektron"], micro_batch_size=4), whole, atol=1e-4)
    assert not torch.allclose(trained_weights(encoders["elektron"], batch_size=4), whole, atol=1e-4)


def test_micro_batches_that_do_not_divide_the_batch_keep_its_size(encoders):
    whole = trained_weights(encoders["elektron"])
    assert torch.allclose(trained_weights(encoders["elektron"], micro_batch_size=7), whole, atol=1e-4)  # 4 of 4 rows


def test_the_same_seed_gives_the_same_bits(encoders):
    first = trained_weights(encoders["elektron"])
    assert torch.equal(first, trained_weights(encoders["elektron"]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_muon_decreases_loss_and_keeps_norms(encoders, precision):
    setup = Setup(encoders["elektron"], epochs=6.0, optimizer="muon", precision=precision, micro_batch_size=8)
    matrix = setup.model.base_model.layers[0].feed_forward.inner.weight
    before = matrix.detach().clone()
    history = setup.train(lambda: {"accuracy": 0.0})
    assert history.epochs[-1].train_loss < 0.5 * history.epochs[0].train_loss
    matrix = matrix.detach()
    cosine = torch.cosine_similarity(matrix.flatten(), before.flatten(), dim=0)
    assert 0.5 < float(cosine) < 0.9999
    assert float(matrix.norm()) == pytest.approx(64**0.5, rel=1e-4)


def test_non_finite_loss_raises(encoders):
    setup = Setup(encoders["elektron"])
    with torch.no_grad():
        setup.model.classifier.linear.bias.fill_(float("nan"))
    with pytest.raises(ElektronError, match="non-finite"):
        setup.train(lambda: {"accuracy": 0.0})


def test_training_leaves_no_files(encoders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    Setup(encoders["elektron"], epochs=1.0).train(lambda: {"accuracy": 0.0})
    assert list(tmp_path.iterdir()) == []


def test_smoothed_loss_equals_label_smoothing_formula():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    labels = torch.tensor([0, -100])
    found = smoothed_loss(0.3, {"logits": logits}, labels)
    logs = logits[0].log_softmax(0)
    assert found == pytest.approx(float(-0.7 * logs[0] - 0.3 * logs.mean()))
    assert smoothed_loss(0.3, {"logits": logits.bfloat16()}, labels).dtype == torch.float32


def test_label_smoothing_with_micro_batches_equals_full_batch(encoders):
    whole = trained_weights(encoders["elektron"], label_smoothing=0.1)
    parts = trained_weights(encoders["elektron"], label_smoothing=0.1, micro_batch_size=4)
    assert torch.allclose(parts, whole, atol=1e-4)
    assert not torch.allclose(trained_weights(encoders["elektron"]), whole, atol=1e-4)
