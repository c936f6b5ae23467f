"""How well `elektron detect` finds words that were changed in held-out text, compared with word frequency.

Random words of each paragraph are replaced by wrong ones, of four kinds:

- `random`: another word of the counted corpus, drawn by its frequency.
- `generator`: a sample of the run's generator for a [MASK] in place of the word.
- `typo`: the word with a letter deleted, a neighbour on the keyboard inserted or substituted, or two letters swapped.
- `confusable`: a word that sounds alike or a character that looks or sounds alike (CONFUSABLE).

`frequency` is the baseline: the rarer a word in the counted corpus, the more suspicious. Its threshold has the highest
F1, averaged over kinds, on the first half of the paragraphs; that of the discriminator is the default of `elektron
detect`. Results are those of the second half, with 95 % bootstrap intervals over paragraphs. Precision depends on how
many words are wrong (--rate); AUC does not.

    python benchmarks/detect.py run --text valid.txt --corpus train.txt
"""

from __future__ import annotations

import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from common import machine, new_parser, print_table, save
from elektron.corpus.documents import Corpus
from elektron.finetuning.metrics.measure import Measure, Rows, bootstrap
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import DetectConfig
from elektron.inference.detect import Detector, load_detector
from elektron.pretraining.evaluation import auc_of_histogram

HAN = "\u3400-\u9fff"
WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+|[^\w\s]|_")
LETTERS = re.compile(rf"[{HAN}]|[^\W\d_{HAN}]+")
WORDS = (20, 150)  # fewest and most words of a paragraph
LEAST_TEXTS, RESAMPLES = 50, 1000  # fewest paragraphs of a kind; resamples of the bootstrap
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
TYPO_LETTERS = 4  # fewest letters of a word with a typo
SOUND_ALIKE = """
    their there, to too two, then than, by bye buy, its it, were where wear, for four fore, be bee, no know,
    new knew, one won, son sun, sea see, right write rite, hear here, whole hole, our hour, piece peace, weak week,
    some sum, made maid, male mail, main mane, meet meat, role roll, rode road, sail sale, scene seen,
    site sight cite, steal steel, tail tale, threw through, wait weight, way weigh, weather whether, which witch,
    wood would, accept except, affect effect, principal principle, stationary stationery, advice advise, brake break,
    capital capitol, course coarse, council counsel, died dyed, fair fare, great grate, higher hire, led lead,
    loose lose, past passed, plain plane, quite quiet, rain reign, raise rays, read red, base bass, born borne,
    cell sell, cent sent scent, die dye, flour flower, heard herd, him hymn, in inn, not knot, night knight, or ore,
    pair pear, poor pour, prince prints, root route, sole soul, stair stare, war wore, waste waist, of off, as has,
    form from, this his, that than, with width, on own
"""
LOOK_ALIKE_CHARACTERS = """
    己已巳 未末 土士 人入八 大太犬 日曰目 天夫无 王玉主 木本术 千干于 今令 午牛 刀力 九丸 乌鸟 贝见 折拆析 侯候 博搏
    戊戌 治冶 拨拔 特持待 代伐 住往佳 第弟 情清晴请 抱饱泡炮 快块 问间闻 由甲申 直真 免兔 几凡 矢失 白自 幸辛 困因
    壁璧 暴爆 密蜜 栽裁载 若苦 师帅 仓仑 哀衰 徒徙 遗遣 技枝 休体 历厉 竟竞 微徽 緣綠 間問 東束 鳥烏 開關 陽楊 場揚
    話語 線綠
"""
SOUND_ALIKE_CHARACTERS = """
    的地得 在再 他她它 做作 以已 是事 合和 象像向 份分 州洲 坐座 其期 名明 公工 长常 里理 城成 原元园 代带 记计 科课
    位为 进近 制治 有又 部步 立利力 时实 只之 生声 年念 市式 后候 中终 都督 員源 時實 長常 為位 進近 記計
"""
CONFUSABLE = [
    *(group.split() for group in SOUND_ALIKE.split(",")),
    *map(list, (LOOK_ALIKE_CHARACTERS + SOUND_ALIKE_CHARACTERS).split()),
]
CONFUSED_WITH = {
    word: sorted({other for group in CONFUSABLE if word in group for other in group} - {word})
    for word in {word for group in CONFUSABLE for word in group}
}

Span = tuple[int, int]
Replace = Callable[[str, random.Random], str | None]


@dataclass(frozen=True)
class Changed:
    """A text with wrong words: the spans of these, and the original words."""

    text: str
    spans: list[Span]
    originals: list[str]


@dataclass(frozen=True)
class Scores:
    """Words of texts, each with two scores of how suspicious it is."""

    text: NDArray[np.int64]
    """`(words,)`: the number of its text."""
    wrong: NDArray[np.bool_]
    by: dict[str, NDArray[np.float64]]
    """The scores of each method, `(words,)`."""


def main() -> None:
    parser = new_parser(__doc__, "detect")
    parser.add_argument("run", help="folder of a pre-training run")
    parser.add_argument("--text", required=True, help="held-out text, a paragraph a line")
    parser.add_argument("--corpus", required=True, help="text whose words are counted")
    parser.add_argument("--texts", type=int, default=1000, help="paragraphs, half of them reported")
    parser.add_argument("--rate", type=float, default=0.05, help="fraction of words that are wrong")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    default = DetectConfig(model=options.run)
    detector = load_detector(DetectConfig(model=options.run, threshold=0, suggestions=0))
    suggesting = load_detector(default)
    counts = count_words(options.corpus)
    texts = paragraphs(options.text, options.texts, options.seed)
    results: dict[str, Any] = machine()
    results |= {"run": options.run, "rate": options.rate, "seed": options.seed, "kinds": {}}

    scores_of_kinds: dict[str, tuple[Scores, Scores]] = {}
    reported: dict[str, list[Changed]] = {}
    for kind, change in kinds(suggesting, counts, options.rate, options.seed).items():
        changed = [change(text) for text in texts]
        middle = len(texts) // 2
        chosen, reported[kind] = ([each for each in half if each] for half in (changed[:middle], changed[middle:]))
        if min(len(chosen), len(reported[kind])) < LEAST_TEXTS:
            print(f"{kind}: too few words of the text can be changed so")
            continue
        scores_of_kinds[kind] = score(detector, counts, chosen), score(detector, counts, reported[kind])
    first_halves = [first for first, _ in scores_of_kinds.values()]
    results["best_threshold"] = best_threshold(first_halves, "discriminator")
    thresholds = {"discriminator": default.threshold, "frequency": best_threshold(first_halves, "frequency")}
    for kind, (_, scores) in scores_of_kinds.items():
        methods = {method: with_intervals(scores, method, threshold) for method, threshold in thresholds.items()}
        results["kinds"][kind] = methods | {"suggested": suggested(suggesting, reported[kind])}
    unchanged = score(detector, counts, [Changed(text, [], []) for text in texts[middle:]])
    results["unchanged"] = {
        method: float((unchanged.by[method] >= threshold).mean()) for method, threshold in thresholds.items()
    }
    show(results)
    save(results, options.json)


def count_words(corpus: str) -> Counter[str]:
    """How often each word is in a corpus, in lower case."""
    counts: Counter[str] = Counter()
    for document in Corpus([corpus]):
        counts.update(WORD.findall(document.text.casefold()))
    return counts


def paragraphs(source: str, count: int, seed: int) -> list[str]:
    """Random lines of a corpus that are neither short nor long, in its order."""
    lines = [line for document in Corpus([source]) for line in document.text.split("\n")]
    lines = [line for line in lines if WORDS[0] <= len(WORD.findall(line)) <= WORDS[1]]
    chosen = random.Random(seed).sample(range(len(lines)), min(count, len(lines)))
    return [lines[number] for number in sorted(chosen)]


def kinds(
    detector: Detector, counts: Counter[str], rate: float, seed: int
) -> dict[str, Callable[[str], Changed | None]]:
    """For each kind, a function that makes words of a text wrong; it returns None if no word can be changed so."""
    words = [word for word in counts if LETTERS.fullmatch(word)]
    weights = list(accumulate(counts[word] for word in words))

    def another(word: str, rng: random.Random) -> str | None:
        if not LETTERS.fullmatch(word):
            return None
        (drawn,) = rng.choices(words, cum_weights=weights)
        return as_capitalized(drawn, word)

    changes = {
        "random": partial(change_words, another),
        "generator": partial(change_by_generator, detector),
        "typo": partial(change_words, typo),
        "confusable": partial(change_words, confused),
    }
    return {kind: partial(change, rate=rate, rng=random.Random(seed)) for kind, change in changes.items()}


def change_words(replace: Replace, text: str, rate: float, rng: random.Random) -> Changed | None:
    """Replace words in random order until the fraction `rate` is wrong; None if no word can be replaced."""
    words = list(WORD.finditer(text))
    limit = max(1, round(rate * len(words)))
    replacements: dict[int, str] = {}
    for number in rng.sample(range(len(words)), len(words)):
        new = replace(words[number].group(), rng)
        if new is not None and new != words[number].group() and len(replacements) < limit:
            replacements[number] = new
    return rebuilt(text, {words[number].span(): new for number, new in replacements.items()})


def rebuilt(text: str, replacements: dict[Span, str]) -> Changed | None:
    """The text with these spans replaced; None if there are none."""
    parts, spans, originals, end, length = [], [], [], 0, 0
    for (start, stop), new in sorted(replacements.items()):
        before = text[end:start]
        length += len(before)
        parts += [before, new]
        spans.append((length, length + len(new)))
        originals.append(text[start:stop])
        length += len(new)
        end = stop
    return Changed("".join([*parts, text[end:]]), spans, originals) if spans else None


def as_capitalized(new: str, word: str) -> str:
    """A lower-case word, capitalized if the word that it replaces is."""
    return new[:1].upper() + new[1:] if word[:1].isupper() else new


def typo(word: str, rng: random.Random) -> str | None:
    """The word with one typing error; None if it is too short or has other characters than ASCII letters."""
    if len(word) < TYPO_LETTERS or not (word.isascii() and word.isalpha()):
        return None
    at = rng.randrange(len(word))
    row = next(row for row in KEYBOARD if word[at].lower() in row)
    place = row.index(word[at].lower())
    neighbour = rng.choice(row[max(0, place - 1) : place] + row[place + 1 : place + 2])
    at_swap = min(at, len(word) - 2)
    return rng.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + neighbour + word[at:],
            word[:at] + neighbour + word[at + 1 :],
            word[:at_swap] + word[at_swap + 1] + word[at_swap] + word[at_swap + 2 :],
        ]
    )


def confused(word: str, rng: random.Random) -> str | None:
    """A word or character that is easily confused with this one; None if there is none."""
    others = CONFUSED_WITH.get(word.lower())
    return as_capitalized(rng.choice(others), word) if others else None


@torch.inference_mode()
def change_by_generator(detector: Detector, text: str, rate: float, rng: random.Random) -> Changed | None:
    """Replace words by samples of the generator that differ from them, all masked at once, as in pre-training."""
    assert detector.generator is not None
    tokenizer = detector.tokenizer
    words = [word for word in WORD.finditer(text) if LETTERS.fullmatch(word.group())]
    limit = max(1, round(rate * sum(1 for _ in WORD.finditer(text))))
    spans = sorted(word.span() for word in rng.sample(words, min(limit, len(words))))
    masked = rebuilt(text, dict.fromkeys(spans, tokenizer.mask_token))
    if masked is None:
        return None
    ids = tokenizer(masked.text, truncation=True, return_tensors="pt")["input_ids"]
    positions = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0]
    logits = detector.generator(ids.to(detector.accelerator.device)).logits[0, positions].float().cpu()
    probabilities = logits.softmax(-1)[:, : len(detector.finder.starts)].numpy()
    probabilities = probabilities * (
        detector.finder.starts & ~np.isin(range(probabilities.shape[1]), detector.special_ids)
    )
    replacements = {}
    for (start, stop), row in zip(spans, probabilities.tolist(), strict=False):
        for _ in range(100):
            (token,) = rng.choices(range(len(row)), row)
            new = tokenizer.decode([token]).strip()
            if new and new != text[start:stop]:
                replacements[start, stop] = new
                break
    return rebuilt(text, replacements)


def score(detector: Detector, counts: Counter[str], texts: Sequence[Changed]) -> Scores:
    """Every word of the texts, as `elektron detect --threshold 0` lists them."""
    rows = [
        (
            number,
            any(word["start"] < end and start < word["end"] for start, end in each.spans),
            word["probability"],
            -counts[word["word"].casefold()],
        )
        for number, (each, prediction) in enumerate(zip(texts, predict(detector, texts), strict=True))
        for word in prediction["suspicious"]
    ]
    text, wrong, probability, rarity = map(np.array, zip(*rows, strict=True))
    return Scores(text, wrong, {"discriminator": probability, "frequency": rarity})


def predict(detector: Detector, texts: Sequence[Changed]) -> list[Prediction]:
    return detector.predict([Record({"text": each.text}, {}, "") for each in texts])


def best_threshold(scores: Sequence[Scores], method: str) -> float:
    """The threshold with the highest F1, averaged over kinds."""
    places = np.unique(np.concatenate([each.by[method] for each in scores]))
    total = np.zeros(len(places))
    for each in scores:
        precision, recall, thresholds = precision_recall_curve(each.wrong, each.by[method])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        # F1 at a threshold between two scores of this kind is F1 at the higher score.
        total += f1[np.searchsorted(thresholds, places)]
    return float(places[total.argmax()])


def with_intervals(scores: Scores, method: str, threshold: float) -> dict[str, Any]:
    """Metrics at a threshold with their 95 % intervals."""
    values = scores.by[method]
    suspicious = values >= threshold

    def compute(rows: Rows) -> dict[str, float]:
        weights = np.bincount(np.arange(texts)[rows], minlength=texts)[scores.text]
        right = (weights * (suspicious & scores.wrong)).sum()
        counts = [np.bincount(places, weights * side) for side in (~scores.wrong, scores.wrong)]
        auc = auc_of_histogram(np.stack(counts))
        assert auc is not None  # every text has a wrong word
        return {
            "auc": auc,
            "precision": float(right / max(1, (weights * suspicious).sum())),
            "recall": float(right / (weights * scores.wrong).sum()),
        }

    texts = int(scores.text.max()) + 1
    places = np.unique(values, return_inverse=True)[1]
    measure = Measure(rows=texts, compute=compute)
    return {
        "texts": texts,
        "words": len(values),
        "wrong": int(scores.wrong.sum()),
        "threshold": threshold,
        "values": measure(),
        "intervals": bootstrap(measure, resamples=RESAMPLES),
    }


def suggested(detector: Detector, texts: Sequence[Changed]) -> dict[str, float]:
    """The number of wrong words found, and the fractions with the original as first and as any suggestion."""
    ranks = []
    for each, prediction in zip(texts, predict(detector, texts), strict=True):
        for word in prediction["suspicious"]:
            names = [suggestion["word"] for suggestion in word["suggestions"]]
            for (start, end), original in zip(each.spans, each.originals, strict=True):
                if word["start"] < end and start < word["end"]:
                    ranks.append(names.index(original) if original in names else len(names))
    return {
        "found": len(ranks),
        "first": float(np.mean([rank == 0 for rank in ranks])),
        "any": float(np.mean([rank < detector.config.suggestions for rank in ranks])),
    }


def show(results: dict[str, Any]) -> None:
    """Print a row for each kind and method, and then the other results."""
    rows = []
    for kind, methods in results["kinds"].items():
        for method in ("discriminator", "frequency"):
            result = methods[method]
            cells = [
                f"{result['values'][name]:.3f} ({low:.3f} … {high:.3f})"
                for name, (low, high) in result["intervals"].items()
            ]
            rows.append((f"{kind}, {method}", f"{result['wrong']:,} of {result['words']:,}", *cells))
    print_table(
        f"words that are wrong, rate {results['rate']}",
        ("kind and method", "wrong words", "AUC", "precision", "recall"),
        rows,
    )
    for kind, methods in results["kinds"].items():
        suggested = methods["suggested"]
        print(
            f"{kind}: of {suggested['found']} wrong words found, the original is suggested first for "
            f"{suggested['first']:.1%}, at all for {suggested['any']:.1%}"
        )
    for method, fraction in results["unchanged"].items():
        print(f"{method}: {fraction:.1%} of the words of unchanged text are suspicious")
    print(f"threshold with the highest F1 in the first half: {results['best_threshold']:.3g}")


if __name__ == "__main__":
    main()
