"""Commands count the characters that become [UNK], name the cause, and stop if there are too many."""

import json
import unicodedata
from pathlib import Path

import pytest
from transformers import BertTokenizer, PreTrainedTokenizerBase

from elektron.cli import main
from elektron.corpus.blocks import Manifest
from elektron.corpus.config import InspectConfig, PrepareConfig, TokenizerConfig
from elektron.corpus.inspection import inspect_corpus
from elektron.corpus.prepare import prepare
from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer
from elektron.corpus.unknown import CAPITALS, CHARACTERS, COMPOSED, DECOMPOSED, LONG_WORDS, count_unknown
from elektron.corpus.vocabulary import RARE_CHARACTERS
from elektron.errors import ElektronError
from elektron.pretraining.setup import open_blocks
from tests.corpus.texts import make_proteins, make_text
from tests.finetuning.conftest import encoders, write_tsv  # noqa: F401
from tests.pretraining.conftest import tiny_config

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
KOREAN = "한국어 문장"


def bert(characters: str, **options: bool) -> PreTrainedTokenizerBase:
    """A BertTokenizer with a vocabulary of single characters."""
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters)]
    return BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        **{"do_lower_case": False, "strip_accents": False} | options,
    )


@pytest.mark.parametrize(
    ("characters", "text", "replaced", "cause"),
    [
        ("ab", "ab " * 25 + "ab" * 75, 150, LONG_WORDS),
        ("".join(sorted(set(unicodedata.normalize("NFD", KOREAN)))), KOREAN, 5, DECOMPOSED),
        ("한국어문장", unicodedata.normalize("NFD", KOREAN), 14, COMPOSED),
        ("abc", "abc Abc", 3, CAPITALS),
        ("abc", "abc abж ж", 4, CHARACTERS),
        ("abc", "abc  cab\n", 0, None),
    ],
)
def test_count_unknown_returns_replaced_characters_and_cause(
    characters: str, text: str, replaced: int, cause: str | None
) -> None:
    found = count_unknown([text], bert(characters))
    assert found.characters == len("".join(text.split()))
    assert found.replaced == replaced
    assert list(found.causes) == ([] if cause is None else [cause])


def test_count_unknown_reports_missing_characters() -> None:
    found = count_unknown(["abж жab ab"], bert("ab"))
    assert found.missing == {"ж": 2}
    assert "ж" in found.cause


def test_a_trained_tokenizer_splits_words_of_any_length(tmp_path: Path) -> None:
    texts = [*make_proteins(60).split("\n"), "x" * 5000]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    for kind in ("wordpiece", "unigram"):
        config = TokenizerConfig([str(tmp_path / "a.txt")], tmp_path / kind, kind, vocab_size=100)
        train_tokenizer(config)
        tokenizer = load_tokenizer(str(config.out))
        assert count_unknown(texts, tokenizer).replaced == 0
        for text in texts:
            pieces = "".join(tokenizer.tokenize(text)).replace("##", "").replace("▁", "")
            assert pieces == text


def test_composed_and_decomposed_text_has_the_same_ids(tmp_path: Path) -> None:
    text = "\n".join(f"{KOREAN} café {number}" for number in range(20))
    (tmp_path / "a.txt").write_text(unicodedata.normalize("NFD", text))
    train_tokenizer(TokenizerConfig([str(tmp_path / "a.txt")], tmp_path / "t", vocab_size=40))
    tokenizer = load_tokenizer(str(tmp_path / "t"))
    composed, decomposed = (
        tokenizer(unicodedata.normalize(form, f"{KOREAN} café"))["input_ids"] for form in ("NFC", "NFD")
    )
    assert composed == decomposed
    assert tokenizer.unk_token_id not in composed


def test_rare_letters_are_kept_if_vocabulary_has_room(tmp_path: Path) -> None:
    text = make_text(2000) + "tämä on lause järvestä ja metsästä Fysiikka Celsius Quebec zoo Öljy " * 2
    assert text.count("Q") < RARE_CHARACTERS * len(text)
    (tmp_path / "a.txt").write_text(text)
    config = TokenizerConfig([str(tmp_path / "a.txt")], tmp_path / "t", vocab_size=300)
    assert set("FCQzÖ") <= train_tokenizer(config).get_vocab().keys()


def test_inspection_counts_unknown_characters_instead_of_tokens(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(("ab " * 25 + "ab" * 75 + "\n") * 50)
    bert("ab").save_pretrained(tmp_path / "t")
    findings = inspect_corpus(InspectConfig([str(tmp_path / "a.txt")], str(tmp_path / "t")))
    (found,) = [finding for finding in findings if "[UNK]" in finding.subject]
    assert found.value == "75.000%"
    assert found.verdict == "wrong"
    assert "max_input_chars_per_word" in found.advice


def test_inspection_of_proteins_has_no_wrong_verdict(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(make_proteins(60))
    train_tokenizer(TokenizerConfig([str(tmp_path / "a.txt")], tmp_path / "t", vocab_size=100))
    findings = inspect_corpus(InspectConfig([str(tmp_path / "a.txt")], str(tmp_path / "t")))
    assert not [finding for finding in findings if finding.verdict == "wrong"]


@pytest.mark.parametrize("packing", ["dense", "paper"])
@pytest.mark.parametrize("workers", [1, 2])
def test_prepare_and_pretrain_raise_on_unknown_text_unless_allowed(tmp_path: Path, packing: str, workers: int) -> None:
    lines = [f"{'ab ' * 25}{'ab' * 75}{' a' * number}" for number in range(100)]
    (tmp_path / "a.txt").write_text("\n\n".join(lines))
    bert("ab").save_pretrained(tmp_path / "t")
    config = PrepareConfig([str(tmp_path / "a.txt")], str(tmp_path / "t"), tmp_path / "b", packing=packing)
    config.workers = workers
    with pytest.raises(ElektronError, match=r"a\.txt: .*max_input_chars_per_word.*--allow-unknown"):
        prepare(config)
    assert not (tmp_path / "b").exists()
    config.allow_unknown = True
    prepare(config)
    replaced, characters = 100 * 150, sum(len(line.replace(" ", "")) for line in lines)
    assert Manifest.load(tmp_path / "b" / "manifest.json").unknown == replaced / characters
    with pytest.raises(ElektronError, match=f"{replaced / characters:.1%}.*--allow-unknown"):
        open_blocks(tiny_config(tmp_path / "b", tmp_path / "run"))
    open_blocks(tiny_config(tmp_path / "b", tmp_path / "run", allow_unknown=True))


def test_too_small_vocabulary_raises_unless_unknown_is_allowed(tmp_path: Path) -> None:
    characters = "".join(map(chr, range(0x4E00, 0x4F00)))
    (tmp_path / "a.txt").write_text("\n".join([characters] * 3))
    config = TokenizerConfig([str(tmp_path / "a.txt")], tmp_path / "t", vocab_size=105)
    with pytest.raises(ElektronError, match=r"60\.9%.*--vocab-size"):
        train_tokenizer(config)
    assert not (tmp_path / "t").exists()
    config.allow_unknown = True
    assert len(train_tokenizer(config)) == 105


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    rows = [(f"Привет, мир {number}", "ab"[number % 2]) for number in range(20)]
    return write_tsv(tmp_path / "foreign.tsv", rows, ("sentence", "label"))


def test_finetuning_commands_fail_on_unknown_text_unless_allowed(
    encoders: dict[str, Path],  # noqa: F811
    foreign: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = str(tmp_path / "model")
    finetune = ["finetune", "classification", "--model", str(encoders["electra"])]
    finetune += ["--train", str(foreign), "--epochs", "1", "--out", model]
    predict = ["predict", model, "--input", str(foreign)]
    evaluate = ["evaluate", model, str(foreign)]
    for command in (finetune, predict, evaluate):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert "--allow-unknown" in err
        assert not out
        assert main([*command, "--allow-unknown", "true"]) == 0
        assert "become [UNK]" in capsys.readouterr().err


def test_case_options_are_inferred_from_vocab_txt_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, pieces, text, tokens in (
        ("cased", ["Haus", "größer", "haus"], "Haus größer", ["Haus", "größer"]),
        ("uncased", ["haus", "größer"], "Haus GRÖßER", ["haus", "größer"]),
        ("stripped", ["haus", "cafe"], "Haus Café", ["haus", "cafe"]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_text("\n".join([*SPECIAL, *pieces]))
        with caplog.at_level("INFO", "elektron"):
            assert load_tokenizer(str(tmp_path / name)).tokenize(text) == tokens
        assert str(tmp_path / name) in caplog.text


def test_case_rules_of_tokenizer_json_apply_without_config_options(tmp_path: Path) -> None:
    bert("aAb").save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["do_lower_case"], settings["strip_accents"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(str(tmp_path)).tokenize("Ab") == ["A", "##b"]


def test_lowercasing_with_cased_vocabulary_logs_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bert("aAbB", do_lower_case=True).save_pretrained(tmp_path)
    load_tokenizer(str(tmp_path))
    assert "do_lower_case" in caplog.text
