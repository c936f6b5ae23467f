"""`elektron prepare`: from a corpus to a folder of blocks, on all cores or on a Ray cluster.

One process reads documents, drops copies, assigns the rest to splits, and groups them in chunks of a
limited size; workers tokenize and pack the chunks (see `engines`); the rows are written in the order of
the chunks. The result therefore does not depend on the number of workers, and memory does not depend on
the size of the corpus, except for 16 bytes per document to find copies.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from elektron.allocator import return_freed_memory
from elektron.corpus.blocks import TOKENIZER, BlockStore, BlockWriter
from elektron.corpus.config import PrepareConfig
from elektron.corpus.documents import Corpus
from elektron.corpus.engines import Chunk, Encoding, engine
from elektron.corpus.manifest import MANIFEST, MAX_EPOCHS, SPLITS, Manifest, Split
from elektron.corpus.redaction import NOT_FOUND, Redactor, by_kind, expand_kinds
from elektron.corpus.selection import Selection
from elektron.corpus.tokenizer import add_placeholders, fingerprint, load_tokenizer, placeholder_ids, special_ids
from elektron.corpus.unknown import MAX_FRACTION, Unknown
from elektron.errors import ElektronError
from elektron.io.folders import atomic_folder, is_free
from elektron.progress import Progress

log = logging.getLogger(__name__)

# Limits of a chunk, whose documents are packed together: large enough that its last row, which is mostly
# padding, does not matter, and small enough that several chunks fit into memory.
DOCUMENTS_IN_CHUNK = 2000
CHARACTERS_IN_CHUNK = 1_000_000
DOCUMENTS_AT_ONCE = 1000
"""Number of documents that are compared with the earlier ones in one call."""
MAX_REPETITIONS = 10
"""A source of a mixture that is repeated more often in an epoch gets a warning."""


def prepare(config: PrepareConfig) -> Manifest:
    """Write the blocks of a corpus, unless the same blocks exist already.

    Returns:
        The manifest of the blocks.

    Raises:
        ElektronError: the corpus or the tokenizer cannot be used, there is too little text, or
            the folder contains something else.
    """
    return_freed_memory()
    corpus = Corpus(config.corpus, config.text)
    name = ", ".join(config.corpus)
    tokenizer = load_tokenizer(config.tokenizer)
    kinds = expand_kinds(config.redact)
    Redactor(kinds)  # raises an error at once if a library is missing
    if kinds and (added := add_placeholders(tokenizer)):
        log.info(
            "%s: %d placeholders are added to its copy in the blocks, %s; if the vocabulary was trained on this text, "
            "it may contain pieces of redacted data: use elektron tokenizer --redact",
            *(config.tokenizer, len(added), " ".join(added)),
        )
    plan = Manifest(
        seq_len=config.seq_len,
        packing=config.packing,
        vocab_size=len(tokenizer),
        tokenizer=fingerprint(tokenizer),
        special_ids=special_ids(tokenizer),
        all_special_ids=sorted({*tokenizer.all_special_ids, *placeholder_ids(tokenizer)}),
        corpus=config.corpus,
        options={
            "seed": config.seed,
            "validation": config.validation,
            "deduplicate": config.deduplicate,
            "text": config.text,
            "corpus": corpus.fingerprint,
            "redact": " ".join(kinds) or None,
            **({"commits": corpus.commits} if corpus.commits else {}),
            **({"weights": corpus.weights} if corpus.weights else {}),
        },
        not_redacted=NOT_FOUND if kinds else "",
    )
    if not is_free(config.out):
        return _existing_blocks(config.out, plan)

    encoding = Encoding(tokenizer.backend_tokenizer.to_str(), plan, config.seed, tuple(kinds))
    selection = Selection(config.validation, config.seed, config.deduplicate)
    unknown, documents, redacted = Unknown(), 0, Counter(dict.fromkeys(kinds, 0))
    total = corpus.total_bytes
    with atomic_folder(config.out) as folder:
        tokenizer.save_pretrained(folder / TOKENIZER)
        writer = BlockWriter(folder, plan)
        with (
            engine(config, encoding) as pack,
            Progress("preparing", total, "documents" if total is None else "bytes") as progress,
        ):
            for chunk, packed in pack(_chunks(corpus, selection)):
                writer.write(chunk.split, packed.rows, len(chunk.texts), chunk.member)
                unknown.add(packed.unknown)
                redacted.update(packed.redacted)
                if documents == 0 and unknown.fraction > MAX_FRACTION and not config.allow_unknown:
                    unknown.check(name, allow=False)  # after the first chunk already
                documents += len(chunk.texts)
                done = documents if total is None else corpus.bytes_read
                progress.update(done, f"{documents:,} documents")
        unknown.check(name, config.allow_unknown)
        manifest = writer.finish(selection.duplicates, unknown.fraction, redacted)
        _refuse_too_little(name, config.validation, manifest)
    _log_counts(config.out, manifest)
    return manifest


def _existing_blocks(out: Path, plan: Manifest) -> Manifest:
    """The manifest of existing blocks; raises ElektronError if they are damaged or differ from the plan."""
    if not (out / MANIFEST).is_file():
        raise ElektronError(f"{out} exists and holds no blocks: choose another --out")
    store = BlockStore.open(out)
    existing = store.manifest
    settings: dict[str, tuple[Any, Any]] = {
        "row length": (existing.seq_len, plan.seq_len),
        "packing": (existing.packing, plan.packing),
    }
    for name in (plan.options.keys() | {"weights"}) - {"corpus", "commits"}:
        settings[name] = (existing.options.get(name), plan.options.get(name))
    # If the hub did not answer, then or now, the commit is assumed to be the same.
    commits = existing.options.get("commits", {})
    for source, commit in plan.options.get("commits", {}).items():
        settings[f"{source} at commit"] = (commits.get(source, commit), commit)
    differences = [f"{name} {a} there, {b} here" for name, (a, b) in settings.items() if a != b]
    differences += ["another tokenizer"] * (existing.tokenizer != plan.tokenizer)
    differences += ["another corpus"] * (existing.options.get("corpus") != plan.options["corpus"])
    if differences:
        raise ElektronError(f"{out} holds other blocks ({', '.join(differences)}): choose another --out")
    store.verify()
    log.info("%s: undamaged blocks of files with the same names and sizes already exist", out)
    return existing


def _chunks(corpus: Corpus, selection: Selection) -> Iterator[Chunk]:
    """Group the selected documents in chunks, each of one split and one member of a mixture.

    The chunks do not depend on the engine. Training documents of members with weight 0 are left out.
    """
    pending: dict[Split, list[str]] = {split: [] for split in SPLITS}
    characters = dict.fromkeys(SPLITS, 0)
    numbers, member = count(), ""
    documents = iter(corpus)

    def chunk_of(split: Split) -> Chunk:
        chunk = Chunk(next(numbers), split, pending[split], member)
        pending[split], characters[split] = [], 0
        return chunk

    while batch := list(islice(documents, DOCUMENTS_AT_ONCE)):
        for split, document in selection.select(batch):
            if document.member != member:
                yield from [chunk_of(split) for split in SPLITS if pending[split]]
                member = document.member
            if split == "train" and not corpus.weights.get(member, 1):
                continue
            pending[split].append(document.text)
            characters[split] += len(document.text)
            if len(pending[split]) == DOCUMENTS_IN_CHUNK or characters[split] >= CHARACTERS_IN_CHUNK:
                yield chunk_of(split)
    yield from [chunk_of(split) for split in SPLITS if pending[split]]


def _refuse_too_little(name: str, held_out: float, manifest: Manifest) -> None:
    """Raise ElektronError if there is nothing to train on or to evaluate on."""
    train, validation = (manifest.splits[split] for split in SPLITS)
    if held_out and train.documents + validation.documents == 1:
        raise ElektronError(f"{name}: only one document, which cannot be split: give more documents, or --validation 0")
    if not train.rows:
        raise ElektronError(f"{name}: nothing to train on: give more text, or a --validation below {held_out}")
    if held_out and not validation.rows:
        raise ElektronError(f"{name}: no text in the held-out documents: give more documents, or --validation 0")
    for member, weight in manifest.weights.items():
        needed = [train] * (weight > 0) + [validation] * (held_out > 0 or not weight)
        if not all(split.members[member].rows for split in needed):
            purpose = "to train on and to hold out" if weight else "to hold out"
            raise ElektronError(
                f"{member}: too little text, or only copies of other sources, {purpose} (--validation {held_out:g})"
            )
        if max(split.members[member].epochs for split in needed) >= MAX_EPOCHS:
            raise ElektronError(
                f"{member}: far too little text for its weight of {weight:g}: it would be repeated too often"
            )


def _log_counts(out: Path, manifest: Manifest) -> None:
    train, validation = (manifest.splits[split] for split in SPLITS)
    documents, rows, tokens = (
        getattr(train, name) + getattr(validation, name) for name in ("documents", "rows", "tokens")
    )
    padding = 100 * (1 - tokens / (rows * manifest.seq_len))
    log.info(f"{documents:,} documents ({validation.documents:,} held out), {manifest.duplicates:,} duplicates dropped")
    log.info(f"{rows:,} rows of {manifest.seq_len}, {tokens:,} tokens, {padding:.2f} % padding")
    for member, weight in manifest.weights.items():
        counts = (train if weight else validation).members[member]
        what = f"{weight:.3f} of the mixture" if weight else "held out only"
        epochs = f", {counts.epochs:.2f} times in an epoch" if weight else ""
        log.info(f"{member}: {what}, {counts.documents:,} documents, {counts.tokens:,} tokens{epochs}")
        if weight and counts.epochs > MAX_REPETITIONS:
            log.warning(
                f"{member}: it is repeated {counts.epochs:,.0f} times in an epoch; beyond some {MAX_REPETITIONS} "
                "passes held-out losses usually rise: give it a smaller weight"
            )
    if manifest.redacted:
        log.info("redacted: %s; %s", by_kind(manifest.redacted), NOT_FOUND)
    log.info("%s is ready: elektron pretrain --data %s --out run", out, out)
