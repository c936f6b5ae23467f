"""The detection benchmark: spans and kinds of wrong words, and metrics."""

import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from elektron.inference.config import DetectConfig
from elektron.inference.detect import load_detector
from tests.conftest import sentences

TEXT = "Their house, there: 我在家 — it's too late to see the sea again, Benjamin! 😀 The next one."


def check_changed(benchmark: ModuleType, text: str, changed: object, most: int) -> None:
    """Check that the spans cover wrong words and that the originals in their place restore the text."""
    restored = changed.text
    for (start, end), original in reversed(list(zip(changed.spans, changed.originals, strict=True))):
        assert restored[start:end] != original
        restored = restored[:start] + original + restored[end:]
    assert restored == text
    assert 0 < len(changed.spans) <= most


def test_wrong_word_spans_and_originals_restore_the_text(benchmark: ModuleType, encoders: dict[str, Path]) -> None:
    detector = load_detector(DetectConfig(model=str(encoders["elektron"].parent)))
    counts = Counter({"river": 5, "我": 2, "Late": 1, "7": 9})
    kinds = benchmark.kinds(detector, counts, 0.2, 1)
    assert set(kinds) == {"random", "generator", "typo", "confusable"}
    most = round(0.2 * len(benchmark.WORD.findall(TEXT)))
    for change in kinds.values():
        for _ in range(5):
            check_changed(benchmark, TEXT, change(TEXT), most)
    assert kinds["typo"]("我在家") is None and kinds["confusable"]("zebra") is None


def test_typo_is_one_edit(benchmark: ModuleType) -> None:
    """A letter is left out, inserted or replaced, or two neighbours are swapped."""
    rng, word, edits = random.Random(0), "Keyboard", Counter()

    def without_a_letter(longer: str) -> set[str]:
        return {longer[:place] + longer[place + 1 :] for place in range(len(longer))}

    for _ in range(200):
        found = benchmark.typo(word, rng)
        assert found not in (None, word)
        if len(found) != len(word):
            shorter, longer = sorted((found, word), key=len)
            assert shorter in without_a_letter(longer)
            edits["inserted" if longer == found else "left out"] += 1
            continue
        different = [place for place, (a, b) in enumerate(zip(found, word, strict=True)) if a != b]
        if len(different) == 1:
            edits["replaced"] += 1
            continue
        first, second = different
        assert second == first + 1 and found[first] + found[second] == word[second] + word[first]
        edits["swapped"] += 1
    assert len(edits) == 4 and min(edits.values()) > 20
    assert benchmark.typo("cat", rng) is None and benchmark.typo("naïve", rng) is None


def test_confused_words_keep_capitalization(benchmark: ModuleType) -> None:
    rng = random.Random(0)
    assert benchmark.confused("There", rng) == "Their"
    assert benchmark.confused("未", rng) == "末"
    assert benchmark.confused("zebra", rng) is None


def test_threshold_and_metrics_equal_scikit_learn(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(400) < 0.1
    values = np.round(wrong * 0.3 + generator.random(400), 2)
    scores = benchmark.Scores(np.repeat(np.arange(20), 20), wrong, {"m": values})
    best = benchmark.best_threshold([scores], "m")
    f1 = {t: f1_score(wrong, values >= t) for t in np.unique(values)}
    assert f1[best] == max(f1.values())
    found = benchmark.with_intervals(scores, "m", best)
    assert found["values"] == pytest.approx(
        {
            "auc": roc_auc_score(wrong, values),
            "precision": precision_score(wrong, values >= best),
            "recall": recall_score(wrong, values >= best),
        }
    )
    for name, (low, high) in found["intervals"].items():
        assert low <= found["values"][name] <= high
    assert (found["texts"], found["words"], found["wrong"]) == (20, 400, wrong.sum())


def test_words_overlapping_a_wrong_span_are_labelled_wrong(benchmark: ModuleType, encoders: dict[str, Path]) -> None:
    run = str(encoders["elektron"].parent)
    detector = load_detector(DetectConfig(model=run, threshold=0, suggestions=0))
    texts = [benchmark.Changed("the cat sees the dog .", [(4, 7), (17, 20)], ["fox", "cat"])]
    scores = benchmark.score(detector, Counter({"the": 3, "cat": 2}), texts)
    assert scores.wrong.tolist() == [False, True, False, False, True, False]
    assert scores.by["frequency"].tolist() == [-3, -2, 0, -3, 0, 0]


def test_benchmark_end_to_end(
    benchmark: ModuleType,
    encoders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(benchmark, "RESAMPLES", 10)
    monkeypatch.setattr(benchmark, "LEAST_TEXTS", 5)
    path = tmp_path / "text.txt"
    path.write_text("\n".join(" ".join(sentences(4, seed=n)) for n in range(30)))
    result = tmp_path / "result.json"
    run = str(encoders["elektron"].parent)
    arguments = ["detect", run, "--text", str(path), "--corpus", str(path), "--json", str(result)]
    monkeypatch.setattr("sys.argv", arguments)
    benchmark.main()
    assert result.is_file()
    assert "generator, discriminator" in capsys.readouterr().out
