"""Describe a corpus and report what looks wrong, before compute is spent on it.

One pass reads and counts all documents; languages, words and tokens are counted in a random sample. Each
figure becomes a `Finding` with a verdict by rules of thumb: fine, worth a look, or wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import py3langid
import regex
from transformers import PreTrainedTokenizerBase

from elektron.corpus.config import InspectConfig
from elektron.corpus.documents import Corpus, Document, Sample
from elektron.corpus.redaction import NOT_FOUND, PLACEHOLDERS, Redactor, expand_kinds, in_context
from elektron.corpus.selection import SeenTexts
from elektron.corpus.tokenizer import load_tokenizer
from elektron.corpus.unknown import MAX_FRACTION, WARN_FRACTION, count_unknown, visible_characters
from elektron.corpus.vocabulary import suggest_kind

Verdict = Literal["fine", "worth a look", "wrong"]

LONG_LINE = 20_000
"""Number of characters; a longer line may be minified code, base64, or text without line ends."""
# If words have more characters on average, the text has no spaces between words, as in Thai or proteins.
UNSPACED = 20
DOCUMENTS_AT_ONCE = 1000

SCRIPTS = (  # noqa: SIM905 (a line for each would fill the screen)
    "Latin Han Cyrillic Arabic Devanagari Hiragana Katakana Hangul Greek Hebrew Thai Bengali Tamil "
    "Telugu Gujarati Gurmukhi Kannada Malayalam Sinhala Georgian Armenian Ethiopic Khmer Lao "
    "Myanmar Tibetan Mongolian"
).split()
CONTROL = regex.compile(r"[\p{Cc}--\s\N{REPLACEMENT CHARACTER}]|\N{REPLACEMENT CHARACTER}", regex.V1)
HTML = regex.compile(r"</?[a-zA-Z][^<>]{0,200}>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
WORD = regex.compile(r"\p{Han}|[[\w\p{M}]--\p{Han}]+", regex.V1)


@dataclass(frozen=True)
class Finding:
    """One figure and its verdict."""

    subject: str
    value: str
    verdict: Verdict = "fine"
    advice: str = ""
    """What it may mean and what to do, if it is not fine."""
    samples: list[str] = field(default_factory=list)
    """Excerpts of the text, in which personal data is partly hidden."""


@dataclass
class Lengths:
    """Histogram of lengths, which are rounded down to two significant digits so that memory is bounded."""

    counts: Counter[int] = field(default_factory=Counter)
    longest: int = 0

    def add(self, length: int) -> None:
        """Count one length."""
        scale = 10 ** max(0, len(str(length)) - 2)
        self.counts[length // scale * scale] += 1
        self.longest = max(self.longest, length)

    def quantile(self, fraction: float) -> int:
        """The quantile of the rounded lengths; `fraction` 0.5 gives the median."""
        lengths, weights = list(self.counts), list(self.counts.values())
        return int(np.quantile(lengths, fraction, weights=weights, method="inverted_cdf"))

    def __str__(self) -> str:
        low, median, high = (self.quantile(fraction) for fraction in (0.1, 0.5, 0.9))
        return f"p10 {low:,} · median {median:,} · p90 {high:,} · longest {self.longest:,}"


@dataclass
class CorpusCounts:
    """Counts of one pass over a corpus."""

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


class RedactionCounts:
    """What `prepare --redact` would replace."""

    def __init__(self, kinds: list[str], samples: int) -> None:
        self.redactor = Redactor(kinds)
        self.counts, self.documents = Counter(dict.fromkeys(kinds, 0)), Counter[str]()
        self.samples = {kind: Sample(samples) for kind in kinds}

    def add(self, text: str) -> None:
        """Count the personal data in one document."""
        detections = self.redactor.find(text)
        for index, detection in enumerate(detections):
            self.counts[detection.kind] += 1
            self.samples[detection.kind].add(in_context(text, detections, index))
        self.documents.update({detection.kind for detection in detections})

    def findings(self) -> Iterator[Finding]:
        """One finding for each kind, and one that says what is not looked for."""
        for kind, count in self.counts.items():
            documents = self.documents[kind]
            yield Finding(
                f"--redact {kind}",
                f"{count:,}, in {documents:,} document{'s' * (documents != 1)}",
                "worth a look" if count else "fine",
                f"`prepare --redact` replaces it by {PLACEHOLDERS[kind]}; check whether the samples are personal data",
                self.samples[kind].texts,
            )
        yield Finding("--redact does not find all", NOT_FOUND)


def inspect_corpus(config: InspectConfig) -> list[Finding]:
    """Read a corpus and describe it.

    Raises:
        ElektronError: the corpus or the tokenizer cannot be read.
    """
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else None
    corpus = Corpus(config.corpus, config.text)
    redaction = RedactionCounts(expand_kinds(config.redact), config.rows)
    counts, seen = CorpusCounts(), SeenTexts()
    documents = corpus.with_progress("inspecting")
    while batch := list(islice(documents, DOCUMENTS_AT_ONCE)):
        new = seen.add([document.text for document in batch])
        counts.duplicates += len(batch) - int(new.sum())
        for document in batch:
            counts.add(document)
            redaction.add(document.text)
    findings = list(_findings(counts, corpus))
    if config.redact:
        findings += redaction.findings()
    if tokenizer is not None:
        findings += _token_findings(counts.sample.texts, tokenizer)
    return findings


def _findings(counts: CorpusCounts, corpus: Corpus) -> Iterator[Finding]:
    documents, characters = counts.documents, counts.characters.total()
    yield Finding("documents", f"{documents:,}")
    yield _rated(
        "text",
        f"{counts.bytes / 1e6:,.1f} MB, {characters:,} characters",
        counts.bytes < 10_000_000,  # the paper's small model saw some gigabytes
        "little for pre-training: continue a released encoder (pretrain --init-from), or add text",
    )
    yield _rated(
        "document length",
        f"{counts.document_lengths} characters",
        counts.document_lengths.quantile(0.5) < 40,
        "very short: is each line really a document? (blank lines separate documents)",
    )
    in_long_lines = counts.characters_in_long_lines / characters
    yield _rated(
        "line length",
        f"{counts.line_lengths} characters",
        in_long_lines > 0.01,
        f"{in_long_lines:.0%} of the text is in lines of over {LONG_LINE:,} characters: are line "
        "ends missing, or is it not prose?",
    )
    undecodable = corpus.undecodable.total()
    worst = ", ".join(name for name, _ in corpus.undecodable.most_common(3))
    yield _rated(
        "encoding",
        f"{undecodable:,} bytes are not UTF-8",
        undecodable > 0,
        f"they were replaced; mostly in {worst}: convert to UTF-8",
        wrong=undecodable / counts.bytes > 1e-3,
    )
    duplicates = counts.duplicates / documents
    yield _rated(
        "exact duplicates",
        f"{counts.duplicates:,} documents, {duplicates:.1%}",
        duplicates > 0.05,
        "`prepare` drops them; many of them may mean that a source is included twice",
        wrong=duplicates > 0.5,
    )
    controls = sum(n for c, n in counts.characters.items() if CONTROL.fullmatch(c))
    yield _rated(
        "control and replacement characters",
        f"{controls:,}",
        controls > 0,
        "WordPiece and Unigram tokenizers remove them; they may come from a faulty conversion",
        wrong=controls / characters > 1e-4,
    )
    with_html = counts.with_html / documents
    yield _rated(
        "documents with HTML tags or entities",
        f"{counts.with_html:,}, {with_html:.1%}",
        with_html > 0.01,
        "the model will learn mark-up: extract the text first, unless that is intended",
        wrong=with_html > 0.3,
    )
    scripts = _scripts(counts.characters)
    yield _rated(
        "scripts",
        _percentages(scripts),
        _main(scripts) < 0.9,
        "several scripts share one vocabulary: consider a larger --vocab-size",
    )
    kind, reason = suggest_kind(counts.sample.texts)
    yield Finding("tokenizer", f"--kind {kind}: {reason}")
    languages = Counter(py3langid.classify(text)[0] for text in counts.sample.texts)
    yield _rated(
        f"languages, guessed from {languages.total():,} documents",
        _percentages(languages),
        _main(languages) < 0.8,
        "several languages, or documents too short to tell",
    )


def _token_findings(sample: list[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(sample, add_special_tokens=False)
    tokens = sum(len(encoding.ids) for encoding in encodings)
    words = [word for text in sample for word in WORD.findall(text)]
    if sum(map(len, words)) > UNSPACED * len(words):
        characters = visible_characters(sample) / max(1, tokens)
        yield Finding("characters per token, of text without spaces", f"{characters:.2f}")
    else:
        rate = tokens / max(1, len(words))
        yield _rated(
            "tokens per word (a Chinese character is a word)",
            f"{rate:.2f}",
            rate > 2.0,  # 1.2 to 1.6 is usual for a vocabulary trained on the text
            "the vocabulary does not fit the text: train one on it, or a larger one",
            wrong=rate > 3.0,
        )
    unknown = count_unknown(sample, tokenizer)
    yield _rated(
        "characters that become [UNK]",
        f"{unknown.fraction:.3%}",
        unknown.fraction > WARN_FRACTION,
        f"mostly {unknown.cause}",
        wrong=unknown.fraction > MAX_FRACTION,
    )


def _rated(subject: str, value: str, look: bool, advice: str, wrong: bool = False) -> Finding:
    return Finding(subject, value, "wrong" if wrong else "worth a look" if look else "fine", advice)


def _scripts(characters: Counter[str]) -> Counter[str]:
    """Number of letters by script."""
    scripts: Counter[str] = Counter()
    patterns = {name: regex.compile(rf"\p{{Script={name}}}") for name in SCRIPTS}
    for character, count in characters.items():
        if character.isalpha():
            name = next((name for name, pattern in patterns.items() if pattern.match(character)), "other")
            scripts[name] += count
    return scripts


def _main(counts: Counter[str]) -> float:
    """The fraction of the total that the largest count has."""
    return max(counts.values(), default=0) / max(1, counts.total())


def _percentages(counts: Counter[str]) -> str:
    """`Latin 97.0%, Greek 2.1%`: the four most frequent ones."""
    return ", ".join(f"{name} {count / counts.total():.1%}" for name, count in counts.most_common(4)) or "none"
