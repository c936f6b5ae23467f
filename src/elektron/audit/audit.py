"""`elektron audit RUN`: measure what a pre-trained generator and discriminator memorized of their corpus.

Two measurements for each network:

- Canaries: planted secrets are ranked among random ones (see `canaries`).
- Membership inference from the loss alone (Yeom et al. 2018): how well it separates training rows from held-out rows,
  as the AUC and the true-positive rate at 1 % false positives (Carlini et al. 2022).

The scores are those of `elektron evaluate --blimp`. A masked language model scores the log-probability of each token,
masked one at a time; a discriminator scores the log-probability that each token is original. A negative result does not
prove that nothing is memorized: stronger attacks exist.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import combine_pvalues
from sklearn.metrics import auc, roc_curve
from transformers import PreTrainedTokenizerBase

from elektron.accelerator import Accelerator
from elektron.allocator import keep_freed_memory
from elektron.audit.canaries import Secret, as_sentence, exposure, rank, read_secrets
from elektron.audit.config import AuditConfig
from elektron.corpus.blocks import BlockStore, Rows
from elektron.errors import ElektronError
from elektron.finetuning.metrics.measure import Measure, bootstrap
from elektron.finetuning.metrics.measure import Rows as Chosen
from elektron.inference.minimal_pairs import Sentence, models_of, sentence_scores
from elektron.inference.pretrained import Scorer, load_scorer
from elektron.io.files import to_json
from elektron.io.folders import atomic_folder
from elektron.pretraining.config import CORPUS, SUMMARY
from elektron.pretraining.randomness import rows_from
from elektron.pretraining.run import RunFolder, load_settings
from elektron.pretraining.schedules import Curriculum
from elektron.reporting.page import Inline, Report, Section, Table, note, text
from elektron.terminal import echo

log = logging.getLogger(__name__)

RESULT, REPORT = "audit.json", "report.html"
SIGNIFICANCE_LEVEL = 0.01
"""Probability of reporting any group of secrets as remembered if none is (Bonferroni correction over all groups)."""
MOST_MASKED = 32
"""Maximum number of tokens of a row, evenly spread, that a masked language model scores."""
PLANTED = "Planted secrets"

CANARIES_NOTE = (
    "A secret's rank is among random ones of the same form. p is the probability of such ranks for a model that knows "
    f"nothing of the secrets; those with the same number of copies are tested together and called remembered where p "
    f"is below {SIGNIFICANCE_LEVEL:g} divided by the number of tests. By chance, the exposure is 1.4 bits on average."
)
MEMBERS_NOTE = (
    "How well the loss of a row tells whether it was trained on. 50 % is chance; a 95 % interval above it shows "
    "that training rows are remembered on average. The other metric is the fraction of training rows that are "
    "recognised at 1 % false positives. Stronger attacks exist: a value near chance does not prove that nothing is "
    "remembered."
)


def audit(config: AuditConfig) -> dict[str, Any]:
    """Audit a run, print the result, and write it to `config.out` if that is set.

    Returns:
        `rows` and `held_out`, the numbers of training and held-out rows that were compared, and `models`, the
        result of `audit_model` by name of the network.

    Raises:
        ElektronError: the run is not finished, its blocks are missing or are not those it was trained on, or
            there are no held-out rows to compare.
    """
    with atomic_folder(config.out) if config.out is not None else nullcontext() as folder:
        keep_freed_memory()
        run = RunFolder(config.run, writes=False)
        if not run.finished:
            raise ElektronError(f"{config.run} is not a finished run of `elektron pretrain`")
        secrets = read_secrets(config.canaries) if config.canaries is not None else []
        store, seen = blocks_of(config, run)
        rows, membership = compared_rows(store, seen, config)
        accelerator = Accelerator.choose(config.precision)
        models = {
            name: audit_model(place, rows, membership, secrets, config, accelerator)
            for name, place in models_of(str(config.run)).items()
        }
        groups = [group for model in models.values() for group in model.get("canaries", [])]
        for group in groups:
            group["remembered"] = group["p"] <= SIGNIFICANCE_LEVEL / len(groups)
        counts = {"rows": int(membership.sum()), "held_out": int((~membership).sum())}
        result: dict[str, Any] = {**counts, "models": models}
        if folder is not None:
            (folder / RESULT).write_text(to_json(result, indent=1) + "\n", encoding="utf-8")
            report(config.run.resolve().name, result).write(folder / REPORT)
    for title, table in tables(result).items():
        echo(f"{title}\n{table.markdown()}\n")
    return result


def blocks_of(config: AuditConfig, run: RunFolder) -> tuple[BlockStore, int]:
    """The blocks that a run was trained on, and the number of rows that it has read from them.

    Raises:
        ElektronError: the blocks are missing, or are not those that the run was trained on.
    """
    settings = load_settings(config.run)
    folder = config.data or settings.data
    assert folder is not None  # a run has blocks
    try:
        store = BlockStore.open(folder)
    except ElektronError as error:
        raise ElektronError(f"{error}; give the folder of the run's blocks with --data") from error
    if store.fingerprint != run.read_json(CORPUS).get("fingerprint"):
        raise ElektronError(f"{folder}: not the blocks that {config.run} was trained on")
    steps = int(run.read_json(SUMMARY).get("steps", 0))
    return store, Curriculum(settings, store.manifest.seq_len).rows_before(steps)


def compared_rows(store: BlockStore, seen: int, config: AuditConfig) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sample training rows and held-out rows, the same number of each from each source of a mixture.

    Args:
        store: the blocks of the run.
        seen: number of rows that the run has read, from the beginning of its data order.
        config: settings of the audit.

    Returns:
        `(rows, seq_len)` token ids, and `(rows,)` membership, True for training rows.

    Raises:
        ElektronError: no row is held out, or none from a source that was trained on.
    """
    held_out, train = store.rows("validation"), store.rows("train")
    if not len(held_out) or not seen:
        raise ElektronError(
            f"{store.folder}: the blocks have no held-out rows to compare with: prepare with --validation above 0"
        )
    seed = load_settings(config.run).seed
    order = rows_from(0, min(seen, len(train)), len(train), seed)
    rng = np.random.default_rng(config.seed)
    samples: list[tuple[Rows, NDArray[np.int64]]] = []
    others = rng.permutation(len(held_out))[: config.rows]
    # The same number from each source; otherwise the topic could tell training rows from held-out rows.
    sources = held_out.member_of(others), train.member_of(order)
    for source in np.unique(sources[0]):
        inside = [numbers[of == source] for numbers, of in zip((others, order), sources, strict=True)]
        count = min(map(len, inside))
        samples += [(held_out, inside[0][:count]), (train, rng.permutation(inside[1])[:count])]
    if not any(len(numbers) for _, numbers in samples):
        raise ElektronError(f"{store.folder}: no held-out row comes from a source that was trained on")
    rows = np.concatenate([split.take(numbers) for split, numbers in samples])
    membership = np.concatenate([np.full(len(n), split is train) for split, n in samples])
    if membership.sum() < 100:
        log.warning("only %d held-out rows: the intervals will be wide", (~membership).sum())
    return rows, membership


def audit_model(
    folder: str,
    rows: NDArray[np.int64],
    membership: NDArray[np.bool_],
    secrets: Sequence[Secret],
    config: AuditConfig,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Measure what one of the two networks remembers.

    Args:
        folder: folder of the network.
        rows: `(rows, seq_len)` token ids.
        membership: `(rows,)`, whether each row was trained on.
        secrets: planted secrets; may be empty.
        config: settings of the audit.
        accelerator: the device and the precision.

    Returns:
        `members`: AUC and true-positive rate with their intervals; with secrets also `canaries`, the result of
        `canary_ranks`.

    Raises:
        ElektronError: the rows are too short to be compared, or the tokenizer cannot represent a secret.
    """
    scorer, name = load_scorer(folder), Path(folder).name
    parts = [longest_part(row, scorer.tokenizer, scorer.mask_id is not None) for row in rows]
    long = np.array([sum(part.scored) >= 8 for part in parts])  # fewer tokens say too little about a row
    parts = [part for part, kept in zip(parts, long, strict=True) if kept]
    membership = membership[long]
    if not 0 < membership.sum() < len(membership):
        raise ElektronError(f"{config.run}: its rows are too short to be compared")
    means = sentence_scores(scorer, parts, accelerator, f"{name}: rows") / [sum(part.scored) for part in parts]
    measure = membership_measure(membership, means)
    result: dict[str, Any] = {"members": measure() | {"intervals": {n: list(e) for n, e in bootstrap(measure).items()}}}
    if secrets:
        result["canaries"] = canary_ranks(secrets, scorer, config, accelerator, name)
    return result


def longest_part(row: NDArray[np.int64], tokenizer: PreTrainedTokenizerBase, masked: bool) -> Sentence:
    """The longest document, or part of a document, in a packed row `(seq_len,)`.

    If tokens are `masked` one at a time, at most MOST_MASKED of them are scored.
    """
    row = row[row != tokenizer.pad_token_id]
    starts = np.flatnonzero(row == tokenizer.cls_token_id)
    part = max(np.split(row, starts[1:]), key=len)
    scored = ~np.isin(part, tokenizer.all_special_ids)
    if masked and scored.sum() > MOST_MASKED:
        places = np.flatnonzero(scored)
        scored[:] = False
        scored[places[np.linspace(0, len(places) - 1, MOST_MASKED, dtype=np.int64)]] = True
    return Sentence(tuple(part.tolist()), tuple(scored.tolist()))


def membership_measure(membership: NDArray[np.bool_], scores: NDArray[np.float64]) -> Measure:
    """AUC and true-positive rate at 1 % false positives of predicting membership from scores.

    Args:
        membership: `(rows,)`, whether each row was trained on.
        scores: `(rows,)`; a higher score predicts that the row was trained on.
    """

    def compute(chosen: Chosen) -> dict[str, float]:
        inside = membership[chosen]
        if inside.all() or not inside.any():
            return {}
        false, true, _ = roc_curve(inside, scores[chosen], drop_intermediate=False)
        at = np.searchsorted(false, 0.01, side="right") - 1
        return {"auc": float(auc(false, true)), "tpr": float(true[at])}

    return Measure(rows=len(membership), compute=compute)


def canary_ranks(
    secrets: Sequence[Secret], scorer: Scorer, config: AuditConfig, accelerator: Accelerator, name: str
) -> list[dict[str, Any]]:
    """Rank each secret among random candidates.

    Returns:
        For each number of copies: the ranks and exposures of its secrets, and one p-value for all of them (Fisher's
        method).
    """
    rng = random.Random(config.seed)
    groups: dict[int | None, list[int]] = {}
    for number, secret in enumerate(secrets, start=1):
        texts = [secret.text, *(secret.with_other(rng) for _ in range(config.candidates))]
        sentences = [as_sentence(each, secret, scorer.tokenizer) for each in texts]
        scores = sentence_scores(scorer, sentences, accelerator, f"{name}: secret {number} of {len(secrets)}").tolist()
        groups.setdefault(secret.copies, []).append(rank(scores[0], scores[1:]))
    return [
        {
            "copies": copies,
            "ranks": ranks,
            "exposure": [round(exposure(place, config.candidates), 2) for place in ranks],
            "candidates": config.candidates,
            "p": float(combine_pvalues([place / (config.candidates + 1) for place in ranks]).pvalue),
        }
        for copies, ranks in groups.items()
    ]


def tables(result: dict[str, Any]) -> dict[str, Table]:
    """The result as tables by title."""
    members: list[list[Inline]] = []
    canaries: list[list[Inline]] = []
    for name, model in result["models"].items():
        metrics = model["members"]
        intervals = {metric: "{:.1%} … {:.1%}".format(*ends) for metric, ends in metrics["intervals"].items()}
        members.append([name, f"{metrics['auc']:.1%}", intervals["auc"], f"{metrics['tpr']:.1%}", intervals["tpr"]])
        for group in model.get("canaries", []):
            ranks = ", ".join(f"{place:,}" for place in group["ranks"])
            bits = ", ".join(f"{bits:.1f}" for bits in group["exposure"])
            copies = "–" if group["copies"] is None else f"{group['copies']:,}"
            verdict = "remembered" if group["remembered"] else "not found"
            canaries.append([name, copies, ranks, bits, f"{group['p']:.2g}", verdict])
    head = ["network", "AUC", "95 % interval", "recognised at 1 %", "95 % interval"]
    title = f"{result['rows']:,} training rows against {result['held_out']:,} held-out rows"
    both = {title: Table(head, members)}
    if canaries:
        both[PLANTED] = Table(["network", "copies", "ranks", "exposure in bits", "p", "verdict"], canaries)
    return both


def report(name: str, result: dict[str, Any]) -> Report:
    """The report of a result as a page."""
    return Report(
        title=name,
        kind="audit",
        heading=[f"What the pair remembers: {name}"],
        sections=[
            Section(title, [table, note(CANARIES_NOTE if title == PLANTED else MEMBERS_NOTE)])
            for title, table in tables(result).items()
        ],
        blocks=[text("Measured on the run’s own blocks; texts and secrets are not shown.")],
    )
