"""What a corpus is like, before anyone spends days of compute on it.

One pass reads everything and counts what counting can tell; languages, words and tokens come from
a random sample of it, so that memory and time stay bounded. Every figure becomes a finding: fine,
worth a look, or wrong. The thresholds are rules of thumb, meant to catch what usually goes wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import py3langid
import regex
from transformers import PreTrainedTokenizerBase

from elektron.corpus.config import InspectConfig
from elektron.corpus.documents import Corpus, Document
from elektron.corpus.selection import Sample, SeenTexts
from elektron.corpus.unknown import TOO_MUCH, WORTH_SAYING, count_unknown, visible_characters
from elektron.corpus.vocabulary import load_tokenizer
from elektron.progress import Progress

Verdict = Literal["fine", "worth a look", "wrong"]

# Less text than this teaches little: the paper's small model saw some gigabytes.
LITTLE_TEXT_BYTES = 10_000_000
# Bytes that had to be replaced: a few are dirt, many are a wrong encoding.
UNDECODABLE_WRONG = 1e-3
# Copies: they are dropped by `prepare`, but many of them say that something upstream repeats.
DUPLICATES_LOOK = 0.05
DUPLICATES_WRONG = 0.5
# A corpus is mostly one language and one script unless it is meant otherwise.
MAIN_SCRIPT_LOOK = 0.9
MAIN_LANGUAGE_LOOK = 0.8
# A median this short: perhaps each line was taken for a document. Characters.
SHORT_DOCUMENT = 40
# Nobody writes lines like this: perhaps minified code, base64, or lost line ends. Characters.
LONG_LINE = 20_000
LONG_LINES_LOOK = 0.01
# Control characters and U+FFFD, per character.
CONTROL_WRONG = 1e-4
# Documents with tags or entities.
HTML_LOOK = 0.01
HTML_WRONG = 0.3
# Tokens a word: 1.2 to 1.6 is usual for a vocabulary made for the text.
TOKENS_PER_WORD_LOOK = 2.0
TOKENS_PER_WORD_WRONG = 3.0
# Characters of a mean word: longer ones are no words, as in Thai or protein sequences.
UNSPACED = 20
DOCUMENTS_AT_ONCE = 1000

SCRIPTS = (  # noqa: SIM905 (a line for each would fill the screen)
    "Latin Han Cyrillic Arabic Devanagari Hiragana Katakana Hangul Greek Hebrew Thai Bengali Tamil "
    "Telugu Gujarati Gurmukhi Kannada Malayalam Sinhala Georgian Armenian Ethiopic Khmer Lao "
    "Myanmar Tibetan Mongolian"
).split()
CONTROL = regex.compile(
    r"[\p{Cc}--\s\N{REPLACEMENT CHARACTER}]|\N{REPLACEMENT CHARACTER}", regex.V1
)
HTML = regex.compile(r"</?[a-zA-Z][^<>]{0,200}>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
WORD = regex.compile(r"\p{Han}|[[\w\p{M}]--\p{Han}]+", regex.V1)


@dataclass(frozen=True)
class Finding:
    """One thing found, and what to think of it."""

    subject: str
    value: str
    verdict: Verdict = "fine"
    advice: str = ""
    """What it may mean and what to do, if it is not fine."""


@dataclass
class Lengths:
    """Counts of lengths to two digits, which is enough for quantiles and takes no memory."""

    counts: Counter[int] = field(default_factory=Counter)
    longest: int = 0

    def add(self, length: int) -> None:
        """Count one length."""
        scale = 10 ** max(0, len(str(length)) - 2)
        self.counts[length // scale * scale] += 1
        self.longest = max(self.longest, length)

    def quantile(self, share: float) -> int:
        """The length that this share of all does not exceed."""
        below = 0
        for length, count in sorted(self.counts.items()):
            below += count
            if below >= share * self.counts.total():
                return length
        return 0

    def __str__(self) -> str:
        quantiles = [self.quantile(share) for share in (0.1, 0.5, 0.9)]
        return " · ".join(f"{length:,}" for length in (*quantiles, self.longest))


@dataclass
class CorpusFigures:
    """What one pass over a corpus counts."""

    documents: int = 0
    duplicates: int = 0
    bytes: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    document_lengths: Lengths = field(default_factory=Lengths)
    line_lengths: Lengths = field(default_factory=Lengths)
    characters_in_long_lines: int = 0
    with_html: int = 0
    sample: Sample = field(default_factory=Sample)

    def add(self, document: Document) -> None:
        """Count one document."""
        text = document.text
        self.documents += 1
        self.bytes += len(text.encode())
        self.characters.update(text)
        self.document_lengths.add(len(text))
        for line in text.split("\n"):
            self.line_lengths.add(len(line))
            if len(line) > LONG_LINE:
                self.characters_in_long_lines += len(line)
        self.with_html += HTML.search(text) is not None
        self.sample.add(text)


def inspect_corpus(config: InspectConfig) -> list[Finding]:
    """Read a corpus and say what it is like.

    Raises:
        ElektronError: the corpus or the tokenizer cannot be read.
    """
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else None
    corpus = Corpus(config.corpus, config.text)
    figures = _figures(corpus)
    findings = [
        *_sizes(figures),
        *_faults(figures, corpus),
        *_writing(figures),
    ]
    if tokenizer is not None:
        findings += _tokens(figures.sample.texts, tokenizer)
    return findings


def _figures(corpus: Corpus) -> CorpusFigures:
    figures, seen = CorpusFigures(), SeenTexts()
    total = corpus.total_bytes
    documents = iter(corpus)
    with Progress("inspecting", total, "documents" if total is None else "bytes") as progress:
        while batch := list(islice(documents, DOCUMENTS_AT_ONCE)):
            new = seen.add([document.text for document in batch])
            figures.duplicates += len(batch) - int(new.sum())
            for document in batch:
                figures.add(document)
            progress.update(figures.documents if total is None else corpus.bytes_read)
    return figures


def _sizes(figures: CorpusFigures) -> Iterator[Finding]:
    yield Finding("documents", f"{figures.documents:,}")
    little = figures.bytes < LITTLE_TEXT_BYTES
    yield Finding(
        "text",
        f"{figures.bytes / 1e6:,.1f} MB, {figures.characters.total():,} characters",
        "worth a look" if little else "fine",
        "little for pre-training: continue from a released pair with --init-from, or add text",
    )
    short = figures.document_lengths.quantile(0.5) < SHORT_DOCUMENT
    yield Finding(
        "document length: 10 %, half, 90 %, all below",
        f"{figures.document_lengths} characters",
        "worth a look" if short else "fine",
        "very short: is each line really a document? (blank lines separate documents)",
    )
    share = figures.characters_in_long_lines / figures.characters.total()
    yield Finding(
        "line length: 10 %, half, 90 %, all below",
        f"{figures.line_lengths} characters",
        _verdict(share, LONG_LINES_LOOK),
        f"{share:.0%} of the text is in lines of over {LONG_LINE:,} characters: lost line ends, "
        "or no prose?",
    )


def _faults(figures: CorpusFigures, corpus: Corpus) -> Iterator[Finding]:
    undecodable = corpus.undecodable.total()
    worst = ", ".join(name for name, _ in corpus.undecodable.most_common(3))
    yield Finding(
        "encoding",
        f"{undecodable:,} bytes are not UTF-8",
        _verdict(undecodable / figures.bytes, 0, UNDECODABLE_WRONG),
        f"they were replaced; mostly in {worst}: convert to UTF-8",
    )
    share = figures.duplicates / figures.documents
    yield Finding(
        "exact duplicates",
        f"{figures.duplicates:,} documents, {share:.1%}",
        _verdict(share, DUPLICATES_LOOK, DUPLICATES_WRONG),
        "`prepare` drops them; many of them may mean that a source is in twice",
    )
    controls = sum(n for c, n in figures.characters.items() if CONTROL.fullmatch(c))
    yield Finding(
        "control and replacement characters",
        f"{controls:,}",
        _verdict(controls / figures.characters.total(), 0, CONTROL_WRONG),
        "the tokenizer removes them; they may be traces of a wrong conversion",
    )
    share = figures.with_html / figures.documents
    yield Finding(
        "documents with HTML tags or entities",
        f"{figures.with_html:,}, {share:.1%}",
        _verdict(share, HTML_LOOK, HTML_WRONG),
        "the model will learn mark-up: extract the text first, unless that is meant",
    )


def _writing(figures: CorpusFigures) -> Iterator[Finding]:
    scripts = _scripts(figures.characters)
    main = max(scripts.values(), default=0) / max(1, scripts.total())
    yield Finding(
        "scripts",
        _shares(scripts),
        "worth a look" if main < MAIN_SCRIPT_LOOK else "fine",
        "several scripts share one vocabulary: give it room with --vocab-size",
    )
    languages = Counter(py3langid.classify(text)[0] for text in figures.sample.texts)
    main = max(languages.values(), default=0) / max(1, languages.total())
    yield Finding(
        f"languages, guessed from {languages.total():,} documents",
        _shares(languages),
        "worth a look" if main < MAIN_LANGUAGE_LOOK else "fine",
        "several languages, or documents too short to tell",
    )


def _tokens(sample: list[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(sample, add_special_tokens=False)
    ids = Counter(token for encoding in encodings for token in encoding.ids)
    words = [word for text in sample for word in WORD.findall(text)]
    if sum(map(len, words)) > UNSPACED * len(words):
        characters = visible_characters(sample) / max(1, ids.total())
        yield Finding("characters per token, of text without spaces", f"{characters:.2f}")
    else:
        rate = ids.total() / max(1, len(words))
        yield Finding(
            "tokens per word (a Chinese character is a word)",
            f"{rate:.2f}",
            _verdict(rate, TOKENS_PER_WORD_LOOK, TOKENS_PER_WORD_WRONG),
            "the vocabulary does not fit the text: train one on it, or a larger one",
        )
    unknown = count_unknown(sample, tokenizer)
    yield Finding(
        "characters that become [UNK]",
        f"{unknown.share:.3%}",
        _verdict(unknown.share, WORTH_SAYING, TOO_MUCH),
        f"mostly {unknown.cause}",
    )


def _scripts(characters: Counter[str]) -> Counter[str]:
    """Letters by script."""
    found: Counter[str] = Counter()
    patterns = {name: regex.compile(rf"\p{{Script={name}}}") for name in SCRIPTS}
    for character, count in characters.items():
        if character.isalpha():
            name = next((n for n, p in patterns.items() if p.match(character)), "other")
            found[name] += count
    return found


def _shares(counts: Counter[str], most: int = 4) -> str:
    """`Latin 97 %, Greek 2 %`, the rest left out."""
    return ", ".join(f"{n} {c / counts.total():.1%}" for n, c in counts.most_common(most)) or "none"


def _verdict(value: float, look: float, wrong: float = float("inf")) -> Verdict:
    if value > wrong:
        return "wrong"
    return "worth a look" if value > look else "fine"
