"""What the second act has shown, in one sentence that claims no more than its seeds bear out."""

from __future__ import annotations

import math

from elektron.reporting.kinds import kind
from elektron.reporting.runs import SecondAct
from elektron.reporting.wording import whole
from elektron.reporting.worth import finding

ACCURACY = kind("accuracy", "classification")


def verdict(act: SecondAct) -> str:
    """Whether pre-training helped, and how far the test documents leave it open."""
    found = finding(act.pretrained, act.scratch, ACCURACY.write, ACCURACY.write_difference)
    # An accuracy may be off by this because the test documents are a sample.
    accuracy = min(1.0, max(0.0, act.pretrained.median))
    error = math.sqrt(accuracy * (1 - accuracy) / max(1, act.test_documents))
    found += (
        f" Another {whole(act.test_documents)} test documents would move an accuracy "
        f"by about ± {ACCURACY.write_difference(error)}."
    )
    if accuracy - 2 * error <= act.majority_accuracy:
        found += (
            " The pre-trained network is not clearly better than always predicting the commonest "
            f"class, which gets {ACCURACY.write(act.majority_accuracy)}."
        )
    return found
