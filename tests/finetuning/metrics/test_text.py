"""Translation and summarization metrics against sacrebleu and rouge_score; Chinese ROUGE by hand."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from elektron.finetuning.metrics.measure import Measure
from elektron.finetuning.metrics.text import ROUGE, by_line, summarization, translation
from elektron.finetuning.metrics.writing import is_chinese, words

ENGLISH = ["The", "quick,", "foxes", "are", "running", "over", "3", "lazy", "dogs.", "Then", "slept!"]
CHINESE = list("我爱北京天安门，上太阳升。你好吗GPU")


def texts(vocabulary: list[str], joint: str, seed: int) -> list[str]:
    """40 texts of 0 to 14 random entries of the vocabulary."""
    generator = random.Random(seed)
    return [joint.join(generator.choices(vocabulary, k=generator.randrange(15))) for _ in range(40)]


@pytest.mark.parametrize(("vocabulary", "chinese"), [(ENGLISH, False), (CHINESE, True)])
@pytest.mark.parametrize("several", [False, True])
def test_translation_metrics_equal_sacrebleu(vocabulary: list[str], chinese: bool, several: bool) -> None:
    joint = "" if chinese else " "
    first, second, outputs = (texts(vocabulary, joint, seed) for seed in (1, 2, 3))
    pairs = list(zip(first, second, strict=True))
    references = [[one, two] if several and row % 3 else [one] for row, (one, two) in enumerate(pairs)]
    measure = translation(references, outputs, chinese)
    chosen = np.random.default_rng(0).integers(40, size=40)
    for figures, rows in ((measure(), range(40)), (measure.compute(chosen), chosen)):
        given_ = [outputs[row] for row in rows]
        streams = [[references[row][0] for row in rows]]
        if several:
            streams.append([(*references[row], None)[1] for row in rows])
        bleu = BLEU(tokenize="zh" if chinese else "13a")
        chrf = CHRF()
        assert figures == pytest.approx(
            {"bleu": bleu.corpus_score(given_, streams).score, "chrf": chrf.corpus_score(given_, streams).score},
            abs=1e-6,
        )
        assert measure.notes == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}


@pytest.mark.parametrize(
    ("text", "tokenize"),
    [("这是一支笔。", "zh"), ("これはペンです。", "char"), ("นี่คือปากกา", "char"), ("This is a pen.", "13a")],
)
def test_bleu_tokenizer_is_chosen_by_script(text: str, tokenize: str) -> None:
    measure = translation([[text]], [text], tokenize == "zh" or "は" in text)
    assert f"tok:{tokenize}" in measure.notes["bleu"]


def test_summarization_metrics_equal_rouge_score_and_sacrebleu() -> None:
    first, second, outputs = (texts(ENGLISH, " ", seed) for seed in (1, 2, 3))
    references = [
        [one, two] if index % 3 else [one] for index, (one, two) in enumerate(zip(first, second, strict=True))
    ]
    scorer = RougeScorer(ROUGE, use_stemmer=True)
    rows = [
        scorer.score_multi([by_line(text) for text in of_one], by_line(output))
        for of_one, output in zip(references, outputs, strict=True)
    ]
    expected = {name: 100 * np.mean([row[name].fmeasure for row in rows]) for name in ROUGE}
    streams = [[of_one[0] for of_one in references], [(*of_one, None)[1] for of_one in references]]
    expected["bleu"] = BLEU().corpus_score(outputs, streams).score
    measure = summarization(references, outputs)
    figures = measure()
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert "nrefs:var" in measure.notes["bleu"]
    assert measure.notes["rouge"].startswith("tok:words+stemmer|")


def test_chinese_rouge_is_computed_by_character() -> None:
    # Both have 4 characters, 2 of them shared and in order; the bigrams are 我爱 爱北 北京 and 我爱 爱上 上海.
    figures = summarization([["我爱北京"]], ["我爱，上海。"])()
    assert figures["rouge1"] == figures["rougeL"] == pytest.approx(50)
    assert figures["rouge2"] == pytest.approx(100 / 3)
    # A Latin word is one token, so both have 3 tokens: 用 gpu 吗 and 用 GPU 吧.
    figures = summarization([["用gpu吗"]], ["用GPU吧"])()
    assert figures["rouge1"] == pytest.approx(200 / 3)
    # The sentences are swapped: rougeLsum matches both, rougeL only one.
    figures = summarization([["我爱你。他去了。"]], ["他去了。我爱你。"])()
    assert figures["rougeLsum"] == pytest.approx(100)
    assert figures["rougeL"] == pytest.approx(50)


def test_rouge_of_other_languages_uses_unstemmed_words() -> None:
    measure = summarization([["Москва — столица России"]], ["Столица: Рим"])
    assert measure()["rouge1"] == pytest.approx(40)
    assert measure.notes["rouge"].startswith("tok:words|")
    assert summarization([["die Städte"]], ["der Städte"])()["rouge1"] == pytest.approx(50)


def test_rouge_takes_best_reference() -> None:
    assert summarization([["something else", "a red cat"]], ["a red cat"])()["rouge2"] == 100


def test_distinct_metrics_equal_hand_computed_values() -> None:
    figures = summarization([["x"]] * 4, ["a b a b", "a b", "a b", ""])()
    assert figures["distinct_1"] == pytest.approx(2 / 8)
    assert figures["distinct_2"] == pytest.approx(2 / 5)
    assert figures["distinct_outputs"] == pytest.approx(3 / 4)
    assert "distinct_1" not in summarization([["x"]], ["x"]).compute(np.array([0]))


@pytest.mark.parametrize(
    "measure",
    [
        lambda: translation([["good day"], [""]], ["", ""], False),
        lambda: translation([["你好"], [""]], ["", ""], True),
        lambda: summarization([["good day"], []], ["", ""]),
        lambda: summarization([["你好"], [""]], ["", ""]),
    ],
)
def test_metrics_of_empty_outputs_are_zero(measure: Callable[[], Measure]) -> None:
    figures = measure()()
    # An empty output has no n-grams, so it scores 0 even against an empty reference.
    assert all(figure == 0 for name, figure in figures.items() if name != "distinct_outputs")


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=4))
@settings(max_examples=50)
def test_metrics_of_arbitrary_text_are_finite(rows: list[tuple[str, str]]) -> None:
    references, outputs = (list(column) for column in zip(*rows, strict=True))
    of_each = [[reference] for reference in references]
    for measure in (translation(of_each, outputs, is_chinese(references)), summarization(of_each, outputs)):
        assert np.isfinite(list(measure().values())).all()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("One. Two! 3.5 three", "One.\nTwo!\n3.5 three"),
        ("One. Two\nThree. ", "One. Two\nThree."),
        ("他说：“好。”走了！！真的？", "他说：“好。”\n走了！！\n真的？\n"),
        ("", ""),
    ],
)
def test_by_line_splits_text_into_sentences(text: str, lines: str) -> None:
    assert by_line(text) == lines


def test_is_chinese() -> None:
    assert is_chinese(["这是 GPU", "1234", "你好，世界"]) and is_chinese(["これはペンです"])
    assert not is_chinese(["the word 道"]) and not is_chinese(["123", ""]) and not is_chinese([])
    assert not is_chinese(["안녕하세요 여러분"])


def test_words() -> None:
    assert words("Don't 用GPU, naïve दिल्ली 3.5") == [*("Don", "t", "用", "GPU", "naïve", "दिल्ली", "3", "5")]
