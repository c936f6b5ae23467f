"""Train a WordPiece tokenizer on a corpus, and load any tokenizer that pre-training can use.

The tokenizer is BERT's: punctuation and Chinese characters stand alone, words are cut into the
longest pieces that the vocabulary has. Accents are kept unless asked. Unlike BERT's, it composes
characters (NFC) and splits words of more than LONGEST_WORD characters, which would become [UNK].

Training gives the same bytes for the same documents. The trainer of the `tokenizers` library
numbers the characters that it meets in an order that changes from run to run, and ties between
merges follow these numbers. So the characters are counted first and handed to the trainer in
order, as special tokens, which are numbered as they come; afterwards they are ordinary pieces.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from transformers import BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.documents import Corpus, Sample
from elektron.corpus.unknown import count_unknown
from elektron.errors import ElektronError
from elektron.hub import has_capitals, load_tokenizer_files
from elektron.io.datasets import refuse_missing_folder
from elektron.io.folders import atomic_folder, is_free
from elektron.progress import Progress

log = logging.getLogger(__name__)

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NEEDED = ("pad", "unk", "cls", "sep", "mask")
CONTINUATION = "##"
MADE_FROM = "made_from.json"

# The rarest characters, together this share of the text, become [UNK]: a corpus from the web has
# thousands that occur a few times each and would fill the vocabulary.
RARE_CHARACTERS_SHARE = 1e-4
# But not as long as all characters together take less than this share of the vocabulary, or so many pieces of a
# small one (at most half of it): every word with an unknown character is lost whole.
ALPHABET_SHARE, SMALL_ALPHABET = 0.1, 500
# WordPiece's own limit. Protein sequences and scripts without spaces, such as Thai, have longer words.
LONGEST_WORD = 100
# A vocabulary with more than this share of pieces in capitals was not made for lowercased text.
CAPITALS_SHARE = 0.01
# What reads a text without being told otherwise cuts it here; the recipes' models read as much.
MODEL_MAX_LENGTH = 512


def train_tokenizer(config: TokenizerConfig) -> PreTrainedTokenizerBase:
    """Train a tokenizer and write it to `config.out`, or load the one that is there already.

    Raises:
        ElektronError: the corpus cannot be read or does not support so large a vocabulary, or
            the folder holds something else.
    """
    corpus = Corpus(config.corpus, config.text)
    made_from = _made_from(config, corpus)
    if not is_free(config.out):
        _refuse_another(config.out, made_from)
        log.info("%s: the same tokenizer is there already", config.out)
        return load_tokenizer(str(config.out))

    with atomic_folder(config.out) as folder:
        chosen = _chosen_documents(config, corpus)
        sample = Sample()
        vocabulary = _learn_vocabulary(config, lambda title: _texts(title, corpus, chosen), sample)
        if len(vocabulary) < config.vocab_size:
            raise ElektronError(
                f"{', '.join(config.corpus)}: supports a vocabulary of {len(vocabulary):,} pieces, not "
                f"{config.vocab_size:,}: give --vocab-size {len(vocabulary)} or less, or more text"
            )
        tokenizer = _tokenizer(vocabulary, config)
        count_unknown(sample.texts, tokenizer).check(", ".join(config.corpus), config.allow_unknown)
        tokenizer.save_pretrained(folder)
        (folder / MADE_FROM).write_text(
            json.dumps(made_from, indent=1, ensure_ascii=False), encoding="utf-8"
        )
    log.info("%s: a vocabulary of %s pieces", config.out, f"{len(tokenizer):,}")
    return tokenizer


def learn_tokenizer(
    texts: Sequence[str], most: int, lowercase: bool = False
) -> PreTrainedTokenizerBase:
    """A tokenizer for these texts, with `most` entries or as many as they support."""
    config = TokenizerConfig(corpus=[], out=Path(), vocab_size=most, lowercase=lowercase)
    return _tokenizer(_learn_vocabulary(config, lambda _: iter(texts), Sample()), config)


def load_tokenizer(name: str, needed: Sequence[str] = NEEDED) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or the hub that has the special tokens pre-training needs, or others.

    Raises:
        ElektronError: it does not exist, is damaged, is not one of the `tokenizers` library, or
            lacks a special token.
    """
    folder = Path(name)
    if folder.exists() and not any(
        (folder / file).is_file()
        for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    ):
        raise ElektronError(
            f"{name}: no tokenizer (no tokenizer.json): `elektron tokenizer` makes one"
        )
    refuse_missing_folder(name)
    tokenizer = load_tokenizer_files(name)
    if not tokenizer.is_fast:
        raise ElektronError(f"{name}: has no tokenizer.json, which the `tokenizers` library needs")
    missing = [kind for kind in needed if getattr(tokenizer, f"{kind}_token_id") is None]
    if missing:
        raise ElektronError(
            f"{name}: the tokenizer lacks {', '.join(missing)}; it needs all of {', '.join(needed)}"
        )
    _warn_of_capitals(name, tokenizer)
    return tokenizer


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Ids of `pad`, `unk`, `cls`, `sep` and `mask`."""
    return {kind: int(getattr(tokenizer, f"{kind}_token_id")) for kind in NEEDED}


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of all that decides which ids a text gets.

    It survives saving and loading, and does not depend on the truncation or padding last asked for.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    del content["truncation"], content["padding"]
    content["special_tokens"] = {kind: getattr(tokenizer, f"{kind}_token") for kind in NEEDED}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _made_from(config: TokenizerConfig, corpus: Corpus) -> dict[str, Any]:
    """What decides the bytes of the tokenizer."""
    options = {
        k: v for k, v in asdict(config).items() if k not in ("corpus", "out", "allow_unknown")
    }
    return {"corpus": config.corpus, "corpus_fingerprint": corpus.fingerprint, "options": options}


def _refuse_another(out: Path, made_from: dict[str, Any]) -> None:
    """Raise ElektronError unless the folder holds the tokenizer that would be made."""
    try:
        there = json.loads((out / MADE_FROM).read_text(encoding="utf-8"))
        options, corpus = dict(there["options"]), there["corpus_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ElektronError(
            f"{out} exists and is no tokenizer of `elektron tokenizer`: choose another --out"
        ) from None
    different = [
        f"--{name.replace('_', '-')} {options.get(name)} there, {value} here"
        for name, value in made_from["options"].items()
        if options.get(name) != value
    ]
    if corpus != made_from["corpus_fingerprint"]:
        different.append("another corpus")
    if different:
        raise ElektronError(
            f"{out} holds another tokenizer ({', '.join(different)}): choose another --out"
        )


def _warn_of_capitals(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Say so where text is lowercased although the vocabulary has capitals."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("A") != "a":
        return
    special = set(tokenizer.all_special_tokens)
    pieces = [p for p in tokenizer.get_vocab() if p not in special and not p.startswith("[unused")]
    capitals = [piece for piece in pieces if has_capitals(piece)]
    if len(capitals) > CAPITALS_SHARE * len(pieces):
        log.warning(
            "%s: text is lowercased, and %s of %s pieces of the vocabulary have capitals and are never used: "
            "set do_lower_case to false in tokenizer_config.json",
            name,
            f"{len(capitals):,}",
            f"{len(pieces):,}",
        )


def _tokenizer(vocabulary: list[str], config: TokenizerConfig) -> PreTrainedTokenizerBase:
    """BERT's tokenizer with this vocabulary, its special tokens first."""
    bert = BertTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)},
        do_lower_case=config.lowercase,
        strip_accents=config.strip_accents,
        tokenize_chinese_chars=True,
    )
    backend = bert.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), backend.normalizer])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [backend.pre_tokenizer, pre_tokenizers.FixedLength(length=LONGEST_WORD)]
    )
    # BertTokenizer makes its own rules when it is loaded and ignores those in tokenizer.json.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=MODEL_MAX_LENGTH,
        model_input_names=bert.model_input_names,
        **{f"{kind}_token": token for kind, token in zip(NEEDED, SPECIAL_TOKENS, strict=True)},
    )


def _learn_vocabulary(
    config: TokenizerConfig, texts: Callable[[str], Iterator[str]], sample: Sample
) -> list[str]:
    """Learn the pieces, in the order of their ids.

    Args:
        config: size and rules.
        texts: the texts, which are gone through twice, each time under a title.
        sample: receives some of them.
    """
    rules = _tokenizer(SPECIAL_TOKENS, config).backend_tokenizer
    learner = Tokenizer(WordPiece(unk_token="[UNK]"))
    learner.normalizer = rules.normalizer
    learner.pre_tokenizer = rules.pre_tokenizer

    counts: Counter[str] = Counter()
    for text in texts("counting characters"):
        counts.update(learner.normalizer.normalize_str(text))
        sample.add(text)
    characters, pieces = _alphabet(counts, learner, config)
    trainer = WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *pieces],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    learner.train_from_iterator(texts("counting words"), trainer)
    learned = learner.get_vocab()
    return sorted(learned, key=learned.__getitem__)


def _alphabet(
    counts: Counter[str], learner: Tokenizer, config: TokenizerConfig
) -> tuple[list[str], list[str]]:
    """Characters that get pieces, and these pieces; both sorted.

    A character that can stand inside a word gets two, one for the beginning of a word.
    """
    visible = {c: n for c, n in counts.items() if not c.isspace()}
    dispensable = RARE_CHARACTERS_SHARE * sum(visible.values())
    room = config.vocab_size - len(SPECIAL_TOKENS)
    spare = max(ALPHABET_SHARE * room, min(SMALL_ALPHABET, room / 2))
    characters: list[str] = []
    pieces: list[str] = []
    left = sum(visible.values())
    for character, count in sorted(visible.items(), key=lambda item: (-item[1], item[0])):
        inside_a_word = learner.normalizer.normalize_str(f"a{character}a")
        joins = len(learner.pre_tokenizer.pre_tokenize_str(inside_a_word)) == 1
        forms = [character, CONTINUATION + character] if joins else [character]
        size = len(pieces) + len(forms)
        dispensed = left <= dispensable and size > spare
        if count < config.min_frequency or dispensed or size > room:
            log.info(
                "%s of %s characters, %.3f %% of the text, are rare and become [UNK]",
                f"{len(visible) - len(characters):,}",
                f"{len(visible):,}",
                100 * left / sum(visible.values()),
            )
            break
        characters.append(character)
        pieces += forms
        left -= count
    return sorted(characters), sorted(pieces, key=lambda piece: (len(piece) > 1, piece))


def _chosen_documents(config: TokenizerConfig, corpus: Corpus) -> tuple[int, int]:
    """How many documents to learn from, of how many."""
    if config.max_documents is None:
        return 1, 1
    total = sum(1 for _ in _texts("counting documents", corpus, (1, 1)))
    return min(config.max_documents, total), total


def _texts(title: str, corpus: Corpus, chosen: tuple[int, int]) -> Iterator[str]:
    """The texts of `wanted` documents out of each `total`, spread evenly."""
    wanted, total = chosen
    unit = "documents" if corpus.total_bytes is None else "bytes"
    with Progress(title, corpus.total_bytes, unit) as progress:
        for number, document in enumerate(corpus):
            if number * wanted % total < wanted:
                yield document.text
            progress.update(number + 1 if corpus.total_bytes is None else corpus.bytes_read)
