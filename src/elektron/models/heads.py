"""Task heads on the Elektron encoder, one class for each Auto class of transformers.

The two pre-training heads have the structure of ELECTRA's: the discriminator's computes one logit per token, and the
generator's output matrix is tied to the token embeddings. Sentence-level heads apply one linear layer to the mean of
the hidden states, or to [CLS] (`config.classifier_pooling`). Losses are the usual ones: cross-entropy, mean squared
error for one label or `problem_type="regression"`, binary cross-entropy for `multi_label_classification`.

Like `elektron.py`, this file imports only torch and transformers and is saved next to the weights.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers.loss.loss_utils import ForQuestionAnsweringLoss
from transformers.modeling_outputs import (
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .elektron import ElektronConfig, ElektronModel, ElektronPreTrainedModel, rms_norm

IGNORED_LABEL = -100


class ElektronWithHead(ElektronPreTrainedModel):
    """Base class of encoders with a head that computes logits, for every token or for a text."""

    output_class: type[ModelOutput] = TokenClassifierOutput

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.elektron = ElektronModel(config)

    def logits(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The logits for hidden states `(…, hidden_size)`."""
        raise NotImplementedError

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over the tokens whose label is not -100."""
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """`input_ids` and `attention_mask` `(batch, length)` to logits, and the loss if there are labels."""
        encoded = self.elektron(input_ids, attention_mask, return_dict=True, **kwargs)
        logits = self.logits(encoded.last_hidden_state, attention_mask)
        loss = None if labels is None else self.loss(logits, labels)
        return self.output_class(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )


class ElektronForPreTraining(ElektronWithHead):
    """The discriminator: one logit per token, positive if it predicts that the token was replaced."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.prediction = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def logits(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Hidden states `(…, hidden_size)` to logits `(…)`."""
        return self.prediction(F.gelu(self.dense(hidden_states))).squeeze(-1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy; `labels` are 1 for replaced tokens, 0 for others, and -100 for tokens to ignore."""
        real = labels != IGNORED_LABEL
        return F.binary_cross_entropy_with_logits(logits[real], labels[real].to(logits.dtype))


class ElektronForMaskedLM(ElektronWithHead):
    """The generator: logits over the vocabulary for every token, with the token embeddings as output matrix."""

    _tied_weights_keys = {"decoder.weight": "elektron.embeddings.word_embeddings.weight"}  # noqa: RUF012
    output_class = MaskedLMOutput

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The output layer, tied to the token embeddings."""
        return self.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the output layer."""
        self.decoder = value

    def logits(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Hidden states `(…, hidden_size)` to logits `(…, vocab_size)`."""
        return self.decoder(rms_norm(F.gelu(self.dense(hidden_states)), self.config.norm_eps))


class SentenceHead(nn.Module):
    """Pooling of a text's hidden states, dropout, and a linear layer."""

    def __init__(self, config: ElektronConfig, outputs: int) -> None:
        super().__init__()
        self.pooling = config.classifier_pooling
        self.dropout = classifier_dropout(config)
        self.linear = nn.Linear(config.hidden_size, outputs)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Hidden states `(batch, length, hidden_size)` to logits `(batch, outputs)`."""
        cls = self.pooling == "cls"
        return self.linear(self.dropout(hidden_states[:, 0] if cls else mean_of_tokens(hidden_states, attention_mask)))


def classifier_dropout(config: ElektronConfig) -> nn.Dropout:
    """The dropout before a classifier."""
    dropout = config.classifier_dropout
    return nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)


def mean_of_tokens(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Hidden states `(batch, length, hidden_size)` to their mean over real tokens, `(batch, hidden_size)`."""
    if attention_mask is None:
        return hidden_states.mean(1)
    real = attention_mask[..., None].to(hidden_states.dtype)
    return (hidden_states * real).sum(1) / real.sum(1).clamp(min=1)


class ElektronForSequenceClassification(ElektronWithHead):
    """One label, several labels or a number for a text or a pair of texts: logits `(batch, num_labels)`."""

    output_class = SequenceClassifierOutput

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.classifier = SentenceHead(config, config.num_labels)
        self.post_init()

    def logits(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Hidden states `(batch, length, hidden_size)` to logits `(batch, num_labels)`."""
        return self.classifier(hidden_states, attention_mask)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of `config.problem_type`; if it is None, `num_labels` and the dtype of `labels` decide."""
        problem = self.config.problem_type
        if problem == "regression" or (problem is None and self.config.num_labels == 1):
            return F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
        if problem == "multi_label_classification" or (problem is None and labels.is_floating_point()):
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return F.cross_entropy(logits, labels)


class ElektronForTokenClassification(ElektronWithHead):
    """A label for every token: logits `(batch, length, num_labels)`."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.dropout = classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def logits(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Hidden states `(…, hidden_size)` to logits `(…, num_labels)`."""
        return self.classifier(self.dropout(hidden_states))


class ElektronForQuestionAnswering(ElektronPreTrainedModel):
    """Extractive question answering: where the answer begins and where it ends."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.elektron = ElektronModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        """Start and end logits, each `(batch, length)`; the loss ignores positions `(batch,)` past the end."""
        encoded = self.elektron(input_ids, attention_mask, return_dict=True, **kwargs)
        start_logits, end_logits = self.qa_outputs(encoded.last_hidden_state).unbind(-1)
        loss = ForQuestionAnsweringLoss(start_logits, end_logits, start_positions, end_positions)
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits,
            end_logits=end_logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


class ElektronForMultipleChoice(ElektronPreTrainedModel):
    """Multiple choice: one logit for each of several texts, of which one is correct."""

    def __init__(self, config: ElektronConfig) -> None:
        super().__init__(config)
        self.elektron = ElektronModel(config)
        self.classifier = SentenceHead(config, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> MultipleChoiceModelOutput:
        """`input_ids` `(batch, choices, length)` to logits `(batch, choices)`."""
        assert input_ids is not None
        batch, choices, length = input_ids.shape
        mask = None if attention_mask is None else attention_mask.view(-1, length)
        encoded = self.elektron(input_ids.view(-1, length), mask, return_dict=True, **kwargs)
        logits = self.classifier(encoded.last_hidden_state, mask).view(batch, choices)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return MultipleChoiceModelOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
        )
