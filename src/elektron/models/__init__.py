"""The encoders. Importing this registers family `elektron` with the Auto classes of transformers."""

import transformers

from elektron.models import elektron, heads
from elektron.models.elektron import AUTO_MAP, ElektronConfig, ElektronModel
from elektron.models.heads import (
    ElektronForMaskedLM,
    ElektronForMultipleChoice,
    ElektronForPreTraining,
    ElektronForQuestionAnswering,
    ElektronForSequenceClassification,
    ElektronForTokenClassification,
)

transformers.AutoConfig.register(ElektronConfig.model_type, ElektronConfig)
for auto_class, target in AUTO_MAP.items():
    if auto_class != "AutoConfig":
        module, name = target.split(".")
        model_class = getattr({"elektron": elektron, "heads": heads}[module], name)
        getattr(transformers, auto_class).register(ElektronConfig, model_class)

__all__ = [
    "ElektronConfig",
    "ElektronForMaskedLM",
    "ElektronForMultipleChoice",
    "ElektronForPreTraining",
    "ElektronForQuestionAnswering",
    "ElektronForSequenceClassification",
    "ElektronForTokenClassification",
    "ElektronModel",
]
