"""Training a tokenizer follows the rules of BERT and does not overwrite other files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import fingerprint, load_tokenizer, train_tokenizer
from elektron.errors import ElektronError
from tests.corpus.texts import make_text

TEXT = "Ein Café, größer als 中文字典 und αβγ! " * 20 + make_text(20)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TokenizerConfig:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    return TokenizerConfig([str(folder / "corpus.txt")], folder / "tokenizer", vocab_size=150)


@pytest.fixture(scope="module")
def mixed(config: TokenizerConfig) -> PreTrainedTokenizerBase:
    train_tokenizer(config)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(config.out)
    return tokenizer


def test_chinese_characters_are_single_tokens_and_accents_are_kept(mixed: PreTrainedTokenizerBase) -> None:
    assert mixed.tokenize("中文字") == ["中", "文", "字"]
    assert "##中" not in mixed.get_vocab()
    assert "".join(mixed.tokenize("Café")).replace("##", "") == "Café"
    assert mixed.decode(mixed("größer als")["input_ids"], skip_special_tokens=True) == "größer als"


def test_rare_characters_are_left_out_when_there_is_no_room(config: TokenizerConfig, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    text = make_text(2000)
    rare = "".join(chr(0x430 + n) for n in range(30))
    corpus.write_text(f"{text} {rare}", encoding="utf-8")
    letters = {c for c in text if c.isalpha()}
    for size, kept in ((120, 12), (150, 19), (300, 30)):
        out = tmp_path / str(size)
        pieces = train_tokenizer(
            replace(config, corpus=[str(corpus)], out=out, vocab_size=size, allow_unknown=True)
        ).get_vocab()
        assert letters <= pieces.keys()
        assert len(set(rare) & pieces.keys()) == kept
        assert len({f"##{c}" for c in rare} & pieces.keys()) == kept


def test_fingerprint_does_not_change_on_use_or_reload(
    mixed: PreTrainedTokenizerBase, tokenizer_folder: Path, tmp_path: Path
) -> None:
    before = fingerprint(mixed)
    mixed("ein Café", truncation=True, max_length=4, padding="max_length")
    assert fingerprint(mixed) == before
    mixed.save_pretrained(tmp_path / "again")
    assert fingerprint(load_tokenizer(str(tmp_path / "again"))) == before
    assert fingerprint(load_tokenizer(str(tokenizer_folder))) != before


def test_vocab_size_larger_than_corpus_supports_raises(config: TokenizerConfig, tmp_path: Path) -> None:
    large = replace(config, out=tmp_path / "t", vocab_size=50_000)
    with pytest.raises(ElektronError, match=r"supports a vocabulary of [\d,]+ pieces") as raised:
        train_tokenizer(large)
    assert list(tmp_path.iterdir()) == []
    (would_do,) = re.findall(r"--vocab-size (\d+)", str(raised.value))
    train_tokenizer(replace(large, vocab_size=int(would_do)))
    with pytest.raises(ElektronError, match="supports"):
        train_tokenizer(replace(large, vocab_size=int(would_do) + 1, out=tmp_path / "u"))


def test_max_documents_samples_documents_evenly(tmp_path: Path) -> None:
    # Every tenth document has other letters, and an even sample of a tenth contains only these documents.
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join("nanana" if n % 10 == 0 else "zezeze" for n in range(500)))
    config = TokenizerConfig([str(corpus)], tmp_path / "t", vocab_size=10, max_documents=50)
    pieces = train_tokenizer(config).get_vocab().keys()
    assert {"n", "##n"} <= pieces
    assert not {"z", "##z"} & pieces


def test_training_same_tokenizer_again_keeps_files(config: TokenizerConfig, tmp_path: Path) -> None:
    first = train_tokenizer(replace(config, out=tmp_path / "t"))
    stamp = (tmp_path / "t" / "tokenizer.json").stat().st_mtime_ns
    again = train_tokenizer(replace(config, out=tmp_path / "t"))
    assert fingerprint(again) == fingerprint(first)
    assert (tmp_path / "t" / "tokenizer.json").stat().st_mtime_ns == stamp


def test_training_over_other_tokenizer_raises_and_keeps_it(
    config: TokenizerConfig, corpus_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t"
    train_tokenizer(replace(config, out=out))
    before = (out / "tokenizer.json").read_bytes()
    with pytest.raises(ElektronError, match=r"another tokenizer \(--vocab-size 150 there, 140 he"):
        train_tokenizer(replace(config, out=out, vocab_size=140))
    with pytest.raises(ElektronError, match="another corpus"):
        train_tokenizer(replace(config, out=out, corpus=[str(corpus_file)]))
    assert (out / "tokenizer.json").read_bytes() == before


def test_out_folder_with_other_files_raises(config: TokenizerConfig, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("precious")
    with pytest.raises(ElektronError, match="was not written by"):
        train_tokenizer(replace(config, out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@pytest.mark.parametrize(
    ("changes", "complaint"), [({"vocab_size": 5}, "--vocab-size"), ({"max_documents": 0}, "--max-documents")]
)
def test_invalid_options_raise(
    config: TokenizerConfig, tmp_path: Path, changes: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ElektronError, match=complaint):
        train_tokenizer(replace(config, out=tmp_path / "t", **changes))


def test_loading_from_empty_or_missing_folder_raises(tokenizer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match=r"no tokenizer.*elektron tokenizer"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(ElektronError, match=r"no such folder: did you mean \S*/tokenizer\?"):
        load_tokenizer(str(tokenizer_folder.parent / "tokeniser"))


@pytest.mark.parametrize("content", ["{", '{"version": "1.0"}', ""])
def test_loading_damaged_tokenizer_raises(tokenizer_folder: Path, tmp_path: Path, content: str) -> None:
    for file in tokenizer_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ElektronError, match=r"tokenizer\.json: damaged"):
        load_tokenizer(str(tmp_path))


def test_loading_tokenizer_without_sep_and_mask_raises(tokenizer_folder: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    backend = load_tokenizer(str(tokenizer_folder)).backend_tokenizer
    PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]"
    ).save_pretrained(tmp_path)
    with pytest.raises(ElektronError, match="lacks sep, mask"):
        load_tokenizer(str(tmp_path))


def test_made_from_json_records_vocab_size(tokenizer_folder: Path) -> None:
    made_from = json.loads((tokenizer_folder / "made_from.json").read_text())
    vocabulary = load_tokenizer(str(tokenizer_folder)).get_vocab()
    assert made_from["options"]["vocab_size"] == len(vocabulary)
