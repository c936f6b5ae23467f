"""`elektron detect`: finds words that a pre-trained discriminator classifies as replaced, and suggests alternatives.

The discriminator reads a text once and gives each token the probability that the generator replaced it, as in
pre-training; a word has the highest probability of its tokens. A text longer than a window is read in overlapping
windows: the first half of an overlap takes its probabilities from the earlier window, the second half from the later
one. For each suspicious word, the generator sees one [MASK] in its place, and its most probable words are suggested.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from unicodedata import combining

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.accelerator import Accelerator
from elektron.allocator import keep_freed_memory
from elektron.corpus.vocabulary import readable
from elektron.errors import ElektronError
from elektron.finetuning.encoders import longest_input
from elektron.finetuning.inputs import pad
from elektron.finetuning.predictor import MAX_BATCH_TOKENS, batches_by_size
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import TEXTS
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import DetectConfig
from elektron.inference.output import open_writer
from elektron.inference.predict import predict_rows
from elektron.inference.pretrained import load_scorer, logits_at, replaced_logits
from elektron.models.pair import DISCRIMINATOR, GENERATOR, network_of_run
from elektron.pretraining.masking import WordFinder, is_unspaced
from elektron.terminal import escape_control, rich_console

log = logging.getLogger(__name__)

WINDOW = 128
"""Maximum number of tokens in a window, special tokens included; longer windows were no better (docs/detect.md)."""
OVERLAP = 1 / 4
"""Fraction of a window that the next window contains too."""
DIGITS = 4
"""Decimal places of probabilities."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: where it is, and its probability of being replaced."""

    start: int
    """Index of its first character."""
    end: int
    """Index of the character after its last."""
    tokens: slice
    probability: float
    """The highest probability of being replaced among its tokens."""

    def as_json(self, text: str) -> Prediction:
        """Convert the word to a JSON-serializable dictionary."""
        probability = round(self.probability, DIGITS)
        return {"word": text[self.start : self.end], "start": self.start, "end": self.end, "probability": probability}


def detect(config: DetectConfig) -> int:
    """Write each row of the input with its suspicious words.

    Returns:
        The number of rows.

    Raises:
        ElektronError: there is no such model or file, the model is not a discriminator, or the file has no texts.
    """
    with open_writer(config.output, config.input) as write:
        detector = load_detector(config)
        if config.output is None and sys.stdout.isatty():

            def show(records: Sequence[Record]) -> list[Prediction]:
                predictions = detector.predict(records)
                for record, prediction in zip(records, predictions, strict=True):
                    print_marked(record.values["text"], prediction["suspicious"])
                return predictions

            return predict_rows(config, TEXTS, detector.tokenizer, show, lambda rows: None)
        return predict_rows(config, TEXTS, detector.tokenizer, detector.predict, write)


def load_detector(config: DetectConfig) -> Detector:
    """Load the networks of a pre-training run, or a discriminator alone, onto the GPU if there is one, else the CPU.

    Raises:
        ElektronError: there is no such model, or it is not a discriminator.
    """
    keep_freed_memory()
    name = network_of_run(config.model, DISCRIMINATOR) or config.model
    scorer = load_scorer(name)
    if scorer.mask_id is not None:
        raise ElektronError(
            f"{name} is a {scorer.kind}: `elektron detect` needs a discriminator, as --objective rtd trains it"
        )
    generator = None
    if config.suggestions:
        if (place := network_of_run(config.model, GENERATOR)) is None:
            log.info("no generator next to %s: no suggestions", config.model)
        else:
            generator = load_scorer(place).network
    return Detector(config, scorer.network, generator, scorer.tokenizer)


class Detector:
    """Finds suspicious words with a discriminator, and suggests others with a generator if there is one.

    Args:
        config: threshold, number of suggestions, batch size and precision.
        discriminator: a discriminator of any family.
        generator: the generator of the same pre-training run; without it there are no suggestions.
        tokenizer: the tokenizer of both networks.
    """

    def __init__(
        self,
        config: DetectConfig,
        discriminator: PreTrainedModel,
        generator: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.config = config
        self.accelerator = Accelerator.choose(config.precision)
        self.networks = [each for each in (discriminator, generator) if each is not None]
        for network in self.networks:
            network.to(self.accelerator.device).eval()
        self.discriminator, self.generator, self.tokenizer = discriminator, generator, tokenizer
        self.finder = WordFinder(tokenizer, None)
        self.special_ids = np.array(tokenizer.all_special_ids)
        self.first, *self.last = tokenizer("")["input_ids"]  # [CLS] and [SEP]
        longest = min(longest_input(network.config) for network in self.networks)
        longest = min(longest, tokenizer.model_max_length, WINDOW)
        self.max_tokens = longest - tokenizer.num_special_tokens_to_add()
        """Maximum number of tokens in a window, without special tokens."""

    def predict(self, records: Sequence[Record]) -> list[Prediction]:
        """Find the words of each text whose probability is at least the threshold.

        Returns:
            For each record a dictionary with the list `suspicious`, in the order of the text. Each entry has `word`,
            `start` and `end` (characters of the text, the end exclusive) and `probability`; with a generator also
            `suggestions`, most probable first, each with `word` and `probability`.
        """
        texts = [record.values["text"] for record in records]
        encoded = self.tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
        )
        ids_of_texts: list[list[int]] = encoded["input_ids"]
        probabilities = self._probabilities(ids_of_texts)
        rows = zip(texts, ids_of_texts, encoded["offset_mapping"], probabilities, strict=True)
        hits = [[word for word in self._words(*row) if word.probability >= self.config.threshold] for row in rows]
        suspicious = [[word.as_json(text) for word in words] for text, words in zip(texts, hits, strict=True)]
        if self.generator is not None:
            masked = [(ids, word) for ids, words in zip(ids_of_texts, hits, strict=True) for word in words]
            suggestions = self._suggestions(self.generator, masked)
            for entry, suggested in zip(chain(*suspicious), suggestions, strict=True):
                entry["suggestions"] = suggested
        return [{"suspicious": row} for row in suspicious]

    @torch.inference_mode()
    def _probabilities(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Compute the probability that each token was replaced, for texts given as token ids."""
        spans = [
            (number, begin, end)
            for number, ids in enumerate(texts)
            for begin, end in windows(len(ids), self.max_tokens)
        ]
        rows = [[self.first, *texts[number][begin:end], *self.last] for number, begin, end in spans]
        outputs: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
        for chosen, input_ids, attention_mask in self._batches(rows):
            with self.accelerator.autocast():
                logits = replaced_logits(self.discriminator, input_ids, attention_mask)
            for row, values in zip(chosen, logits.sigmoid().cpu().numpy(), strict=True):
                outputs[row] = values[1:]
        probabilities = [np.zeros(len(ids), np.float32) for ids in texts]
        read_to = [0] * len(texts)
        for (number, begin, end), values in zip(spans, outputs, strict=True):
            middle = (begin + read_to[number]) // 2  # the middle of the overlap with the previous window
            probabilities[number][middle:end] = values[middle - begin : end - begin]
            read_to[number] = end
        return probabilities

    def _words(
        self, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], probabilities: NDArray[np.float32]
    ) -> Iterator[Word]:
        """The words of a text, without special tokens such as [UNK]."""
        if not ids:
            return
        is_special = np.isin(ids, self.special_ids)
        starts = self.finder.word_starts(np.array([ids]))[0] | is_special
        starts[0] = True  # byte-level BPE marks no space before the first word
        starts[1:] |= is_special[:-1]
        for place, ((_, before), (begin, _)) in enumerate(pairwise(offsets), start=1):
            # Byte-level BPE splits Chinese characters into bytes, so tokens do not show them.
            if begin >= before and any(map(is_unspaced, text[begin - 1 : begin + 1])):
                starts[place] = True
        for first, end in pairwise([*np.flatnonzero(starts).tolist(), len(ids)]):
            begin, stop = offsets[first][0], offsets[end - 1][1]
            while begin < stop and text[begin].isspace():
                begin += 1
            while stop < len(text) and combining(text[stop]):
                stop += 1  # a combining accent that the tokenizer merged into the letter before it
            if begin < stop and not is_special[first]:
                probability = float(probabilities[first:end].max())
                yield Word(begin, stop, slice(first, end), probability)

    @torch.inference_mode()
    def _suggestions(
        self, generator: PreTrainedModel, masked: Sequence[tuple[Sequence[int], Word]]
    ) -> list[list[dict[str, str | float]]]:
        """Predict what could replace each word; `masked` pairs the token ids of its text with the word."""
        mask, tokenizer = self.tokenizer.mask_token_id, self.tokenizer
        before = (self.max_tokens - 1) // 2
        rows, places = [], []
        for ids, word in masked:
            left = ids[: word.tokens.start]
            right = ids[word.tokens.stop :]
            kept = max(before, self.max_tokens - 1 - len(right))
            left = left[max(0, len(left) - kept) :]
            right = right[: self.max_tokens - 1 - len(left)]
            rows.append([self.first, *left, mask, *right, *self.last])
            places.append(1 + len(left))
        allowed = self.finder.starts.copy()
        allowed[self.special_ids] = False
        refused = torch.from_numpy(~allowed).to(self.accelerator.device)
        suggestions: list[list[dict[str, str | float]]] = [[]] * len(rows)
        for chosen, input_ids, attention_mask in self._batches(rows):
            positions = torch.tensor([places[row] for row in chosen], device=self.accelerator.device)
            with self.accelerator.autocast():
                logits = logits_at(generator, input_ids, positions, attention_mask)
            probabilities = logits.float().softmax(-1)[:, : len(refused)].masked_fill(refused, 0)
            best = probabilities.topk(min(self.config.suggestions + 1, len(refused)))
            for row, values, tokens in zip(chosen, *map(Tensor.tolist, best), strict=True):
                ids, word = masked[row]
                itself = ids[word.tokens]
                suggestions[row] = [
                    {
                        "word": readable(tokenizer.convert_ids_to_tokens(token), tokenizer.backend_tokenizer).strip(),
                        "probability": round(value, DIGITS),
                    }
                    for value, token in zip(values, tokens, strict=True)
                    if [token] != itself and value > 0
                ][: self.config.suggestions]
        return suggestions

    def _batches(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield batches of rows of token ids: the row numbers, `input_ids` and `attention_mask`, `(batch, length)`."""
        tokens = MAX_BATCH_TOKENS[self.accelerator.device.type]
        for chosen in batches_by_size(list(map(len, rows)), tokens, self.config.batch_size):
            features = [{"input_ids": list(rows[row])} for row in chosen]
            batch = pad(features, {"input_ids": self.tokenizer.pad_token_id})
            input_ids, attention_mask = batch["input_ids"], batch["attention_mask"]
            yield chosen, input_ids.to(self.accelerator.device), attention_mask.to(self.accelerator.device)


def windows(length: int, max_tokens: int) -> list[tuple[int, int]]:
    """Split a text into overlapping windows; the last one ends at the end of the text.

    Args:
        length: number of tokens in the text.
        max_tokens: maximum number of tokens in a window.

    Returns:
        The first token of each window, and the token after its last.
    """
    overlap = int(OVERLAP * max_tokens)
    begins = range(0, max(1, length - overlap), max_tokens - overlap)
    ends = [min(begin + max_tokens, length) for begin in begins]
    return [(max(0, end - max_tokens), end) for end in ends]


def print_marked(text: str, suspicious: Sequence[Prediction]) -> None:
    """Print a text with its suspicious words marked, then a line for each of them with its suggestions."""
    from rich.text import Text

    marked, end = Text(), 0
    for word in suspicious:
        marked.append(escape_control(text[end : word["start"]]))
        marked.append(escape_control(word["word"]), style="bold underline red")
        end = word["end"]
    marked.append(escape_control(text[end:]))
    for word in suspicious:
        marked.append(f"\n  {word['probability']:4.0%}  {escape_control(word['word'])}")
        instead = [f"{s['word']} {s['probability']:.0%}" for s in word.get("suggestions", [])]
        marked.append(escape_control(f" → {', '.join(instead)}") if instead else "")
    with rich_console() as console:
        console.print(marked, soft_wrap=True)
