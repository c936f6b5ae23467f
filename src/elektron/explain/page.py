"""The page of `elektron explain --output page.html`: the metrics first, then the texts with shaded words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektron.explain.explainer import ExplainedAnswer, Explanation
from elektron.explain.faithfulness import FRACTIONS
from elektron.explain.importance import LARGE_GAP, received
from elektron.explain.reading import Reading
from elektron.reporting import page
from elektron.reporting.formatting import integer, percent
from elektron.reporting.page import Block, Cell, Report, Section, Text, Token, note, text

LONGEST_GAP = 20
"""Maximum number of characters between two words; more are text that the model did not read, shown as an ellipsis."""
MAX_ATTENTION_TEXTS = 10
"""Maximum number of texts on a page with tables of attention."""
CAUTION = (
    "Attention weights do not explain the answer: they show which positions a head combines, not what the answer "
    "depends on. Other weights can give the same answer (Jain and Wallace 2019)."
)


def explain_report(result: dict[str, Any], explanations: Sequence[Explanation]) -> Report:
    """Create the page: the metrics over all texts, and the explanations of the first texts."""
    attention = result["method"] == "attention"
    shown = explanations[: MAX_ATTENTION_TEXTS if attention else None]
    texts: list[Block] = [] if attention else [legend()]
    for place, explanation in enumerate(shown, start=1):
        texts.append(page.Heading(f"Text {place}{': its first window' * explanation.reading.truncated}"))
        texts += attention_blocks(explanation) if attention else answer_blocks(explanation)
    if len(shown) < result["texts"]:
        texts.append(note(f"The first {len(shown)} of {integer(result['texts'])} texts."))
    name = Path(result["model"]).resolve().name
    reserved = trust_warnings(result).items()
    warnings = [(Cell(f"{name}.", strong=True), f"{meaning[0].upper()}{meaning[1:]}.") for name, meaning in reserved]
    return Report(
        title=f"{name} explained",
        kind="attention" if attention else "explanations",
        heading=[name],
        lead=CAUTION if attention else "Words that the answers depend on, by integrated gradients.",
        blocks=[
            tiles(result),
            page.Warnings(warnings, "The order of the words is better than a random one, by the metrics above."),
        ],
        sections=[Section("Texts", texts), Section("How to read this page", meaning(attention))],
    )


def number(value: float, digits: int = 3) -> str:
    """Format a number with a minus sign instead of a hyphen."""
    return f"{value:.{digits}f}".replace("-", "−")


def tiles(result: dict[str, Any]) -> page.Tiles:
    """Tiles for faithfulness and for the convergence gap."""
    all_tiles = []
    for name, better in (("comprehensiveness", "more"), ("sufficiency", "less")) if "faithfulness" in result else ():
        metric = result["faithfulness"][name]
        difference = "Too few texts for an interval."
        if metric["interval"]:
            ends = " to ".join(map(number, metric["interval"]))
            difference = f"Difference {number(metric['difference'])}, 95 % interval {ends}."
        meaning = f"random order: {number(metric['random'])}; {better} is better. {difference}"
        all_tiles.append(page.Tile(name.capitalize(), number(metric["value"]), meaning))
    if gap := result.get("gap"):
        largest = percent(gap["largest"], 2)
        meaning = f"median over {integer(gap['answers'])} answers, {gap['steps']} steps; largest {largest}"
        all_tiles.append(page.Tile("Convergence gap", percent(gap["median"], 2), meaning))
    return page.Tiles(all_tiles)


def trust_warnings(result: dict[str, Any]) -> dict[str, str]:
    """Reasons not to trust the explanations, by name, each with its meaning."""
    warnings = {}
    better = result.get("faithfulness", {}).get("better_than_random")
    if better is False:
        warnings["Not better than chance"] = (
            "masking words in this order changes the answers no more than masking words in a random order: do not "
            "rely on it"
        )
    if better is None:
        warnings["Not tested"] = (
            "there are too few texts to tell whether the order of the words is better than a random one: give a file "
            "with more of them"
        )
    if large := result.get("gap", {}).get("large"):
        warnings["Large gaps"] = (
            f"the attributions of {integer(large)} answers differ from the change of the score by more than "
            f"{percent(LARGE_GAP, 0)}: increase --steps"
        )
    return warnings


def legend() -> page.Legend:
    """The meaning of the two colors and of the dotted underline."""
    samples = [
        (Token("for", False, 0.8), "raises the score of the answer"),
        (Token("against", False, -0.8), "lowers the score"),
        (Token("word", False, dotted=True), "words that the answer is about"),
    ]
    return page.Legend([Cell(tokens=[token, Token(meaning)]) for token, meaning in samples])


def answer_blocks(explanation: Explanation) -> list[Block]:
    """For each answer its score, the score of the baseline and the gap, then the text with shaded words."""
    blocks: list[Block] = []
    for explained in explanation.answers:
        attribution = explained.attribution
        assert attribution is not None  # attention has blocks of its own
        kind = "number" if explained.answer.is_number else "log-odds"
        scores = (
            f" · {kind} {number(attribution.score, 2)}, with every word masked "
            f"{number(attribution.baseline_score, 2)} · gap {percent(attribution.gap, 2)}"
        )
        blocks.append(note("answer ", Cell(explained.answer.name, strong=True), scores))
        blocks += [Text([Cell(tokens=tokens)], "shaded") for tokens in shaded(explanation.reading, explained)]
    return blocks or [text("All predicted tags are O: there is nothing to explain.")]


def shaded(reading: Reading, explained: ExplainedAnswer) -> list[list[Token]]:
    """Convert the parts of a text to shaded tokens; the most important word has the strongest shade."""
    strongest = max(map(abs, explained.importance), default=0) or 1.0
    parts: list[list[Token]] = [[] for _ in reading.parts]
    ends = [0] * len(parts)
    for place, (word, value) in enumerate(zip(reading.words, explained.importance, strict=True)):
        between = reading.parts[word.part][ends[word.part] : word.start]
        if between:
            skipped = " … " if len(between) > LONGEST_GAP else between
            parts[word.part].append(Token(skipped, space=False))
        parts[word.part].append(
            Token(
                reading.text(word),
                space=False,
                shade=value / strongest,
                dotted=place in explained.answer.words,
                title=f"{'+' * (value > 0)}{number(value)}",
            )
        )
        ends[word.part] = word.end
    for tokens, end, whole_text in zip(parts, ends, reading.parts, strict=True):
        if rest := whole_text[end:].strip():
            tokens.append(Token(rest if len(rest) <= LONGEST_GAP else "…"))
    return parts


def attention_blocks(explanation: Explanation) -> list[Block]:
    """Heatmaps of the attention that words receive: by layer, then for each layer by head."""
    assert explanation.attention is not None
    reading = explanation.reading
    columns = [*map(reading.text, reading.words), "special tokens"]
    attention = received(explanation.attention)
    layers = [f"layer {layer}" for layer in range(1, len(attention) + 1)]
    heads = [f"head {head}" for head in range(1, attention.shape[1] + 1)]

    def heatmap(corner: str, rows: Sequence[str], values: NDArray[np.float32]) -> page.Heatmap:
        # Special tokens receive several times as much attention as words, so the strongest word sets the scale.
        strongest = values[:, :-1].max(1, initial=0).tolist()
        return page.Heatmap(corner, columns, rows, values.tolist(), strongest)

    answers = ", ".join(explained.answer.name for explained in explanation.answers)
    return [
        note("answer ", Cell(answers or "none", strong=True)),
        heatmap("mean of heads", layers, attention.mean(1)),
        *(
            page.Details(f"Heads of {name}", [heatmap(name, heads, layer)])
            for name, layer in zip(layers, attention, strict=True)
        ),
    ]


def meaning(attention: bool) -> list[Block]:
    """Text on the meaning of the metrics and the shades, and on their limits."""
    measures = (
        "Comprehensiveness is how far the probability of the answer falls when the most important words are masked, "
        "sufficiency how far it falls when all others are masked; both are means over "
        f"{', '.join(percent(fraction, 0) for fraction in FRACTIONS)} of the words (DeYoung et al. 2020). For a "
        "regression they are how far the number changes."
    )
    if attention:
        return [
            text(
                "A cell is the attention that a word, or all special tokens together, receives from the words on "
                "average; shades are relative to the word that receives most in a row. JSON lines (--output "
                "FILE.jsonl) have the weights from each word to each."
            ),
            text(measures, " Words are ordered by the attention that they receive in all layers and heads."),
        ]
    return [
        text(
            "The score is the log-odds of the answer, summed over the tags of an entity or the ends of a span; for a "
            "regression it is the number. Attributions are its integrated gradients along the straight line from the "
            "text with every word masked to the text, and add up to the change of the score; the convergence gap is "
            "the remaining difference."
        ),
        text(measures),
        text(
            "Shades show what the score depends on in this model, not what is correct, and do not show interactions of "
            "words. They are relative to the strongest word of each answer."
        ),
    ]
