"""`elektron evaluate MODEL --blimp FILE`: which of two sentences a pre-trained model prefers.

A row of the file has a grammatical sentence, `good`, and one that differs from it in one point, `bad`, as
in BLiMP (Warstadt et al. 2020). A model is right where `good` has the higher score; equal scores count half.
A masked language model's score is the pseudo-log-likelihood (Salazar et al. 2020): the sum over the tokens
of the log-probability of each where it alone is masked. A discriminator's score is the sum of its
log-probabilities that a token is original, in one pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.accelerator import Accelerator
from elektron.allocator import keep_freed_memory
from elektron.corpus.unknown import count_unknown
from elektron.errors import ElektronError
from elektron.finetuning.config import EvaluateConfig
from elektron.finetuning.encoders import longest_input
from elektron.finetuning.metrics.measure import Measure, Rows, bootstrap
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import MINIMAL_PAIRS
from elektron.inference.pretrained import Scorer, load_scorer, logits_at, replaced_logits
from elektron.io.files import to_json
from elektron.io.folders import atomic_folder
from elektron.models.pair import DISCRIMINATOR, GENERATOR, network_of_run
from elektron.progress import Progress
from elektron.reporting import markdown
from elektron.terminal import echo

RESULT = "blimp.json"
GROUPS = ("phenomenon", "paradigm", "field")
ALL = "all"
MAX_BATCH_TOKENS = {"cpu": 8192, "cuda": 65536}
"""Maximum number of tokens in a batch, by type of device."""


class Sentence(NamedTuple):
    """Token ids of a sentence; equal sentences are scored once, so that their scores are equal."""

    input_ids: tuple[int, ...]
    scored: tuple[bool, ...]
    """False for special tokens."""


def evaluate_minimal_pairs(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a model, or both networks of a pre-training run, on minimal pairs, and print the accuracies.

    Returns:
        The content of `blimp.json`, which is written with `--out`.

    Raises:
        ElektronError: there is no such file or model, or the model is of another kind.
    """
    assert config.blimp is not None
    with atomic_folder(config.out) if config.out is not None else nullcontext() as folder:
        keep_freed_memory()
        pairs = list(read_records([config.blimp], MINIMAL_PAIRS, config, labelled=True))
        # Scores from bf16 logits are off by tenths of a nat.
        accelerator = Accelerator.choose(config.precision or "fp32")
        models = {
            name: evaluate_model(place, pairs, accelerator, config) for name, place in models_of(config.model).items()
        }
        result = {
            "model": config.model,
            "file": config.blimp,
            "device": accelerator.name,
            "precision": accelerator.precision,
            "models": models,
        }
        if folder is not None:
            (folder / RESULT).write_text(to_json(result) + "\n", encoding="utf-8")
    echo(table(models))
    return result


def models_of(name: str) -> dict[str, str]:
    """The models to evaluate, by the name shown: both networks of a pre-training run, else the one model."""
    folders = {part: network_of_run(name, part) for part in (GENERATOR, DISCRIMINATOR)}
    networks = {part: folder for part, folder in folders.items() if folder is not None}
    return networks or {Path(name).name if Path(name).exists() else name: name}


def evaluate_model(
    name: str, pairs: Sequence[Record], accelerator: Accelerator, config: EvaluateConfig
) -> dict[str, Any]:
    """Compute the accuracy of one model over all pairs and by group, with 95 % intervals.

    Raises:
        ElektronError: it is neither a masked language model nor a discriminator, or a sentence is longer
            than it can read.
    """
    scorer = load_scorer(name)
    longest = longest_input(scorer.network.config)
    read = {}
    for pair in pairs:
        for text in (pair.values["good"], pair.values["bad"]):
            read[text] = tokenized(text, scorer.tokenizer)
            if len(read[text].input_ids) > longest:
                raise ElektronError(f"{pair.where}: longer than the {longest} tokens {name} can read")
    sentences = list(dict.fromkeys(read.values()))
    texts = [str(pair.values[role]) for pair in pairs for role in ("good", "bad")]
    count_unknown(texts, scorer.tokenizer).check(str(config.blimp), config.allow_unknown)
    scores = sentence_scores(scorer, sentences, accelerator, name, config.batch_size)
    if not np.isfinite(scores).all():
        raise ElektronError(f"{name}: some of its scores are not finite: its weights are damaged")
    score_of = dict(zip(sentences, scores.tolist(), strict=True))
    margins = [score_of[read[pair.values["good"]]] - score_of[read[pair.values["bad"]]] for pair in pairs]
    preferences = np.array([0.5 if margin == 0 else float(margin > 0) for margin in margins])
    result = {"kind": scorer.kind} | accuracies(preferences, [ALL] * len(pairs))[ALL]
    for group in GROUPS:
        members = [number for number, pair in enumerate(pairs) if pair.values.get(group)]
        if members:
            result[group] = accuracies(preferences[members], [str(pairs[number].values[group]) for number in members])
    return result


def tokenized(text: str, tokenizer: PreTrainedTokenizerBase) -> Sentence:
    """Tokenize a sentence, with special tokens."""
    encoded = tokenizer(text, return_special_tokens_mask=True)
    special = encoded["special_tokens_mask"]
    return Sentence(tuple(encoded["input_ids"]), tuple(not value for value in special))


def sentence_scores(
    scorer: Scorer, sentences: Sequence[Sentence], accelerator: Accelerator, title: str, batch_size: int | None = None
) -> NDArray[np.float64]:
    """Compute the sum of log-probabilities over the tokens of each sentence: `(sentences,)`.

    A masked language model reads a sentence once for each token, a discriminator once. A batch has sentences of equal
    length: without padding, the score of a sentence does not depend on the others in its batch. The scorer is moved to
    the device; `title` is that of the progress bar.
    """
    model, mask_id = scorer.network.to(accelerator.device), scorer.mask_id
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for number, sentence in enumerate(sentences):
        by_length[len(sentence.input_ids)].append(number)
    scores = np.zeros(len(sentences))
    done = 0
    with torch.inference_mode(), accelerator.autocast(), Progress(title, None, "sequences") as progress:
        for length in sorted(by_length, reverse=True):
            numbers = np.array(by_length[length])
            input_ids = torch.tensor([sentences[number].input_ids for number in numbers])
            scored = torch.tensor([sentences[number].scored for number in numbers])
            rows, positions = scored.nonzero(as_tuple=True)
            if mask_id is None:
                rows = torch.arange(len(input_ids))
            at_once = min(MAX_BATCH_TOKENS[accelerator.device.type] // length or 1, batch_size or len(rows))
            for chosen in torch.arange(len(rows)).split(at_once):
                row = rows[chosen]
                if mask_id is None:
                    values = originality(model, input_ids[row], scored[row], accelerator)
                else:
                    values = masked_log_probability(model, mask_id, input_ids[row], positions[chosen], accelerator)
                np.add.at(scores, numbers[row.numpy()], values.double().cpu().numpy())
                done += len(row)
                progress.update(done)
    return scores


def masked_log_probability(
    model: PreTrainedModel, mask_id: int, input_ids: Tensor, positions: Tensor, accelerator: Accelerator
) -> Tensor:
    """The log-probability of the original token at one position of each row, which is masked: `(batch,)`."""
    rows = torch.arange(len(input_ids))
    targets = input_ids[rows, positions]
    input_ids[rows, positions] = mask_id
    logits = logits_at(model, input_ids.to(accelerator.device), positions.to(accelerator.device))
    return -F.cross_entropy(logits.float(), targets.to(accelerator.device), reduction="none")


def originality(model: PreTrainedModel, input_ids: Tensor, scored: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum of a discriminator's log-probabilities that the tokens of a row are original: `(batch,)`."""
    original = F.logsigmoid(-replaced_logits(model, input_ids.to(accelerator.device)))
    return torch.where(scored, original.double().cpu(), 0.0).sum(1)


def accuracies(preferences: NDArray[np.float64], groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Accuracy, its 95 % interval and the number of pairs of each group."""
    measure = accuracy_by_group(preferences, groups)
    intervals, counts = bootstrap(measure), Counter(groups)
    return {
        name: {"accuracy": value, "interval": list(intervals[name]), "pairs": counts[name]}
        for name, value in measure().items()
    }


def accuracy_by_group(preferences: NDArray[np.float64], groups: Sequence[str]) -> Measure:
    """The mean preference of each group: 1 where `good` scores higher, 0.5 where both scores are equal."""
    names, group_of = np.unique(groups, return_inverse=True)

    def compute(rows: Rows) -> dict[str, float]:
        counts = np.bincount(group_of[rows], minlength=len(names))
        sums = np.bincount(group_of[rows], weights=preferences[rows], minlength=len(names))
        found = zip(names.tolist(), sums, counts, strict=True)
        return {name: float(total / count) for name, total, count in found if count}

    return Measure(rows=len(groups), compute=compute)


def table(models: dict[str, dict[str, Any]]) -> str:
    """Format the accuracies by phenomenon and over all pairs as a Markdown table, with a column for each model."""
    rows = []
    for name in [*sorted(next(iter(models.values())).get("phenomenon", {})), ALL]:
        results = [model if name == ALL else model["phenomenon"][name] for model in models.values()]
        cells = ["{:.3f} ({:.3f} … {:.3f})".format(each["accuracy"], *each["interval"]) for each in results]
        rows.append([markdown.plain(name), f"{results[0]['pairs']:,}", *cells])
    columns = [f"{markdown.plain(name)} ({model['kind']})" for name, model in models.items()]
    return markdown.table(["phenomenon", "pairs", *columns], rows)
