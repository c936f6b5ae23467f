"""Evaluation of the pair on held-out rows, and example sentences.

The rows, their masks and the random numbers of the generator's samples are the same at every evaluation of every run,
so that curves are comparable. Precision and recall are computed at the threshold of 0.5 and at the base rate: with one
token in twelve replaced, a discriminator early in training is above 0.5 almost nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from transformers import PreTrainedTokenizerBase

from elektron.models.pair import Pair
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.objectives import Objective, UpdateRoles
from elektron.pretraining.objectives.base import masked_position_mask
from elektron.pretraining.whole_words import CONTINUATION

EXAMPLES = 8
EXAMPLE_TOKENS = (16, 60)
SENTENCE_ENDS = frozenset(".!?。！？")


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
    above = probabilities > threshold
    found = float((above & replaced).sum())
    precision = found / int(above.sum()) if above.any() else None
    recall = found / int(replaced.sum()) if replaced.any() else None
    return precision, recall


@torch.no_grad()
def evaluate(
    pair: Pair, batches: BatchMaker, objective: Objective, with_discriminator: bool = True
) -> dict[str, float | None]:
    """The metrics of the held-out rows; None where undefined.

    Args:
        pair: the networks.
        batches: makes the batches of held-out rows.
        objective: what the networks predict.
        with_discriminator: whether to evaluate the discriminator, if it has been trained.
    """
    pair.set_trained(generator=False, discriminator=False)
    roles = UpdateRoles(discriminator=with_discriminator)
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    all_logits, all_replaced = [], []
    for batch in batches.evaluation():
        counts["masked"] += float(batch.masked_tokens)
        counts["detection"] += float(objective.detection_tokens(batch))
        counts["correction"] += float(objective.correction_tokens(batch))
        for micro_batch in batch.micro_batches:
            output = pair(objective, micro_batch, roles, torch.ones(()))
            for name in EVALUATED:
                value = getattr(output, name)
                if value is not None:
                    sums[name] += float(value)
            if output.logits is not None:
                assert output.replaced is not None
                all_logits.append(output.logits[output.loss_mask].double().cpu().numpy())
                all_replaced.append(output.replaced[output.loss_mask].cpu().numpy())
    means = {
        name: sums[name] / max(1.0, counts[count]) if name in sums else None
        for name, count in EVALUATED.items()
    }
    figures = {
        "generator_loss": means["generator_loss"],
        "generator_accuracy": means["generator_correct"],
        "discriminator_loss": means["detection_loss"],
        "correction_loss": means["correction_loss"],
        "correction_accuracy": means["correction_correct"],
    }
    if not all_logits:
        return figures | dict.fromkeys(DETECTION)
    return figures | detection(np.concatenate(all_logits), np.concatenate(all_replaced))


EVALUATED = {
    "generator_loss": "masked",
    "generator_correct": "masked",
    "detection_loss": "detection",
    "correction_loss": "correction",
    "correction_correct": "masked",
}
"""Sums of an evaluation, and what each is divided by."""
DETECTION = (
    "discriminator_auc",
    "discriminator_precision",
    "discriminator_recall",
    "discriminator_precision_at_base_rate",
    "discriminator_recall_at_base_rate",
    "replaced_share",
    "logit_spread",
)


def detection(logits: NDArray[np.float64], replaced: NDArray[np.bool_]) -> dict[str, float | None]:
    """The metrics in DETECTION, from the logits of tokens and whether they were replaced."""
    probabilities = 1 / (1 + np.exp(-logits))
    base_rate = float(replaced.mean())
    precision, recall = precision_and_recall(probabilities, replaced, 0.5)
    base_precision, base_recall = precision_and_recall(probabilities, replaced, base_rate)
    finite = bool(np.isfinite(logits).all())
    defined = finite and 0 < base_rate < 1
    return {
        "discriminator_auc": float(roc_auc_score(replaced, logits)) if defined else None,
        "discriminator_precision": precision,
        "discriminator_recall": recall,
        "discriminator_precision_at_base_rate": base_precision,
        "discriminator_recall_at_base_rate": base_recall,
        "replaced_share": base_rate,
        "logit_spread": float(logits.std()) if finite else None,
    }


def unigram_entropy(batches: BatchMaker) -> float:
    """Entropy in nats of the unigram distribution of the held-out tokens that may be masked.

    It is the loss of a generator that has learned only token frequencies.
    """
    input_ids = np.concatenate(
        [
            micro_batch.input_ids.cpu().numpy().ravel()
            for batch in batches.evaluation()
            for micro_batch in batch.micro_batches
        ]
    )
    text = input_ids[~np.isin(input_ids, batches.manifest.all_special_ids)]
    shares = np.unique(text, return_counts=True)[1] / max(1, text.size)
    return float(-(shares * np.log(shares)).sum())


@torch.no_grad()
def find_examples(
    pair: Pair,
    batches: BatchMaker,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
) -> list[dict[str, Any]]:
    """Some held-out documents with the generator's samples and the discriminator's probability of each token.

    Of a document longer than an example the examples are consecutive parts; short documents are used where there
    are no others.
    """
    pair.set_trained(generator=False, discriminator=False)
    batch = next(iter(batches.evaluation())).micro_batches[0]
    output = pair(objective, batch, UpdateRoles(), torch.ones(()))
    assert output.logits is not None
    assert output.corrupted_ids is not None
    assert output.replaced is not None
    masked = masked_position_mask(batch)
    probabilities = output.logits.sigmoid()
    special_ids = torch.tensor(batches.manifest.all_special_ids, device=masked.device)
    text = ~torch.isin(batch.input_ids, special_ids)
    examples: list[dict[str, Any]] = []
    wordlike: list[float] = []
    for row in range(len(batch.input_ids)):
        for piece in range(int(batch.document_ids[row].max()) + 1):
            places = ((batch.document_ids[row] == piece) & text[row]).nonzero().squeeze(1)
            tokens = tokenizer.convert_ids_to_tokens(batch.input_ids[row][places].tolist())
            for begin, end in example_spans(tokens):
                here, original = places[begin:end], tokens[begin:end]
                long_enough = end - begin >= EXAMPLE_TOKENS[0]
                wordlike.append(
                    long_enough + sum(token.isalpha() for token in original) / len(original)
                )
                examples.append(
                    {
                        "tokens": tokenizer.convert_ids_to_tokens(
                            output.corrupted_ids[row][here].tolist()
                        ),
                        "original": original,
                        "masked": masked[row][here].tolist(),
                        "replaced": output.replaced[row][here].tolist(),
                        "probability": [round(p, 4) for p in probabilities[row][here].tolist()],
                    }
                )
    # Prose reads better than tables and code, of which every corpus has some, and than a few words.
    best = sorted(np.argsort(wordlike)[::-1][:EXAMPLES].tolist())
    return [examples[index] for index in best]


def example_spans(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """First token and token after the last of parts of a text; they end with a sentence or a word if they can.

    What is left behind them is none if it is too short.
    """
    spans, begin = [], 0
    least, most = EXAMPLE_TOKENS
    while len(tokens) - begin > most:
        ends = range(begin + most, begin + least - 1, -1)
        sentence = (end for end in ends if tokens[end - 1] in SENTENCE_ENDS)
        word = (end for end in ends if not tokens[end].startswith(CONTINUATION))
        end = next(sentence, None) or next(word, begin + most)
        spans.append((begin, end))
        begin = end
    rest = len(tokens) - begin
    return spans if rest == 0 or (spans and rest < least) else [*spans, (begin, len(tokens))]
