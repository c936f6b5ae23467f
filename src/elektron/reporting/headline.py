"""A run in a few figures, each with what it means and what is healthy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from elektron.reporting.reading import Record, group, number
from elektron.reporting.runs import Run
from elektron.reporting.wording import NOTHING, decimal, duration, percent, scientific, short, whole

OBJECTIVES = {
    "rtd": "replaced token detection",
    "electra_15": "replaced token detection at masked positions",
    "replace_mlm": "predicting originals from the generator’s samples",
    "all_tokens_mlm": "predicting every token, with a copy gate",
    "mlm": "masked language modelling",
    "corrective": "replaced token detection and correction",
}
PLANS = {
    "two_stage": "one after the other",
    "alternating": "in turn",
    "adversarial": "against each other",
    "frozen_generator": "with a ready-made generator",
}
WITHOUT_GENERATOR = "mlm"
LARGEST_EXPONENT = 50.0


@dataclass(frozen=True)
class Headline:
    """One figure."""

    name: str
    value: str
    unit: str
    meaning: str


def lead(run: Run) -> str:
    """What was trained, on what and for how long, in words."""
    family = str(run.config.get("family", "ELECTRA"))
    objective = str(run.config.get("objective", ""))
    place = run.position | (run.summary or {})
    sources = (run.corpus or {}).get("sources")
    text = ", ".join(map(str, sources)) if isinstance(sources, list) and sources else "its corpus"
    plan = PLANS.get(str(run.config.get("plan")))
    pair = "An encoder" if objective == WITHOUT_GENERATOR else "A generator and a discriminator"
    return (
        f"{pair} of family {family}, trained {f'{plan} ' if plan else ''}by "
        f"{OBJECTIVES.get(objective, objective)} on {text}: "
        f"{whole(number(place, 'step'))} steps, {short(number(place, 'tokens'))} tokens"
        f"{_passes(run)}, in {duration(number(place, 'seconds'))}."
    )


def status(run: Run) -> str:
    """How far an unfinished run is; empty for a finished one."""
    if run.finished:
        return ""
    step = f"in progress: step {whole(number(run.position, 'step') or 0.0)}"
    steps = number(run.config, "steps")
    if steps is not None:
        return f"{step} of {whole(steps)}"
    tokens, minutes = number(run.config, "tokens"), number(run.config, "minutes")
    if tokens is not None:
        return f"{step}, {short(number(run.position, 'tokens') or 0.0)} of {short(tokens)} tokens"
    if minutes is not None:
        seconds = number(run.position, "seconds") or 0.0
        return f"{step}, {duration(seconds)} of {duration(60 * minutes)}"
    return step


def headlines(run: Run) -> list[Headline]:
    """The figures that say whether the pair has learned, on held-out rows where there are any.

    Those that an objective does not have are left out.
    """
    latest = run.latest
    known = [
        Headline(
            "Discriminator AUC",
            decimal(number(latest, "discriminator_auc"), 3),
            "",
            "The chance that a replaced token looks more suspicious than an original one; 0.5 is "
            "guessing. Read it beside the generator’s loss: while the generator writes nonsense, "
            "a high AUC is easy and means little.",
        ),
        Headline(
            "Generator loss",
            decimal(number(latest, "generator_loss"), 2),
            "nats",
            _generator_loss(run),
        ),
        Headline(
            "Generator accuracy",
            percent(number(latest, "generator_accuracy")),
            "",
            "Masked positions where the generator’s first guess is the original token. A good "
            "generator is not the aim: it only has to write replacements worth spotting.",
        ),
        Headline(
            "Recall at 0.5",
            percent(number(latest, "discriminator_recall")),
            "",
            _recall(run),
        ),
    ]
    if number(latest, "correction_loss") is not None:
        known += _of_correction(latest)
    return [headline for headline in known if headline.value != NOTHING] or known


def _of_correction(latest: Record) -> list[Headline]:
    return [
        Headline(
            "Correction loss",
            decimal(number(latest, "correction_loss"), 2),
            "nats",
            "The discriminator’s own loss where it predicts tokens.",
        ),
        Headline(
            "Correction accuracy",
            percent(number(latest, "correction_accuracy")),
            "",
            "Masked positions where the discriminator’s first guess is the original token.",
        ),
    ]


def _generator_loss(run: Run) -> str:
    loss = number(run.latest, "generator_loss")
    vocabulary = number(run.corpus, "vocab_size")
    choices = (
        f"As uncertain as a choice among {short(math.exp(loss))} equally likely tokens. "
        if loss is not None and loss < LARGEST_EXPONENT
        else ""
    )
    even = (
        f"An even guess over the {whole(vocabulary)} entries of the vocabulary has "
        f"{math.log(vocabulary):.2f}. "
        if vocabulary and vocabulary > 1
        else ""
    )
    return f"{choices}{even}Healthy runs fall well below, quickly at first."


def _recall(run: Run) -> str:
    latest = run.latest
    precision = number(latest, "discriminator_precision")
    share = number(latest, "replaced_share")
    base_recall = number(latest, "discriminator_recall_at_base_rate")
    base_precision = number(latest, "discriminator_precision_at_base_rate")
    parts = [
        "Replaced tokens given a probability above 0.5",
        f"; of what is flagged so, {percent(precision)} is right" if precision is not None else "",
        ". Near 0 is normal early on",
        f", because only {percent(share)} of the tokens are replaced" if share is not None else "",
        ".",
    ]
    if base_recall is not None and base_precision is not None:
        parts.append(
            f" With that share as the threshold, {percent(base_recall, 0)} are found "
            f"at {percent(base_precision, 0)} precision."
        )
    return "".join(parts)


def _passes(run: Run) -> str:
    """How often the text was read."""
    read = number(run.latest, "tokens")
    in_text = number(group(run.corpus, "tokens"), "train")
    if not read or not in_text:
        return ""
    return f" ({decimal(read / in_text, 2)} passes over the text)"


def facts(run: Run) -> list[tuple[str, str]]:
    """What was trained and what it took, as names and values."""
    latest = run.position | (run.summary or {})
    parameters = group(run.summary, "parameters")
    known = [
        ("discriminator", f"{short(number(parameters, 'discriminator'))} parameters"),
        ("generator", f"{short(number(parameters, 'generator'))} parameters"),
        ("speed", f"{whole(number(latest, 'tokens_per_second'))} tokens/s"),
        ("compute", f"{scientific(number(latest, 'flops'))} FLOPs"),
        ("device", str(latest.get("device", NOTHING))),
    ]
    return [(name, value) for name, value in known if not value.startswith(NOTHING)]


DETECTORS = {
    "elektron": ("AutoModelForPreTraining", ".sigmoid()"),
    "electra": ("AutoModelForPreTraining", ".sigmoid()"),
    "deberta-v2": ("AutoModelForTokenClassification", ".softmax(-1)[..., 1]"),
    "modernbert": ("AutoModelForTokenClassification", ".softmax(-1)[..., 1]"),
}
"""Families: the class of their discriminator, and what makes a probability of its logits."""
WITHOUT_DETECTOR = ("mlm", "replace_mlm")


def head(run: Run) -> list[str]:
    """Lines of code that say of each token how probably it was replaced; none where that was not learned."""
    found = DETECTORS.get(str(run.config.get("family")))
    if found is None or run.config.get("objective") in WITHOUT_DETECTOR:
        return []
    model_class, probability = found
    return [
        f"from transformers import {model_class}",
        "",
        f"discriminator = {model_class}.from_pretrained(folder).eval()",
        f"replaced = discriminator(**batch).logits{probability}  # (batch, length)",
    ]
