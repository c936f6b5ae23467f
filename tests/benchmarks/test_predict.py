"""The prediction benchmark: lengths of texts, and equal predictions of all sides."""

from pathlib import Path
from types import ModuleType

import pytest

from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer_on


def test_random_texts_have_requested_lengths(benchmark: ModuleType) -> None:
    tokenizer = train_tokenizer_on(["the old house by the river"] * 20, 60)
    lengths = [3, 10, 4, 200]
    texts = benchmark.random_texts(tokenizer, lengths)
    assert [len(ids) for ids in tokenizer(texts)["input_ids"]] == lengths


def test_texts_are_sampled_from_file(benchmark: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("sentence\tlabel\n" + "".join(f"text {n}\t0\n" for n in range(9)))
    texts = benchmark.texts_for(tmp_path, "SST-2", str(path), 4)
    assert len(set(texts)) == 4 and all(text.startswith("text ") for text in texts)


def test_sides_give_equal_predictions(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "made_up_words", lambda: ["ba be bi bo bu"] * 20)
    assert benchmark.make_model("quickstart", tmp_path)
    texts = benchmark.random_texts(load_tokenizer(str(tmp_path)), [3, 8, 70, 5])
    answers = [benchmark.SIDES[side](tmp_path)(texts) for side in ("elektron", "pipeline", "pipeline, 32")]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 4


def test_make_model_without_package_writes_nothing(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "MINILM", "no_such_package")
    assert not benchmark.make_model("minilm", tmp_path / "model")
    assert not (tmp_path / "model").exists()
