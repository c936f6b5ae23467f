"""Evaluation of the pair on held-out rows, and example sentences.

The rows, their masks and the random numbers of the generator's samples are the same at every evaluation of every run,
so that curves are comparable. Precision and recall are computed at two thresholds: 0.5, and the base rate (the fraction
of replaced tokens, about one in twelve), since early in training hardly any probability is above 0.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from elektron.corpus.vocabulary import CONTINUATION, in_wordpiece_form
from elektron.models.pair import Pair
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.objectives import Objective, UpdateRoles
from elektron.pretraining.objectives.base import masked_position_mask

EXAMPLES = 8
EXAMPLE_TOKENS = (16, 60)
"""Minimum and maximum number of tokens of the examples that long documents are split into."""
SENTENCE_ENDS = frozenset(".!?。！？")
MEANS = {
    "generator_loss": ("generator_loss", "masked"),
    "generator_accuracy": ("generator_correct", "masked"),
    "discriminator_loss": ("detection_loss", "detection"),
    "lm_loss": ("lm_loss", "lm"),
    "lm_accuracy": ("lm_correct", "masked"),
    "similarity_loss": ("similarity_loss", "masked"),
}
"""Metrics that are means: the field of `Output` to sum, and the key of `Objective.token_counts` that divides it."""
OF_SOURCES = ("generator_loss", "lm_loss", "discriminator_loss", "discriminator_auc")
"""Metrics that are also computed for each source of a mixture, as `generator_loss/SOURCE`."""
DETECTION = (
    "discriminator_auc",
    "discriminator_precision",
    "discriminator_recall",
    "discriminator_precision_at_base_rate",
    "discriminator_recall_at_base_rate",
    "replaced_share",
    "logit_spread",
)
"""Metrics computed from the discriminator's logits."""


def auc_of_histogram(histogram: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve from counts `(2, bins)` of original and replaced tokens by logit; ties count half."""
    originals, replaced = histogram
    pairs = originals.sum() * replaced.sum()
    if pairs == 0:
        return None
    below = np.cumsum(originals) - originals
    return float((replaced * (below + originals / 2)).sum() / pairs)


def precision_and_recall(
    probabilities: NDArray[np.float64], replaced: NDArray[np.bool_], threshold: float
) -> tuple[float | None, float | None]:
    """Precision and recall of replaced tokens; precision is None where no probability is above the threshold."""
    predicted = probabilities > threshold
    true_positives = float((predicted & replaced).sum())
    precision = true_positives / int(predicted.sum()) if predicted.any() else None
    recall = true_positives / int(replaced.sum()) if replaced.any() else None
    return precision, recall


@torch.no_grad()
def evaluate(
    pair: Pair, batches: BatchMaker, objective: Objective, with_discriminator: bool = True
) -> dict[str, float | None]:
    """Compute the metrics of the held-out rows.

    Args:
        pair: the networks.
        batches: makes the batches of held-out rows.
        objective: what the networks predict.
        with_discriminator: whether to evaluate the discriminator; false before it has been trained.

    Returns:
        Metrics by name; None if undefined. For a mixture, also those of each source, as `NAME/SOURCE`; sources of
        weight 0 are left out of the main metrics.
    """
    pair.set_trained(generator=False, discriminator=False)
    roles = UpdateRoles(discriminator=with_discriminator)
    # The keys are the sources of a mixture, and the empty string for all rows.
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    logits: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    replaced: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    weights = batches.manifest.weights
    for batch in batches.evaluation():
        (micro_batch,) = batch.micro_batches
        output = pair(objective, micro_batch, roles, torch.ones(()))
        for source in {"", batch.source} if weights.get(batch.source, 1) else {batch.source}:
            for name, tokens in objective.token_counts(batch).items():
                counts[source][name] += float(tokens)
            for name, _ in MEANS.values():
                if (value := getattr(output, name)) is not None:
                    sums[source][name] += float(value)
            if output.logits is not None:
                logits[source].append(output.logits[output.loss_mask].double().cpu().numpy())
                replaced[source].append(output.replaced[output.loss_mask].cpu().numpy())
    metrics: dict[str, float | None] = dict.fromkeys((*MEANS, *DETECTION))
    del metrics["similarity_loss"]  # a metric of training only
    for source in sorted(sums):
        of_source: dict[str, float | None] = {
            name: sums[source][output_name] / max(1.0, counts[source][divisor])
            for name, (output_name, divisor) in MEANS.items()
            if output_name in sums[source]
        }
        if source in logits:
            of_source |= detection(np.concatenate(logits[source]), np.concatenate(replaced[source]))
        if source:
            of_source = {f"{name}/{source}": of_source[name] for name in OF_SOURCES if name in of_source}
        metrics |= of_source
    return metrics


def detection(logits: NDArray[np.float64], replaced: NDArray[np.bool_]) -> dict[str, float | None]:
    """The metrics in DETECTION, from the logits of tokens and whether they were replaced."""
    probabilities = 1 / (1 + np.exp(-logits))
    base_rate = float(replaced.mean())
    finite = bool(np.isfinite(logits).all())
    defined = finite and 0 < base_rate < 1
    values = (
        float(roc_auc_score(replaced, logits)) if defined else None,
        *precision_and_recall(probabilities, replaced, 0.5),
        *precision_and_recall(probabilities, replaced, base_rate),
        base_rate,
        float(logits.std()) if finite else None,
    )
    return dict(zip(DETECTION, values, strict=True))


@torch.no_grad()
def find_examples(
    pair: Pair, batches: BatchMaker, objective: Objective, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """Some held-out documents with the generator's samples and the discriminator's probability of each token.

    Documents longer than an example are split into consecutive examples. Short examples, and those with few words, are
    used only if there are not enough others.
    """
    pair.set_trained(generator=False, discriminator=False)
    batch = next(iter(batches.evaluation())).micro_batches[0]
    output = pair(objective, batch, UpdateRoles(), torch.ones(()))
    masked = masked_position_mask(batch)
    probabilities = output.logits.sigmoid()
    special_ids = torch.tensor(batches.manifest.all_special_ids, device=masked.device)
    text = ~torch.isin(batch.input_ids, special_ids)

    def pieces_of(ids: Tensor) -> list[str]:
        pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        return [in_wordpiece_form(piece, tokenizer.backend_tokenizer) for piece in pieces]

    examples: list[dict[str, Any]] = []
    quality: list[float] = []
    for row in range(len(batch.input_ids)):
        for document in range(int(batch.document_ids[row].max()) + 1):
            positions = ((batch.document_ids[row] == document) & text[row]).nonzero().squeeze(1)
            tokens = pieces_of(batch.input_ids[row][positions])
            for begin, end in example_spans(tokens):
                span, original = positions[begin:end], tokens[begin:end]
                corrupted = pieces_of(output.corrupted_ids[row][span])
                # Long prose reads better than a few words, tables and code.
                words = sum(token.isalpha() for token in original) / len(original)
                quality.append((end - begin >= EXAMPLE_TOKENS[0]) + words)
                examples.append(
                    {
                        "tokens": corrupted,
                        "original": original,
                        "masked": masked[row][span].tolist(),
                        "replaced": output.replaced[row][span].tolist(),
                        "probability": [round(p, 4) for p in probabilities[row][span].tolist()],
                    }
                )
    best = sorted(np.argsort(quality)[::-1][:EXAMPLES].tolist())
    return [examples[index] for index in best]


def example_spans(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Split a text into spans `(begin, end)` that end at the end of a sentence, or else of a word, if possible.

    A last span that is too short is left out, unless it is the whole text.
    """
    spans, begin = [], 0
    min_length, max_length = EXAMPLE_TOKENS
    while len(tokens) - begin > max_length:
        ends = range(begin + max_length, begin + min_length - 1, -1)
        sentence = (end for end in ends if tokens[end - 1].removeprefix(CONTINUATION) in SENTENCE_ENDS)
        word = (end for end in ends if not tokens[end].startswith(CONTINUATION))
        end = next(sentence, None) or next(word, begin + max_length)
        spans.append((begin, end))
        begin = end
    remaining = len(tokens) - begin
    return spans if remaining == 0 or (spans and remaining < min_length) else [*spans, (begin, len(tokens))]
