"""What the second act has shown, in one sentence that claims no more than its seeds bear out."""

from __future__ import annotations

import math

from elektron.evidence.runs import SecondAct
from elektron.evidence.wording import decimal, whole
from elektron.evidence.worth import Side, finding


def verdict(act: SecondAct) -> str:
    """Whether pre-training helped, and how far the test documents leave it open."""
    found = finding(
        Side(act.pretrained.accuracies, act.pretrained.mean),
        Side(act.scratch.accuracies, act.scratch.mean),
        write=lambda accuracy: decimal(accuracy, 3),
        write_difference=lambda difference: f"{decimal(100 * difference, 1)} points",
    )
    # An accuracy may be off by this because the test documents are a sample.
    accuracy = min(1.0, max(0.0, act.pretrained.mean))
    error = math.sqrt(accuracy * (1 - accuracy) / max(1, act.test_documents))
    found += (
        f" Another {whole(act.test_documents)} test documents would move an accuracy "
        f"by about ± {decimal(100 * error, 1)} points."
    )
    if accuracy - 2 * error <= act.majority_accuracy:
        found += (
            " The pre-trained network is not clearly better than always predicting the commonest "
            f"class, which gets {decimal(act.majority_accuracy, 3)}."
        )
    return found
