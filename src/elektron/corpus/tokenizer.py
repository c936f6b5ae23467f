"""`elektron tokenizer`: train a tokenizer on a corpus; and load any tokenizer for pre-training."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.documents import Corpus, Sample
from elektron.corpus.redaction import NOT_FOUND, PLACEHOLDERS, Redactor, expand_kinds, replaced
from elektron.corpus.unknown import count_unknown
from elektron.corpus.vocabulary import SPECIAL_TOKENS, suggest_kind, train_backend_tokenizer
from elektron.errors import ElektronError
from elektron.hub import has_capitals, load_tokenizer_files
from elektron.io.checksums import text_sha256
from elektron.io.datasets import refuse_missing_folder
from elektron.io.files import MALFORMED, read_json
from elektron.io.folders import atomic_folder, is_free

log = logging.getLogger(__name__)

NEEDED = ("pad", "unk", "cls", "sep", "mask")
"""Special tokens that pre-training needs, in the order of SPECIAL_TOKENS."""
MADE_FROM = "made_from.json"
# A vocabulary with more than this fraction of pieces in capitals was not made for lowercased text.
CAPITALS = 0.01
# Text is truncated here by default; the models of the recipes have as many positions.
MODEL_MAX_LENGTH = 512


def train_tokenizer(config: TokenizerConfig) -> PreTrainedTokenizerBase:
    """Train a tokenizer and write it to `config.out`, or load it if it is there already.

    Raises:
        ElektronError: the corpus cannot be read or does not support so large a vocabulary, or
            the folder contains something else.
    """
    corpus = Corpus(config.corpus, config.text)
    name = ", ".join(config.corpus)
    ignored = ("corpus", "out", "allow_unknown")
    options = {key: value for key, value in asdict(config).items() if key not in ignored}
    kinds = expand_kinds(config.redact)
    redactor = Redactor(kinds)
    options["redact"] = " ".join(kinds) or None
    made_from = {"corpus": config.corpus, "corpus_fingerprint": corpus.fingerprint, "options": options}
    if not is_free(config.out):
        _refuse_another(config.out, made_from)
        log.info("%s: the same tokenizer already exists", config.out)
        return load_tokenizer(str(config.out))

    placeholders = len(PLACEHOLDERS) if kinds else 0
    if config.vocab_size <= len(SPECIAL_TOKENS) + placeholders:
        least = len(SPECIAL_TOKENS) + placeholders + 1
        raise ElektronError(f"--vocab-size must be at least {least} with the placeholders of --redact")
    if corpus.weights:
        log.warning("%s: weights only have an effect in `elektron prepare`", name)
    with atomic_folder(config.out) as folder:
        texts = partial(_texts, corpus, redactor)
        room = config.vocab_size - placeholders
        selected, total = 1, 1
        if config.max_documents is not None:
            total = sum(1 for _ in _texts(corpus, Redactor([]), 1, 1, "counting documents"))
            selected = min(config.max_documents, total)
        sample = Sample()
        for text in texts(selected, total, "sampling"):
            sample.add(text)
        kind, reason = suggest_kind(sample.texts)
        if config.kind is None:
            log.info("--kind %s: %s", kind, reason)
        learned = train_backend_tokenizer(
            config.kind or kind, replace(config, vocab_size=room), partial(texts, selected, total)
        )
        tokenizer = _wrapped(learned)
        if kinds:
            add_placeholders(tokenizer)
            log.info("redacted: %s; %s", " ".join(kinds), NOT_FOUND)
        size = len(tokenizer)
        if size < config.vocab_size:
            raise ElektronError(
                f"{name}: supports a vocabulary of {size:,} pieces, not {config.vocab_size:,}: give more text, or "
                f"--vocab-size {size} or less"
            )
        count_unknown(sample.texts, tokenizer).check(name, config.allow_unknown)
        tokenizer.save_pretrained(folder)
        text = json.dumps(made_from, indent=1, ensure_ascii=False)
        (folder / MADE_FROM).write_text(text, encoding="utf-8")
    log.info("%s: a vocabulary of %s pieces", config.out, f"{size:,}")
    return tokenizer


def train_tokenizer_on(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer of the suggested kind on these texts, with at most `vocab_size` entries."""
    config = TokenizerConfig(corpus=[], out=Path(), vocab_size=vocab_size)
    kind, _ = suggest_kind(texts)
    return _wrapped(train_backend_tokenizer(kind, config, lambda _: iter(texts)))


def load_tokenizer(name: str, needed: Sequence[str] = NEEDED) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or the hub that has the special tokens `needed`.

    Raises:
        ElektronError: it does not exist, is damaged, is not one of the `tokenizers` library, or
            lacks a special token.
    """
    folder = Path(name)
    if folder.exists() and not any(
        (folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    ):
        raise ElektronError(f"{name}: no tokenizer (no tokenizer.json): make one with `elektron tokenizer`")
    refuse_missing_folder(name)
    tokenizer = load_tokenizer_files(name)
    if not tokenizer.is_fast:
        raise ElektronError(f"{name}: has no tokenizer.json, which the `tokenizers` library needs")
    missing = [kind for kind in needed if getattr(tokenizer, f"{kind}_token_id") is None]
    if missing:
        raise ElektronError(f"{name}: the tokenizer lacks {', '.join(missing)}; it needs all of {', '.join(needed)}")
    ids = [getattr(tokenizer, f"{kind}_token_id") for kind in needed]
    if len(set(ids)) < len(ids):
        raise ElektronError(
            f"{name}: some of the special tokens {', '.join(needed)} have the same id: each needs its own"
        )
    if not tokenizer("a")["input_ids"]:
        raise ElektronError(f"{name}: the tokenizer returns no tokens for a text: is tokenizer.json damaged?")
    _warn_of_capitals(name, tokenizer)
    return tokenizer


def add_placeholders(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Add the placeholders of all kinds of `--redact` that a tokenizer lacks; returns the added ones.

    They are not special tokens: `prepare` reads the text of a special token as ordinary words, and decoding may skip
    special tokens.
    """
    added = tokenizer.get_added_vocab()
    missing = [token for token in PLACEHOLDERS.values() if token not in added]
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in missing])
    return missing


def placeholder_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of the placeholders that a tokenizer has; like special tokens, they are never masked."""
    added = tokenizer.get_added_vocab()
    return [added[token] for token in PLACEHOLDERS.values() if token in added]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Ids of `pad`, `unk`, `cls`, `sep` and `mask`."""
    return {kind: int(getattr(tokenizer, f"{kind}_token_id")) for kind in NEEDED}


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of everything that the token ids of a text depend on.

    It does not change by saving and loading, and does not depend on truncation or padding.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    del content["truncation"], content["padding"]
    content["special_tokens"] = {kind: getattr(tokenizer, f"{kind}_token") for kind in NEEDED}
    return text_sha256(json.dumps(content, sort_keys=True))


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    """Wrap it for transformers; AutoTokenizer can load the result from `tokenizer.json` alone."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MODEL_MAX_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{kind}_token": token for kind, token in zip(NEEDED, SPECIAL_TOKENS, strict=True)},
    )


def _refuse_another(out: Path, made_from: dict[str, Any]) -> None:
    """Raise ElektronError unless the folder contains the tokenizer that would be made."""
    try:
        existing = read_json(out / MADE_FROM)
        options, corpus = dict(existing["options"]), existing["corpus_fingerprint"]
    except (OSError, *MALFORMED):
        raise ElektronError(f"{out} exists and was not written by `elektron tokenizer`: choose another --out") from None
    differences = [
        f"--{name.replace('_', '-')} {options.get(name)} there, {value} here"
        for name, value in made_from["options"].items()
        if options.get(name) != value
    ]
    if corpus != made_from["corpus_fingerprint"]:
        differences.append("another corpus")
    if differences:
        raise ElektronError(f"{out} holds another tokenizer ({', '.join(differences)}): choose another --out")


def _warn_of_capitals(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Warn if text is lowercased although the vocabulary has capitals."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("A") != "a":
        return
    special = set(tokenizer.all_special_tokens)
    pieces = [p for p in tokenizer.get_vocab() if p not in special and not p.startswith("[unused")]
    capitals = sum(map(has_capitals, pieces))
    if capitals > CAPITALS * len(pieces):
        log.warning(
            f"{name}: text is lowercased, and {capitals:,} of {len(pieces):,} pieces of the vocabulary have capitals "
            "and are never used: set do_lower_case to false in tokenizer_config.json"
        )


def _texts(corpus: Corpus, redactor: Redactor, selected: int, total: int, title: str) -> Iterator[str]:
    """The texts of `selected` out of `total` documents, evenly spread, with the findings of `redactor` left out."""
    for number, document in enumerate(corpus.with_progress(title)):
        if number * selected % total < selected:
            text = document.text
            # A space and not a placeholder: placeholders are added afterwards as whole tokens.
            yield replaced(text, redactor.find(text), lambda _: " ")
