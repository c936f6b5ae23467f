"""`elektron evaluate MODEL --blimp FILE`: which of two sentences a pre-trained model prefers.

A row of the file holds a grammatical sentence, `good`, and one that differs from it in one point,
`bad`, as BLiMP has them (Warstadt et al. 2020). A model is right where it gives `good` the higher
score; equal scores count half. A masked language model scores by pseudo-log-likelihood (Salazar et
al. 2020): the sum, over the tokens, of the log-probability of each where it alone is masked. A
discriminator scores by the sum of its log-probabilities that a token is original, in one pass.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from elektron.allocator import keep_freed_memory
from elektron.corpus.vocabulary import load_tokenizer
from elektron.device import Device
from elektron.errors import ElektronError
from elektron.finetuning.config import EvaluateConfig
from elektron.finetuning.encoders import check_token_ids, longest_input
from elektron.finetuning.metrics.measure import bootstrap
from elektron.finetuning.readers.lines import Lines
from elektron.finetuning.readers.sources import open_source
from elektron.hub import load_configuration
from elektron.io.files import to_json
from elektron.io.folders import atomic_folder
from elektron.models.families import LABELS
from elektron.models.loading import load_network
from elektron.models.pair import DISCRIMINATOR, GENERATOR
from elektron.progress import Progress
from elektron.terminal import echo

log = logging.getLogger(__name__)

RESULT = "blimp.json"
GROUPS = ("phenomenon", "paradigm", "field")
ALL = "all"
TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 65536}
"""By device, in a batch."""

Kind = Literal["masked language model", "discriminator"]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences, the first of which is right."""

    good: str
    bad: str
    where: str
    """`FILE, line 7`, for messages."""
    groups: dict[str, str]
    """Those of GROUPS that the row has."""


@dataclass(frozen=True)
class Sentence:
    """What a model reads of one; equal sentences are scored once, so that their scores are equal."""

    input_ids: tuple[int, ...]
    real: tuple[bool, ...]
    """False for special tokens."""


def evaluate_minimal_pairs(config: EvaluateConfig) -> dict[str, Any]:
    """Score a model, or both of a pre-training run; the accuracies, printed, and with `--out` written.

    Raises:
        ElektronError: there is no such file or model, or the model is of another kind.
    """
    assert config.blimp is not None
    with atomic_folder(config.out) if config.out is not None else nullcontext() as folder:
        keep_freed_memory()
        pairs = read_minimal_pairs(config.blimp)
        on = Device.choose(config.precision)
        models = {
            name: evaluate_model(place, pairs, on)
            for name, place in models_of(config.model).items()
        }
        result = {
            "model": config.model,
            "file": config.blimp,
            "device": on.name,
            "precision": on.precision,
            "models": models,
        }
        if folder is not None:
            (folder / RESULT).write_text(to_json(result) + "\n", encoding="utf-8")
    echo(table(models))
    return result


def models_of(name: str) -> dict[str, str]:
    """Both models of a pre-training run, by what they are; else the one model, under its own name."""
    if (Path(name) / "config.json").exists():
        return {Path(name).name: name}
    inside = {part: Path(name) / part for part in (GENERATOR, DISCRIMINATOR)}
    found = {part: str(path) for part, path in inside.items() if (path / "config.json").exists()}
    return found or {name: name}


def read_minimal_pairs(source: str) -> list[MinimalPair]:
    """The rows of a jsonl file, compressed or not, or of what else has named columns.

    Raises:
        ElektronError: there is no such file, or a row of it is no minimal pair.
    """
    opened = open_source(source)
    if isinstance(opened, Lines):
        raise ElektronError(f"{source}: minimal pairs are read from .jsonl or .jsonl.gz")
    pairs = []
    for where, row in opened.rows:
        for column in ("good", "bad"):
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise ElektronError(
                    f"{where}: no sentence under {column!r}: a row has good and bad"
                )
        groups = {name: str(row[name]) for name in GROUPS if row.get(name) is not None}
        pairs.append(MinimalPair(row["good"], row["bad"], where, groups))
    return pairs


def evaluate_model(name: str, pairs: Sequence[MinimalPair], on: Device) -> dict[str, Any]:
    """The accuracy of one model in all and by group, with 95 % intervals.

    Raises:
        ElektronError: it is neither a masked language model nor a discriminator, or a sentence is longer
            than it can read.
    """
    kind, model = load_scorer(name)
    tokenizer = load_tokenizer(name)
    if kind != "discriminator" and tokenizer.mask_token_id is None:
        raise ElektronError(f"{name}: its tokenizer has no mask token")
    check_token_ids(name, tokenizer, model.config.vocab_size)
    longest = longest_input(model.config)
    read = {}
    for pair in pairs:
        for text in (pair.good, pair.bad):
            read[text] = tokenized(text, tokenizer)
            if len(read[text].input_ids) > longest:
                raise ElektronError(
                    f"{pair.where}: longer than the {longest} tokens {name} can read"
                )
    sentences = list(dict.fromkeys(read.values()))
    model.to(on.device).eval()
    with torch.inference_mode(), on.autocast(), Progress(name, None, "sequences") as progress:
        if kind == "discriminator":
            scores = originality(model, sentences, on, progress.update)
        else:
            mask_id = int(tokenizer.mask_token_id)
            scores = pseudo_log_likelihoods(model, mask_id, sentences, on, progress.update)
    if not np.isfinite(scores).all():
        raise ElektronError(f"{name}: some of its scores are not finite: its weights are damaged")
    score_of = dict(zip(sentences, scores.tolist(), strict=True))
    right = np.array(
        [preference(score_of[read[pair.good]], score_of[read[pair.bad]]) for pair in pairs]
    )
    result = {"kind": kind} | accuracies(right, [ALL] * len(pairs))[ALL]
    for group in GROUPS:
        if members := [number for number, pair in enumerate(pairs) if group in pair.groups]:
            names = [pairs[number].groups[group] for number in members]
            result[group] = accuracies(right[members], names)
    return result


def load_scorer(name: str) -> tuple[Kind, PreTrainedModel]:
    """A model that can score sentences, and how.

    Raises:
        ElektronError: it is of another kind.
    """
    config = load_configuration(name)
    architecture = (config.architectures or ["a bare encoder"])[0]
    if architecture.endswith("ForMaskedLM"):
        return "masked language model", load_network(AutoModelForMaskedLM, name)
    if architecture in ("ElectraForPreTraining", "ElektronForPreTraining"):
        return "discriminator", load_network(AutoModelForPreTraining, name)
    if architecture.endswith("ForTokenClassification") and detects(config):
        return "discriminator", load_network(AutoModelForTokenClassification, name)
    raise ElektronError(
        f"{name} is {architecture}: minimal pairs are for a masked language model or a discriminator"
    )


def detects(config: PreTrainedConfig) -> bool:
    """Whether a token classifier tells original tokens from replaced ones."""
    return {int(number): label for number, label in (config.id2label or {}).items()} == LABELS


def tokenized(text: str, tokenizer: PreTrainedTokenizerBase) -> Sentence:
    """A sentence between the special tokens that the model expects."""
    encoded = tokenizer(text, return_special_tokens_mask=True)
    special = encoded["special_tokens_mask"]
    return Sentence(tuple(encoded["input_ids"]), tuple(not value for value in special))


def pseudo_log_likelihoods(
    model: PreTrainedModel,
    mask_id: int,
    sentences: Sequence[Sentence],
    on: Device,
    progress: Callable[[int], None],
) -> Scores:
    """The sum of the log-probabilities of a sentence's tokens, each masked in roles: `(sentences,)`."""
    scores = np.zeros(len(sentences))
    done = 0
    for numbers, input_ids, real in by_length(sentences):
        rows, places = real.nonzero(as_tuple=True)
        at_once = tokens_at_once(on) // input_ids.shape[1] or 1
        for chosen, place in zip(rows.split(at_once), places.split(at_once), strict=True):
            masked = input_ids[chosen]
            row = torch.arange(len(masked))
            targets = masked[row, place]
            masked[row, place] = mask_id
            logits = logits_at(model, masked.to(on.device), place.to(on.device))
            chances = -F.cross_entropy(logits.float(), targets.to(on.device), reduction="none")
            np.add.at(scores, numbers[chosen.numpy()], chances.double().cpu().numpy())
            done += len(masked)
            progress(done)
    return scores


def logits_at(model: PreTrainedModel, input_ids: Tensor, places: Tensor) -> Tensor:
    """A masked language model's scores `(batch, vocabulary)` at one position of each row.

    The head, which is as dear as the encoder where that is small, is given these positions alone.
    """
    rows = torch.arange(len(input_ids), device=input_ids.device)

    def select(_module: Any, _arguments: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[rows, places][:, None]
        return output

    hook = model.base_model.register_forward_hook(select)
    try:
        logits: Tensor = model(input_ids).logits
    finally:
        hook.remove()
    return logits[:, 0]


def originality(
    model: PreTrainedModel,
    sentences: Sequence[Sentence],
    on: Device,
    progress: Callable[[int], None],
) -> Scores:
    """The sum of a discriminator's log-probabilities that a sentence's tokens are original: `(sentences,)`."""
    scores = np.zeros(len(sentences))
    done = 0
    for numbers, input_ids, real in by_length(sentences):
        at_once = tokens_at_once(on) // input_ids.shape[1] or 1
        for chosen in torch.arange(len(input_ids)).split(at_once):
            logits = model(input_ids[chosen].to(on.device)).logits.float().cpu()
            # A token classifier has a logit for each of LABELS, a discriminator one for "replaced".
            original = logits.log_softmax(-1)[..., 0] if logits.ndim == 3 else F.logsigmoid(-logits)
            sums = torch.where(real[chosen], original.double(), 0.0).sum(1)
            scores[numbers[chosen.numpy()]] = sums.numpy()
            done += len(chosen)
            progress(done)
    return scores


def by_length(
    sentences: Sequence[Sentence],
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Sentences of one length, the longest first: their numbers, their token ids, and which are real.

    Nothing needs padding, so that a model sees the same of a sentence whatever is beside it.
    """
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number, sentence in enumerate(sentences):
        groups[len(sentence.input_ids)].append(number)
    for length in sorted(groups, reverse=True):
        numbers = groups[length]
        yield (
            np.array(numbers),
            torch.tensor([sentences[number].input_ids for number in numbers]),
            torch.tensor([sentences[number].real for number in numbers]),
        )


def tokens_at_once(on: Device) -> int:
    return TOKENS_AT_ONCE[on.device.type]


def preference(good: float, bad: float) -> float:
    """1 where the right sentence has the higher score, 0.5 where both have the same."""
    return 0.5 if good == bad else float(good > bad)


@dataclass(eq=False)
class Preferences:
    """Mean preference by group, a measure in the sense of `bootstrap`."""

    right: NDArray[np.float64]
    groups: Sequence[str]
    """Of each pair."""
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = list(dict.fromkeys(self.groups))
        number = {name: number for number, name in enumerate(self.names)}
        self._group_of = np.array([number[group] for group in self.groups])

    def __len__(self) -> int:
        return len(self.right)

    def counts(self, chosen: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Pairs of each group."""
        groups = self._group_of if chosen is None else self._group_of[chosen]
        return np.bincount(groups, minlength=len(self.names))

    def __call__(self, chosen: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Accuracy by group, over the pairs `chosen`, or all."""
        rows = np.arange(len(self)) if chosen is None else chosen
        sums = np.bincount(
            self._group_of[rows], weights=self.right[rows], minlength=len(self.names)
        )
        return {
            name: float(total / count)
            for name, total, count in zip(self.names, sums, self.counts(rows), strict=True)
            if count
        }


def accuracies(right: NDArray[np.float64], groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Accuracy, its 95 % interval and the number of pairs of each group."""
    measure = Preferences(right, groups)
    figures, intervals = measure(), bootstrap(measure)
    counts = dict(zip(measure.names, measure.counts().tolist(), strict=True))
    return {
        name: {
            "accuracy": figures[name],
            "interval": list(intervals[name]),
            "pairs": counts[name],
        }
        for name in measure.names
    }


def table(models: dict[str, dict[str, Any]]) -> str:
    """Accuracies by phenomenon and in all, a column for each model."""
    first = next(iter(models.values()))
    names = [*sorted(first.get("phenomenon", {})), ALL]
    width = max(map(len, ["phenomenon", *names]))
    columns = [f"{name} ({figures['kind']})" for name, figures in models.items()]
    lines = [f"{'phenomenon':{width}}  {'pairs':>7}  " + "  ".join(columns)]
    for name in names:
        found = [m if name == ALL else m["phenomenon"][name] for m in models.values()]
        cells = [
            f"{each['accuracy']:.3f}  {each['interval'][0]:.3f} … {each['interval'][1]:.3f}"
            for each in found
        ]
        cells = [f"{cell:{len(column)}}" for cell, column in zip(cells, columns, strict=True)]
        lines.append(f"{name:{width}}  {found[0]['pairs']:>7,}  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)
