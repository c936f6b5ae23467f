"""What the second act has shown, in one sentence that claims no more than its seeds bear out."""

from __future__ import annotations

import math

from elektron.evidence.runs import SecondAct
from elektron.evidence.wording import decimal, whole

# With three seeds an arm, complete separation happens by chance once in twenty times.
SEEDS_TO_CLAIM = 3


def verdict(act: SecondAct) -> str:
    """Ahead or behind only where every seed of one arm beats every seed of the other."""
    pretrained, scratch = act.pretrained, act.scratch
    means = f"{decimal(pretrained.mean, 3)} against {decimal(scratch.mean, 3)}"
    points = decimal(100 * abs(pretrained.mean - scratch.mean), 1)
    if min(len(pretrained.accuracies), len(scratch.accuracies)) < SEEDS_TO_CLAIM:
        finding = f"Not resolved: {means} from fewer than {SEEDS_TO_CLAIM} seeds says little."
    elif min(pretrained.accuracies) > max(scratch.accuracies):
        finding = (
            f"Pre-training is ahead by {points} points ({means}): "
            "every pre-trained seed beats every seed from scratch."
        )
    elif max(pretrained.accuracies) < min(scratch.accuracies):
        finding = (
            f"Pre-training is behind by {points} points ({means}): "
            "every seed from scratch beats every pre-trained seed."
        )
    else:
        finding = f"Not resolved: the seeds of the two overlap ({means})."
    return f"{finding} {_test_uncertainty(act)}"


def _test_uncertainty(act: SecondAct) -> str:
    """What an accuracy may be off by because the test documents are a sample."""
    accuracy = min(1.0, max(0.0, act.pretrained.mean))
    error = math.sqrt(accuracy * (1 - accuracy) / max(1, act.test_documents))
    return (
        f"Another {whole(act.test_documents)} test documents would move an accuracy "
        f"by about ± {decimal(100 * error, 1)} points."
    )
