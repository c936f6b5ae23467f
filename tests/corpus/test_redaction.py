"""Detection of personal data by kind, and placeholders in tokenizers and blocks."""

import json
import random
import re
import string
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from elektron.corpus import prepare as prepare_module
from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import InspectConfig, PrepareConfig, RedactKind, TokenizerConfig
from elektron.corpus.detectors import Check, Span
from elektron.corpus.inspection import inspect_corpus
from elektron.corpus.manifest import Manifest
from elektron.corpus.prepare import prepare
from elektron.corpus.redaction import NOT_FOUND, PLACEHOLDERS, Redactor, expand_kinds, hidden
from elektron.corpus.tokenizer import add_placeholders, load_tokenizer, train_tokenizer
from elektron.errors import ElektronError
from elektron.pretraining.masking import mask_rows

LABELLED = [
    json.loads(line) for line in Path(__file__).with_name("redaction.jsonl").read_text(encoding="utf-8").splitlines()
]
HOSTILE = """a|1|1 |@|a@|a.|a@a.|://a:|?token=|eyJ-|eyJaaaaaaaa.|sk-|-----BEGIN PRIVATE KEY-----|4444 |00:|:|
a:|1.|1.1.1.1 |+1 |(0|030/9-|DE12 |DE12 3456 7890 1234 5678 91 |-""".replace("\n", "").split("|")
WITHOUT_EXTRA: list[RedactKind] = ["url", "key", "email", "card", "ssn", "mac", "ip"]
BOTH_SETS = pytest.mark.parametrize("kinds", [WITHOUT_EXTRA, pytest.param([*PLACEHOLDERS], marks=pytest.mark.extras)])


def detected(text: str, *kinds: str) -> list[tuple[str, str]]:
    redactor = Redactor(kinds or WITHOUT_EXTRA)
    return [(one.kind, text[one.start : one.end]) for one in redactor.find(text)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "mail [anna.k+news@mail.example.org], please"),
        ("email", "邮箱[wang@qq.com]。"),
        ("email", "die [jo@müller-bau.de]-Adresse"),
        ("url", "postgres://[app:s3cr3t!]@db:5432/x"),
        ("url", "redis://:[s3cr3t]@cache"),
        ("url", "GET /x?n=1&access_token=[a8s7d6f5]&m=2"),
        ("key", "k=[ghp_" + "a1B2" * 9 + "]"),
        ("key", "k=[AKIA" + "Q7ZD" * 4 + "]"),
        ("key", "k=[sk-" + "a1B2" * 9 + "]"),
        ("key", "Bearer [eyJ" + "a1B2" * 4 + ".eyJ" + "c3D4" * 4 + "." + "e5F6" * 4 + "]"),
        ("key", "[-----BEGIN PRIVATE KEY-----\nMIIE" + "a1B2" * 9 + "\n-----END PRIVATE KEY-----]"),
        ("key", "[-----BEGIN PRIVATE KEY-----\nMIIE" + "a1B2" * 9 + "]"),
        ("card", "paid with [4111 1111 1111 1111] today"),
        ("card", "paid with [378282246310005]."),
        ("ssn", "SSN [536-22-8712]"),
        ("ssn", "SSN [536\u201122\u20118712]"),
        ("card", "card [4111 1111 1111 1111] 123"),
        ("card", "card [4111\u00a01111\u00a01111\u00a01111]."),
        ("email", "an [nguyễn@example.vn] und"),
        ("email", "an [jose\u0301@example.xn--p1ai] und"),
        ("mac", "from [3c:52:82:aa:bb:cc] on"),
        ("mac", "from [3c52.82aa.bbcc] on"),
        ("ip", "from [203.0.113.77]:8080 on"),
        ("ip", "allow [10.0.0.0]/8;"),
        ("ip", "inet6 [fe80::1ff:fe23:4567:890a]/64"),
    ],
)
def test_finds_personal_data_without_privacy_extra(kind: str, text: str) -> None:
    begin, inside, end = re.split(r"[\[\]]", text)
    assert detected(begin + inside + end) == [(kind, inside)]


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:team/repo.git and ssh://git@example.org/x",
        "react@18.2.0, x@y, a@b.c1, @name",
        "https://example.org:8080/a@b",
        "postgres://{user}:{password}@host",
        "sk-learn-like-names-with-many-words, ghp_short, AKIAEXAMPLE",
        "task-" + "a1B2" * 9,
        "-----BEGIN PUBLIC KEY----- and -----BEGIN PRIVATE KEY----- as words",
        "4111 1111 1111 1112",  # Luhn
        "9111111111111111",  # no issuer
        "000-12-3456 666-12-3456 912-34-5678 123-00-4567 123-45-0000",
        "12:30:45 and 3c:52:82:aa:bb:cc:dd:ee",
        "version 10.20.30.40, section 3.2.1.4, oid 1.3.6.1.4.1.311, pkg==192.168.1.1",
        "127.0.0.1, 0.0.0.0, 255.255.255.0, 300.1.2.3",
        "std::add::add(a::b)",
    ],
)
def test_no_false_positives_without_privacy_extra(text: str) -> None:
    assert detected(text) == []


@pytest.mark.extras
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("iban", "an [DE89 3704 0044 0532 0130 00] zahlen"),
        ("iban", "[GB29NWBK60161331926819]"),
        ("resident_id", "身份证[11010519491231002X]号"),
        ("resident_id", "[610113196911272268]"),  # born before the district is in stdnum's list
        ("phone", "Tel. [+49 6131 39-22200]"),
        ("phone", "Tel. [+33\u00a01\u00a023\u00a045\u00a067\u00a089]"),
        ("phone", "appelez le [+225 07 12 34 56 78]"),
        ("phone", "chiama [+39 06 12345678]"),
        ("phone", "Tel [030/12345678]"),
        ("phone", "call [(212) 555-0147] now"),
        ("phone", "ruf [0171/2345678] an"),
        ("phone", "手机[13812345678]，"),
        ("phone", "[+44 (0)20 7946 0018]"),
    ],
)
def test_finds_personal_data_with_privacy_extra(kind: str, text: str) -> None:
    begin, inside, end = re.split(r"[\[\]]", text)
    assert detected(begin + inside + end, *PLACEHOLDERS) == [(kind, inside)]


@pytest.mark.extras
@pytest.mark.parametrize(
    "text",
    [
        "DE89 3704 0044 0532 0130 01",
        "XX89 3704 0044 0532 0130 00",
        "110105194912310021",
        "ISBN 978-3-16-148410-0, 2024-03-05, 05.03.2024, 16:9",
        "9f71a6eb-0766-4524-be3e-11da1ebb3cc5",
        "order 302-8441973-5541120, 1,234,567.89, 52.520008, 13.404954",
        "555-1234, 911, +99 999 9999999",
        "call me 03/07/2021, fax 04/05/1999, text 06/07/2024",
        "calendar 05 06 07 08 09 10 11",
    ],
)
def test_no_false_positives_with_privacy_extra(text: str) -> None:
    assert detected(text, *PLACEHOLDERS) == []


@pytest.mark.extras
def test_precision_and_recall_on_labelled_text() -> None:
    redactor = Redactor(list(PLACEHOLDERS))
    counts = {split: Counter[str]() for split in ("tuned", "second", "held-out")}
    for line in LABELLED:
        wanted, got = {tuple(span) for span in line["spans"]}, set(redactor.find(line["text"]))
        counts[line["split"]] += Counter(right=len(wanted & got), found=len(got), wanted=len(wanted))
    assert len(LABELLED) >= 300
    for count in (*counts.values(), sum(counts.values(), Counter())):
        assert count["right"] >= 0.98 * count["found"]
        assert count["right"] >= 0.95 * count["wanted"]


def test_findings_do_not_overlap() -> None:
    text = "https://anna:k@x@mail.example.org/a, jo@b.de@c.de 4111111111111111@b.de"
    last = 0
    for one in Redactor(WITHOUT_EXTRA).find(text):
        assert last <= one.start < one.end
        last = one.end
    assert detected(text) == [("url", "anna:k@x"), ("email", "jo@b.de"), ("email", "4111111111111111@b.de")]
    assert detected("ftp://anna:pw@mail.example.org/") == [("url", "anna:pw")]


def test_redact_replaces_and_counts() -> None:
    text, counts = Redactor(["email", "ip"]).redact("a@b.de, c@d.de from host 1.2.3.4.")
    assert text == "[EMAIL], [EMAIL] from host [IP]."
    assert counts == {"email": 2, "ip": 1}


def test_kinds_are_validated_deduplicated_and_ordered() -> None:
    assert set(get_args(RedactKind)) == {"all", *PLACEHOLDERS}
    with pytest.raises(ElektronError, match="did you mean email"):
        InspectConfig(["corpus"], redact=["ip", "emial"])  # type: ignore[list-item]
    assert expand_kinds(None) == []
    assert expand_kinds(["all", "ip"]) == list(PLACEHOLDERS)
    assert expand_kinds(["ip", "email", "ip"]) == ["email", "ip"]
    assert detected("a@b.de 10.0.0.1", "ip") == [("ip", "10.0.0.1")]


def test_hidden_masks_all_but_first_characters() -> None:
    assert hidden("anna.k@mail.de") == "ann•.•@••••.••"
    assert hidden("1.2.3.4") == "1.•.•.•"


@BOTH_SETS
@pytest.mark.parametrize("unit", HOSTILE)
def test_candidates_grow_linearly(unit: str, kinds: list[str]) -> None:
    """Ten times the text gives at most twelve times the candidates and characters in them."""
    redactor = Redactor(kinds)
    steps: list[int] = []

    def counting(check: Check) -> Check:
        def counted(match: re.Match[str]) -> Span | None:
            steps.append(1 + match.end() - match.start())
            return check(match)

        return counted

    redactor.searches = [(k, pattern, counting(check)) for k, pattern, check in redactor.searches]
    redactor.find(unit * (2_000 // len(unit)))
    few = sum(steps)
    steps.clear()
    redactor.find(unit * (20_000 // len(unit)))
    assert sum(steps) <= 12 * few


@BOTH_SETS
@pytest.mark.parametrize("unit", HOSTILE)
def test_patterns_take_linear_time(unit: str, kinds: list[str]) -> None:
    """A quadratic pattern would take minutes on this text, while all linear ones take a second."""
    Redactor(kinds).find(unit * (200_000 // len(unit)))


@pytest.fixture(scope="module")
def private_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(0)
    names = ["".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(40)]
    words = [*names, *("".join(draw.choices("aeinrst", k=5)) for _ in range(60))]
    lines = []
    for n in range(400):
        one, two, name = draw.choice(words), draw.choice(words), names[n % 40]
        lines.append(f"please {one} {two} write to {name}@example.org from host 203.0.113.{n % 200}")
    path = tmp_path_factory.mktemp("private") / "corpus.txt"
    path.write_text("\n".join(lines))
    return path


def bert_like(folder: Path) -> Path:
    """Save a tokenizer like those on the hub: pieces of one character, other special tokens at the end."""
    letters = string.ascii_lowercase + string.digits + ".@[]"
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    pieces = [*letters, *(f"##{letter}" for letter in letters), *special]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    named = dict(zip(["pad", "unk", "cls", "sep", "mask"], special, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{kind}_token": token for kind, token in named.items()}
    ).save_pretrained(folder)
    return folder


def are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether every placeholder is one token, also next to letters and other placeholders."""
    ids = tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS.values()))
    text = "a ".join(PLACEHOLDERS.values()) + "".join(PLACEHOLDERS.values())
    encoded = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [token for token in encoded if token in ids] == ids + ids


def rows_of(store: BlockStore) -> np.ndarray:
    splits = [store.rows(split) for split in ("train", "validation")]
    return np.concatenate([part.take(np.arange(len(part))) for part in splits])


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "hub"])
def test_placeholders_are_single_tokens_and_never_masked(kind: str, private_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer"
    redact: list[RedactKind] = ["email", "ip"]
    if kind == "hub":
        bert_like(out)
    else:
        size = 320 if kind == "bpe" else 150
        train_tokenizer(TokenizerConfig([str(private_corpus)], out, kind=kind, vocab_size=size, redact=redact))
        tokenizer = load_tokenizer(str(out))
        assert are_single_tokens(tokenizer)
        assert len(tokenizer) == size
        # "example" occurs in addresses only, which training leaves out.
        assert not any("xam" in piece for piece in tokenizer.get_vocab())
    config = PrepareConfig(
        *([str(private_corpus)], str(out), tmp_path / "blocks"),
        seq_len=16,
        workers=1,
        redact=redact,
        allow_unknown=True,
    )
    manifest = prepare(config)
    store = BlockStore.open(config.out)
    tokenizer = AutoTokenizer.from_pretrained(store.tokenizer_folder)
    assert are_single_tokens(tokenizer)
    rows = rows_of(store)
    ids = tokenizer.convert_tokens_to_ids(["[EMAIL]", "[IP]"])
    assert [(rows == number).sum() for number in ids] == [400, 400]
    assert manifest.redacted == {"email": 400, "ip": 400}
    assert "@" not in tokenizer.decode(rows.ravel())
    uniforms = np.random.default_rng(0).random((len(rows), 16 + 8))
    masks = mask_rows(rows, uniforms, manifest.special_ids, manifest.all_special_ids, 0.5, 0.15)
    chosen = np.take_along_axis(rows, masks.positions, axis=1)[masks.weights > 0]
    assert len(chosen) > 100
    assert not np.isin(chosen, ids).any()


def test_blocks_depend_on_redacted_kinds_but_not_on_workers(
    private_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prepare_module, "DOCUMENTS_IN_CHUNK", 50)
    caplog.set_level("INFO")
    tokenizer = bert_like(tmp_path / "tokenizer")

    def prepared(name: str, kinds: list[RedactKind] | None, workers: int = 1) -> Manifest:
        options = {"seq_len": 16, "workers": workers, "redact": kinds, "allow_unknown": True}
        return prepare(PrepareConfig([str(private_corpus)], str(tokenizer), tmp_path / name, **options))

    one, two = prepared("one", ["email"]), prepared("two", ["email"], workers=2)
    assert one == two
    assert one.redacted == {"email": 400}
    assert one.not_redacted == NOT_FOUND
    assert NOT_FOUND in caplog.text
    assert prepared("one", ["email"]) == one  # the same blocks exist already
    assert prepared("ip", ["ip"]).fingerprint != one.fingerprint
    assert prepared("plain", None).fingerprint != one.fingerprint
    others: list[list[RedactKind] | None] = [None, ["ip"], ["email", "ip"]]
    for kinds in others:
        with pytest.raises(ElektronError, match="holds other blocks"):
            prepared("one", kinds)


def test_training_over_tokenizer_with_other_redacted_kinds_raises(private_corpus: Path, tmp_path: Path) -> None:
    settings = {"corpus": [str(private_corpus)], "out": tmp_path / "tokenizer", "vocab_size": 130}
    plain = train_tokenizer(TokenizerConfig(**settings))
    assert not set(PLACEHOLDERS.values()) & set(plain.get_vocab())
    with pytest.raises(ElektronError, match="another tokenizer"):
        train_tokenizer(TokenizerConfig(**settings, redact=["ip"]))


@pytest.mark.parametrize(("kind", "size", "least"), [("wordpiece", 6, 16), ("bpe", 270, 271)])
def test_vocab_size_without_room_for_placeholders_raises(
    kind: str, size: int, least: int, private_corpus: Path, tmp_path: Path
) -> None:
    config = TokenizerConfig([str(private_corpus)], tmp_path / "t", kind=kind, vocab_size=size, redact=["ip"])
    with pytest.raises(ElektronError, match=f"--vocab-size must be at least {least} "):
        train_tokenizer(config)


def test_placeholders_are_added_once(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(bert_like(tmp_path / "tokenizer")))
    size = len(tokenizer)
    assert add_placeholders(tokenizer) == list(PLACEHOLDERS.values())
    assert add_placeholders(tokenizer) == []
    assert len(tokenizer) == size + len(PLACEHOLDERS)


def test_inspect_reports_counts_and_masked_samples(private_corpus: Path) -> None:
    findings = inspect_corpus(InspectConfig([str(private_corpus)], redact=["email", "mac"], rows=3))
    by_subject = {finding.subject: finding for finding in findings}
    assert by_subject["--redact email"].value == "400, in 400 documents"
    assert by_subject["--redact mac"].value == "0, in 0 documents"
    samples = by_subject["--redact email"].samples
    assert len(samples) == 3
    assert all(re.search(r"write to ⟦\w{3}•+@•+\.•+⟧ from", sample) for sample in samples)
    assert NOT_FOUND in {finding.value for finding in findings}


def test_missing_privacy_extra_is_named_in_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("phonenumbers", "stdnum", "stdnum.iso7064.mod_11_2"):
        monkeypatch.setitem(sys.modules, module, None)
    for kind in ("phone", "iban", "resident_id"):
        with pytest.raises(ElektronError, match=r"elektron\[privacy\]"):
            Redactor([kind])
    assert detected("a@b.de") == [("email", "a@b.de")]
