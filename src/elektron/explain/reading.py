"""`Reading`: the words that a model reads of a text, and the answers that it gives.

Words are those of the tokenizer, or the tokens of a tagged sentence: each has its characters in the text and its
positions in `input_ids`. An answer is one or several choices among logits, so that all tasks are explained and
measured in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedModel

from elektron.errors import ElektronError
from elektron.finetuning.inputs import HEAD_FRACTION, Batch, Feature, Tokenizer
from elektron.finetuning.metrics.tagging import Span, find_scheme, spans
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.base import Prediction
from elektron.finetuning.tasks.classification import Classification, SentenceTask
from elektron.finetuning.tasks.question_answering import CLS, QuestionAnswering, answer_positions
from elektron.finetuning.tasks.token_classification import TokenClassification, tokens_of
from elektron.reporting.examples import is_spaced


@dataclass(frozen=True)
class Word:
    """A word that the model reads."""

    part: int
    """0 for the text, the question or the tokens, 1 for the second text or the passage."""
    start: int
    """Its first character in the part."""
    end: int
    """The character after its last."""
    positions: tuple[int, ...]
    """Positions of its tokens in `input_ids`."""


LogOdds = Callable[[Any], Tensor]
"""A function from a model's output to `log(p / (1 - p))` of one choice, `(batch,)`."""


def log_odds(logits: Callable[[Any], Tensor], index: int = 0) -> LogOdds:
    """Create a function for the log-odds of one choice; a single logit is taken as log-odds.

    Args:
        logits: a function from a model's output to `(batch, choices)`.
        index: index of the choice.
    """

    def of_output(output: Any) -> Tensor:
        choices = logits(output)
        others = [place for place in range(choices.shape[1]) if place != index]
        return choices[:, index] - choices[:, others].logsumexp(1) if others else choices[:, index]

    return of_output


@dataclass(frozen=True)
class Answer:
    """What is explained: a label, a number, an entity, a span, a word that looks replaced."""

    name: str
    choices: tuple[LogOdds, ...]
    words: tuple[int, ...] = ()
    """Indices of the words that it is about."""
    is_number: bool = False

    def score(self, output: Any) -> Tensor:
        """The sum of the choices' log-odds, or the number: `(batch,)`. This is what attributions add up to."""
        return torch.stack([choice(output) for choice in self.choices]).sum(0)

    def strength(self, output: Any) -> Tensor:
        """The mean probability of the choices, or the number: `(batch,)`. Faithfulness measures its change."""
        if self.is_number:
            return self.score(output)
        return torch.stack([choice(output).sigmoid() for choice in self.choices]).mean(0)


@dataclass(frozen=True)
class Reading:
    """A text as the model reads it, with its answers."""

    inputs: Batch
    """What the model is called with: `input_ids` and perhaps `token_type_ids`, `(1, length)`."""
    parts: tuple[str, ...]
    """The texts that the words are in."""
    words: list[Word]
    truncated: bool
    """Whether the text is longer; the model reads the rest in other windows, or not at all."""
    prediction: Prediction
    answers: list[Answer]

    def text(self, word: Word) -> str:
        """The characters of a word."""
        return self.parts[word.part][word.start : word.end]

    @property
    def word_positions(self) -> list[int]:
        """The positions of all words: all but special tokens."""
        return [position for word in self.words for position in word.positions]


@torch.no_grad()
def read_sentence(task: SentenceTask, model: PreTrainedModel, tokenizer: Tokenizer, record: Record) -> Reading:
    """Read the first window of a text or a pair of texts; the answers are its labels or its number."""
    parts = tuple(str(record.values[role]) for role in ("text", "pair") if role in record.values)
    both_ends = task.truncation == "head-tail" and len(parts) == 1
    encoded = tokenizer(
        *([part] for part in parts), truncation=not both_ends, max_length=task.max_length, verbose=False
    )
    encoding = encoded.encodings[0]
    places = list(range(len(encoding)))
    truncated = bool(encoding.overflowing) or len(places) > task.max_length
    if len(places) > task.max_length:  # the head and the tail, as `finetuning.inputs.encode` takes them
        last = tokenizer.num_special_tokens_to_add() - 1
        room = task.max_length - 1 - last
        head = 1 + round(HEAD_FRACTION * room)
        places = places[:head] + places[head - 1 - room - last :]
    inputs = tensors({name: [values[0][place] for place in places] for name, values in encoded.items()}, model)
    logits = model(**inputs).logits
    prediction = task.prediction(logits[0].float().cpu().numpy())
    words, answers = words_of(encoding, parts, places), sentence_answers(task, prediction, logits)
    return Reading(inputs, parts, words, truncated, prediction, answers)


def sentence_answers(task: SentenceTask, prediction: Prediction, logits: Tensor) -> list[Answer]:
    """The predicted label or labels, or the most probable label if none is predicted, or the number."""
    if not isinstance(task, Classification):
        return [Answer("the number", (log_odds(lambda output: output.logits),), is_number=True)]
    if not task.several:
        index = task.labels.index(prediction["label"])
        return [Answer(prediction["label"], (log_odds(lambda output: output.logits, index),))]
    indices = [task.labels.index(label) for label in prediction["labels"]] or [int(logits[0].argmax())]
    return [Answer(task.labels[index], (log_odds(column(index)),)) for index in indices]


@torch.no_grad()
def read_tokens(
    task: TokenClassification, model: PreTrainedModel, tokenizer: Tokenizer, record: Record, number: int | None
) -> Reading:
    """Read the first window of a sentence; the answers are its entities or, without a scheme, each tag but O.

    With a `number`, from 1, the only answer is the tag of the word with this number.
    """
    tokens = tokens_of(record)
    encoded, features = task.encoded([record], tokenizer)
    text, characters = joined(tokens)
    encoding = encoded.encodings[0]
    pieces: dict[int, list[int]] = {}
    for place, number_of_word in enumerate(encoding.word_ids):
        if number_of_word is not None:
            pieces.setdefault(number_of_word, []).append(place)
    words = [Word(0, *characters[token], tuple(places)) for token, places in pieces.items()]
    firsts = [places[0] for places in pieces.values()]
    inputs = tensors(features[0], model)
    best = model(**inputs).logits[0].argmax(-1).tolist()
    tags = [task.labels[best[place]] for place in firsts]
    if number is None:
        entities = entities_of(tags, task.labels)
    else:
        entities = [(tags[checked(number, words, record) - 1], number - 1, number)]
    answers = [
        Answer(
            kind,
            tuple(log_odds(at(firsts[word]), best[firsts[word]]) for word in range(begin, end)),
            tuple(range(begin, end)),
        )
        for kind, begin, end in entities
    ]
    prediction = {"tokens": [tokens[token] for token in pieces], "tags": tags}
    return Reading(inputs, (text,), words, len(features) > 1, prediction, answers)


def entities_of(tags: Sequence[str], labels: Sequence[str]) -> list[Span]:
    """The entities of a sentence in order; a tag other than O that the scheme forbids there counts as an entity too."""
    entities = {span for span in spans(tuple(tags), find_scheme([labels], [])) if span[0] != "O"}
    inside = {token for _, begin, end in entities for token in range(begin, end)}
    entities |= {(tag, token, token + 1) for token, tag in enumerate(tags) if tag != "O" and token not in inside}
    return sorted(entities, key=lambda span: span[1:])


@torch.no_grad()
def read_question(task: QuestionAnswering, model: PreTrainedModel, tokenizer: Tokenizer, record: Record) -> Reading:
    """Read the window of a passage that holds the predicted answer, or in which "no answer" has the lowest score."""
    encoded, _ = task.encoded([record], tokenizer)
    features = task.features([record], tokenizer, labelled=False)
    outputs = [task.forward(model, tensors(feature, model))[0] for feature in features]
    prediction = task.predictions([record], features, outputs)[0]
    given = {"text": prediction["answer"], "answer_start": prediction["start"]}
    answered = replace(record, values=record.values | {"answers": [given] if given["text"] else []})
    answer_spans = [answer_positions(feature, answered) for feature in features]
    scores = [
        float(start[first] + end[last]) for (first, last), (start, end) in zip(answer_spans, outputs, strict=True)
    ]
    holding = [row for row, places in enumerate(answer_spans) if places != (CLS, CLS)]
    lowest = min(range(len(features)), key=scores.__getitem__)
    row = max(holding, key=scores.__getitem__, default=lowest)
    first, last = answer_spans[row]
    parts = (str(record.values["question"]).strip(), str(record.values["context"]))
    encoding = encoded.encodings[row]
    words = words_of(encoding, parts, range(len(encoding)))
    answer = Answer(
        given["text"] or "no answer",
        (log_odds(lambda output: output.start_logits, first), log_odds(lambda output: output.end_logits, last)),
        tuple(number for number, word in enumerate(words) if any(first <= place <= last for place in word.positions)),
    )
    truncated = len(features) > 1
    return Reading(tensors(features[row], model), parts, words, truncated, prediction, [answer])


@torch.no_grad()
def read_with_discriminator(
    model: PreTrainedModel, tokenizer: Tokenizer, record: Record, longest: int, number: int | None
) -> Reading:
    """Read a text; the answer is the word most probably replaced, or the word with this number, from 1."""
    parts = (str(record.values["text"]),)
    encoded = tokenizer([parts[0]], truncation=True, max_length=longest, verbose=False)
    encoding = encoded.encodings[0]
    inputs = tensors({name: values[0] for name, values in encoded.items()}, model)
    words = words_of(encoding, parts, range(len(encoding)))
    output = model(**inputs)
    # A token classifier has a logit for each of "original" and "replaced", a discriminator one for "replaced".
    choices = [
        log_odds(at(place), 1) if output.logits.ndim == 3 else log_odds(column(place)) for place in range(len(encoding))
    ]
    replaced = [float(choice(output).sigmoid()) for choice in choices]
    worst = [max(word.positions, key=replaced.__getitem__) for word in words]
    chosen = range(len(words)) if number is None else [checked(number, words, record) - 1]
    answers = []
    if chosen:
        word = max(chosen, key=lambda word: replaced[worst[word]])
        text = parts[0][words[word].start : words[word].end]
        answers = [Answer(f"replaced: {text}", (choices[worst[word]],), (word,))]
    prediction: Prediction = {"replaced": [round(replaced[place], 6) for place in worst]}
    return Reading(inputs, parts, words, bool(encoding.overflowing), prediction, answers)


def at(position: int) -> Callable[[Any], Tensor]:
    """Create a function from an output with logits `(batch, length, choices)` to the logits at a position."""
    return lambda output: output.logits[:, position]


def column(number: int) -> Callable[[Any], Tensor]:
    """Create a function from an output with logits `(batch, columns)` to one column, `(batch, 1)`."""
    return lambda output: output.logits[:, number : number + 1]


def checked(number: int, words: Sequence[Word], record: Record) -> int:
    """Return the number of a word; raise ElektronError if the text has fewer words."""
    if number > len(words):
        raise ElektronError(f"{record.where}: --word {number}: only {len(words)} words are read")
    return number


def tensors(feature: Feature, model: PreTrainedModel) -> Batch:
    """Convert a feature to a batch of one row on the model's device, without the attention mask, which is all ones."""
    return {
        name: torch.tensor([feature[name]], device=model.device)
        for name in ("input_ids", "token_type_ids")
        if name in feature
    }


def words_of(encoding: Encoding, parts: Sequence[str], places: Sequence[int]) -> list[Word]:
    """Group the tokens at some places of an encoding into words; `places` are in the order of `input_ids`."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for position, place in enumerate(places):
        part, word = encoding.sequence_ids[place], encoding.word_ids[place]
        if part is not None and word is not None:
            groups.setdefault((part, word), []).append((position, place))
    words = []
    for (part, _), pieces in groups.items():
        offsets = [encoding.offsets[place] for _, place in pieces]
        begin, end = offsets[0][0], max(after for _, after in offsets)
        text = parts[part][begin:end]
        begin += len(text) - len(text.lstrip())  # the offsets of some tokenizers include the space before a word
        words.append(Word(part, begin, end, tuple(position for position, _ in pieces)))
    return words


def joined(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join tokens to running text; return it with the characters (start, end) of each token."""
    text, characters = "", []
    for number, token in enumerate(tokens):
        if number and is_spaced(tokens[number - 1], token):
            text += " "
        characters.append((len(text), len(text) + len(token)))
        text += token
    return text, characters
