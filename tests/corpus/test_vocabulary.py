"""Each kind of tokenizer trains deterministically, works in transformers, and is suggested for suitable text."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import InspectConfig, PrepareConfig, TokenizerConfig
from elektron.corpus.inspection import inspect_corpus
from elektron.corpus.prepare import prepare
from elektron.corpus.tokenizer import special_ids, train_tokenizer
from elektron.corpus.vocabulary import SPECIAL_TOKENS, in_wordpiece_form, readable, suggest_kind
from elektron.errors import ElektronError
from elektron.pretraining.pretrain import pretrain
from tests.corpus.texts import FINNISH, JAPANESE, THAI, make_code, make_proteins, make_text, make_words
from tests.pretraining.conftest import tiny_config

KINDS = ("wordpiece", "bpe", "unigram")
CORPORA = {
    "thai": (make_words(THAI, 150), "unigram"),
    "japanese": (make_words(JAPANESE, 150, end="。"), "unigram"),
    "protein": (make_proteins(150), "unigram"),
    "peptides": ("\n\n".join("MKVLAAGIVGLCLT" * n for n in range(2, 7)), "unigram"),
    "code": (make_code(), "bpe"),
    "chinese": ("中文字典很大，我们每天都用它。\n" * 40 + "\n" + "另一个文件也有中文字。\n" * 40, "wordpiece"),
    "finnish": (make_words(FINNISH, 150, " ", ". "), "wordpiece"),
}


def train(folder: Path, text: str, **options: object) -> PreTrainedTokenizerBase:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text(text, encoding="utf-8")
    config = TokenizerConfig([str(folder / "a.txt")], folder / "tokenizer", **options)
    train_tokenizer(config)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(config.out)
    return tokenizer


@pytest.mark.parametrize("name", CORPORA)
def test_suggest_kind_matches_corpus(name: str) -> None:
    text, kind = CORPORA[name]
    assert suggest_kind(text.split("\n\n"))[0] == kind


def test_few_foreign_words_do_not_change_suggested_kind() -> None:
    texts = [*make_text(300).split("\n\n"), "".join(THAI), "x" * 200, "a\n    b"]
    assert suggest_kind(texts)[0] == "wordpiece"


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_zero_width_space_separates_words(kind: str, tmp_path: Path) -> None:
    tokenizer = train(tmp_path, make_text(60), kind=kind, vocab_size=90)
    assert tokenizer("the\u200bcat").input_ids == tokenizer("the cat").input_ids != tokenizer("thecat").input_ids


def test_training_writes_identical_bytes_in_every_process(tmp_path: Path) -> None:
    text = make_words(JAPANESE, 60) + make_text(60) + "".join(map(chr, range(0x4E00, 0x4E80)))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    train_every_kind = """
import sys
from pathlib import Path
from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import train_tokenizer
text, out, *kinds = sys.argv[1:]
for kind in kinds:
    train_tokenizer(TokenizerConfig([text], Path(out, kind), kind=kind, vocab_size=700))
"""
    for number in range(3):
        arguments = [str(tmp_path / "a.txt"), str(tmp_path / str(number)), *KINDS]
        subprocess.run([sys.executable, "-c", train_every_kind, *arguments], check=True, capture_output=True)
    for kind in KINDS:
        assert len({(tmp_path / str(number) / kind / "tokenizer.json").read_bytes() for number in range(3)}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_pairs_words_and_offsets(kind: str, tmp_path: Path) -> None:
    tokenizer = train(tmp_path, make_text(150), kind=kind, vocab_size=500)
    assert special_ids(tokenizer) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert tokenizer("[MASK]", add_special_tokens=False)["input_ids"] == [4]
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == SPECIAL_TOKENS
    assert len(tokenizer) == 500
    assert tokenizer.model_max_length == 512

    question, context = "kalo mi?", "Ser tandu,  velor ith."
    pair = tokenizer(question, context, return_offsets_mapping=True)
    ids, types = pair["input_ids"], pair["token_type_ids"]
    assert pair["attention_mask"] == [1] * len(ids)
    assert set(tokenizer(question)["token_type_ids"]) == {0}
    assert ids[0] == 2
    assert [place for place, token in enumerate(ids) if token == 3][-1] == len(ids) - 1
    assert types == [0] * types.index(1) + [1] * (len(types) - types.index(1))
    assert ids[types.index(1) - 1] == 3
    offsets = dict.fromkeys(pair["offset_mapping"][types.index(1) : -1])  # "▁" has the offsets of "S"
    words = [context[begin:end] for begin, end in offsets]
    assert "".join(words) == "Sertandu,velorith."
    assert not [word for word in words if word != word.strip()]

    split = tokenizer(["kalo", "miser,", "tan"], is_split_into_words=True)
    assert [w for w in split.word_ids() if w is not None] == sorted(w for w in split.word_ids() if w is not None)
    assert set(split.word_ids()) == {None, 0, 1, 2}
    decoded = tokenizer.decode(tokenizer("kalo miser tan")["input_ids"], skip_special_tokens=True)
    assert decoded.strip() == "kalo miser tan"


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_convert_to_text_and_wordpiece_form(kind: str, tmp_path: Path) -> None:
    tokenizer = train(tmp_path, make_text(60) + "Größe 中文 " * 20, kind=kind, vocab_size=400)
    pieces = tokenizer.tokenize("kalomiser tan Größe")
    text = "".join(readable(piece, tokenizer.backend_tokenizer) for piece in pieces)
    assert text.replace("\ufffd", "") == " kalomiser tan Größe"
    as_wordpiece = [in_wordpiece_form(p, tokenizer.backend_tokenizer) for p in pieces]
    joined = " ".join(as_wordpiece).replace("\ufffd", "").replace(" ##", "")
    assert joined.strip() == "kalomiser tan Größe"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("lowercase", "strip_accents"), [(True, False), (True, True), (False, True)])
def test_lowercase_and_strip_accents(kind: str, lowercase: bool, strip_accents: bool, tmp_path: Path) -> None:
    text = "Ein Café ist Größe. " * 30 + make_text(40)
    tokenizer = train(*(tmp_path, text), kind=kind, vocab_size=320, lowercase=lowercase, strip_accents=strip_accents)
    expected = "Café" if not strip_accents else "Cafe"
    decoded = tokenizer.decode(tokenizer("Café", add_special_tokens=False)["input_ids"])
    assert decoded.strip() == (expected.lower() if lowercase else expected)


def test_bpe_with_too_small_vocabulary_raises(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match="at least 261 for --kind bpe"):
        train(tmp_path, make_text(20), kind="bpe", vocab_size=260)


def test_bpe_keeps_white_space_and_unseen_characters(tmp_path: Path) -> None:
    tokenizer = train(tmp_path, make_code(), vocab_size=600)
    text = "def f(x):\n\tif x:\n        return '한국어 🦜'\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids).removeprefix(" ") == text
    assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_printable_ascii_is_kept_if_vocabulary_has_room(kind: str, tmp_path: Path) -> None:
    text = make_words([*FINNISH, *make_text(1000).split()], 400, " ", ". ") + " Öljy ﷽"
    tokenizer = train(tmp_path, text, kind=kind, vocab_size=4000)
    printable = "".join(map(chr, range(33, 127)))
    assert set(printable) | {"Ö", "﷽"} <= tokenizer.get_vocab().keys()
    ids = tokenizer([*printable, "Zzyx", "#!{}", "q1w2"], add_special_tokens=False)["input_ids"]
    assert all(tokenizer.unk_token_id not in tokens for tokens in ids)


@pytest.mark.parametrize("name", ["thai", "japanese", "protein", "code"])
def test_from_inspect_to_pretrain_with_suggested_settings(name: str, tmp_path: Path) -> None:
    text, kind = CORPORA[name]
    tokenizer = train(tmp_path, text, vocab_size=400)
    corpus = [str(tmp_path / "a.txt")]
    findings = {f.subject: f for f in inspect_corpus(InspectConfig(corpus))}
    assert f"--kind {kind}" in findings["tokenizer"].value

    blocks = tmp_path / "blocks"
    manifest = prepare(PrepareConfig(corpus, str(tmp_path / "tokenizer"), blocks, 64, workers=1))
    assert manifest.unknown < 1e-3

    rows = BlockStore.open(blocks).rows("train")
    tokens = rows.take(np.arange(len(rows)))
    assert (tokens == tokenizer.unk_token_id).mean() < 1e-3
    config = tiny_config(blocks, tmp_path / "run", steps=2)
    config.masking.unit = "whole_word"
    assert pretrain(config)["steps"] == 2
