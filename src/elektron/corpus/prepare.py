"""From a corpus to a folder of blocks, on all cores of this machine or of a Ray cluster.

One process reads documents, drops copies and decides what is held out; it gathers chunks of a
fixed size, which workers tokenize and pack (see `engines`); the rows are written in the order of
the chunks. So the bytes do not depend on who works or how many, and memory does not depend on the
size of the corpus, but for the 16 bytes that each document leaves for finding its copies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from elektron.allocator import return_freed_memory
from elektron.corpus.blocks import TOKENIZER, BlockStore, BlockWriter
from elektron.corpus.config import PrepareConfig
from elektron.corpus.documents import Corpus, Document
from elektron.corpus.encoding import Encoding
from elektron.corpus.engines import Chunk, engine
from elektron.corpus.manifest import MANIFEST, SPLITS, Manifest, Split
from elektron.corpus.selection import Selection
from elektron.corpus.unknown import TOO_MUCH, Unknown
from elektron.corpus.vocabulary import fingerprint, load_tokenizer, special_ids
from elektron.errors import ElektronError
from elektron.io.folders import atomic_folder, is_free
from elektron.progress import Progress

log = logging.getLogger(__name__)

# A chunk is what is packed together: enough that its last row, the only one that is mostly
# padding, does not count, and little enough that a few of them wait in memory.
DOCUMENTS_IN_CHUNK = 2000
CHARACTERS_IN_CHUNK = 1_000_000
# Documents that are looked at together when copies are dropped.
DOCUMENTS_AT_ONCE = 1000
SHORTEST_ROW = 8
SOURCES = ("corpus", "commits")
"""Options that say what was read; the others say what was made of it."""


def prepare(config: PrepareConfig) -> Manifest:
    """Write the blocks of a corpus, or find that they are there already.

    Raises:
        ElektronError: the corpus or the tokenizer cannot be used, there is too little text, or
            the folder holds something else.
    """
    return_freed_memory()
    corpus = Corpus(config.corpus, config.text)
    tokenizer = load_tokenizer(config.tokenizer)
    plan = Manifest(
        seq_len=config.seq_len,
        packing=config.packing,
        vocab_size=len(tokenizer),
        tokenizer=fingerprint(tokenizer),
        special_ids=special_ids(tokenizer),
        all_special_ids=sorted(tokenizer.all_special_ids),
        corpus=config.corpus,
        options={
            "seed": config.seed,
            "validation": config.validation,
            "deduplicate": config.deduplicate,
            "text": config.text,
            "corpus": corpus.fingerprint,
            **({"commits": corpus.commits} if corpus.commits else {}),
        },
    )
    if not is_free(config.out):
        return _blocks_there(config.out, plan)

    encoding = Encoding(
        tokenizer=tokenizer.backend_tokenizer.to_str(),
        special_ids=plan.special_ids,
        all_special_ids=plan.all_special_ids,
        vocab_size=plan.vocab_size,
        packing=plan.packing,
        seq_len=plan.seq_len,
        seed=config.seed,
        dtype=plan.dtype.name,
    )
    selection = Selection(config.validation, config.seed, config.deduplicate)
    with atomic_folder(config.out) as folder:
        tokenizer.save_pretrained(folder / TOKENIZER)
        writer = BlockWriter(folder, plan)
        total = corpus.total_bytes
        with (
            engine(config, encoding) as rows_of,
            Progress("preparing", total, "documents" if total is None else "bytes") as progress,
        ):
            documents = 0
            unknown, name = Unknown(), ", ".join(config.corpus)
            for chunk, packed in rows_of(_chunks(corpus, selection)):
                writer.write(chunk.split, packed.rows, len(chunk.texts))
                unknown.add(packed.unknown)
                if documents == 0 and unknown.share > TOO_MUCH and not config.allow_unknown:
                    unknown.check(name, allow=False)  # not only when all has been read
                documents += len(chunk.texts)
                progress.update(
                    documents if total is None else corpus.bytes_read, f"{documents:,} documents"
                )
        unknown.check(name, config.allow_unknown)
        manifest = writer.finish(selection.duplicates, unknown.share)
        _refuse_too_little(config, manifest)
    _say_what_there_is(config.out, manifest)
    return manifest


def _blocks_there(out: Path, plan: Manifest) -> Manifest:
    """The manifest of blocks that are already there, if they are whole and those of the plan."""
    if not (out / MANIFEST).is_file():
        raise ElektronError(f"{out} exists and holds no blocks: choose another --out")
    store = BlockStore.open(out)
    there = store.manifest
    different = [
        f"{name} {before} there, {now} here"
        for name, before, now in (
            ("row length", there.seq_len, plan.seq_len),
            ("packing", there.packing, plan.packing),
            *((n, there.options.get(n), v) for n, v in plan.options.items() if n not in SOURCES),
        )
        if before != now
    ]
    if there.tokenizer != plan.tokenizer:
        different.append("another tokenizer")
    if there.options.get("corpus") != plan.options["corpus"]:
        different.append("another corpus")
    # A commit that the hub did not tell, then or now, is not held against the blocks.
    commits = there.options.get("commits", {})
    different += [
        f"{source} at commit {commits[source]} there, {commit} here"
        for source, commit in plan.options.get("commits", {}).items()
        if commits.get(source, commit) != commit
    ]
    if different:
        raise ElektronError(
            f"{out} holds other blocks ({', '.join(different)}): choose another --out"
        )
    store.verify()
    log.info("%s: the same blocks are there already, and whole", out)
    return there


def _chunks(corpus: Iterable[Document], selection: Selection) -> Iterator[Chunk]:
    """Chunks in an order that depends on the corpus alone."""
    waiting: dict[Split, list[str]] = {split: [] for split in SPLITS}
    characters = dict.fromkeys(SPLITS, 0)
    number = 0
    documents = iter(corpus)
    while batch := list(islice(documents, DOCUMENTS_AT_ONCE)):
        for split, text in selection.of(batch):
            waiting[split].append(text)
            characters[split] += len(text)
            if (
                len(waiting[split]) == DOCUMENTS_IN_CHUNK
                or characters[split] >= CHARACTERS_IN_CHUNK
            ):
                yield Chunk(number, split, waiting[split])
                waiting[split], characters[split] = [], 0
                number += 1
    for split in SPLITS:
        if waiting[split]:
            yield Chunk(number, split, waiting[split])
            number += 1


def _refuse_too_little(config: PrepareConfig, manifest: Manifest) -> None:
    """Raise ElektronError where there would be nothing to train or to evaluate on."""
    train, validation = (manifest.splits[split] for split in SPLITS)
    if config.validation and train.documents + validation.documents == 1:
        raise ElektronError(
            f"{', '.join(config.corpus)}: one document only, which cannot be split: give more "
            "documents, or --validation 0"
        )
    if not train.rows:
        raise ElektronError(
            f"{', '.join(config.corpus)}: nothing to train on: give more text or a lower "
            f"--validation than {config.validation}"
        )
    if config.validation and not validation.rows:
        raise ElektronError(
            f"{', '.join(config.corpus)}: nothing to evaluate on, the documents held out hold no "
            "text: give more documents, or --validation 0"
        )


def _say_what_there_is(out: Path, manifest: Manifest) -> None:
    splits = manifest.splits.values()
    rows = sum(split.rows for split in splits)
    tokens = sum(split.tokens for split in splits)
    log.info(
        "%s documents (%s held out), %s duplicates dropped",
        f"{sum(split.documents for split in splits):,}",
        f"{manifest.splits['validation'].documents:,}",
        f"{manifest.duplicates:,}",
    )
    log.info(
        "%s rows of %s, %s tokens, %.2f %% padding",
        f"{rows:,}",
        manifest.seq_len,
        f"{tokens:,}",
        100 * (1 - tokens / (rows * manifest.seq_len)),
    )
    log.info("%s is ready: elektron pretrain --data %s --out run", out, out)
