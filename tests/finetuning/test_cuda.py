"""Fine-tuning and prediction on a GPU, compared with the same network on the CPU."""

from pathlib import Path

import pytest
from transformers import pipeline

from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.finetune import finetune
from elektron.finetuning.readers.records import Record
from elektron.inference.models import load_predictor
from tests.finetuning.conftest import labelled_sentences
from tests.finetuning.test_finetune import animal_config

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_classifier_on_gpu_equals_transformers_pipeline_on_cpu(
    family: str, encoders: dict[str, Path], animals: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    test = [str(animals["test"])]
    metrics = finetune(animal_config(encoders, animals, out, family, test=test, epochs=8.0))
    assert metrics["accuracy"] >= 0.95
    texts = [text for text, _ in labelled_sentences(20, seed=9)]
    predictor = load_predictor(str(out))
    assert predictor.model.device.type == "cuda"
    on_gpu = predictor.predict([Record({"text": text}, {}, "") for text in texts])
    on_cpu = pipeline("text-classification", model=str(out), device="cpu")(texts)
    assert [row["label"] for row in on_gpu] == [row["label"] for row in on_cpu]
    assert [row["score"] for row in on_gpu] == pytest.approx([row["score"] for row in on_cpu], abs=0.02)


def test_translation_finetuning_on_gpu_exceeds_bleu_20(encoders: dict[str, Path], tmp_path: Path) -> None:
    texts = [text for text, _ in labelled_sentences(200)]
    for name in ("source", "target"):
        (tmp_path / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    config = FinetuneConfig(
        task="translation",
        model=str(encoders["elektron"]),
        train=[str(tmp_path / name) for name in ("source", "target")],
        out=tmp_path / "model",
        epochs=30.0,
        batch_size=32,
        learning_rate=5e-3,
        decoder_layers=1,
        target_vocab_size=400,
    )
    assert finetune(config)["bleu"] > 20
