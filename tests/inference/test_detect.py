"""Detection: word offsets in any text, windows, suggestions, and planted words that a small pair detects."""

import csv
import io
import json
import logging
import random
import re
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tokenizers import pre_tokenizers
from transformers import ElectraConfig, ElectraForPreTraining

from elektron.cli import main
from elektron.configuration import from_dict
from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Record
from elektron.inference import detect as module
from elektron.inference.config import DetectConfig
from elektron.inference.detect import Detector, load_detector, print_marked, windows
from elektron.pretraining.config import PretrainConfig
from elektron.pretraining.pretrain import pretrain
from tests.conftest import OBJECTS, SMALL_ELECTRA, SUBJECTS, VERBS, prepare_blocks, sentences
from tests.finetuning.conftest import write_jsonl

STRANGE = [
    "He said: “naïve café”,\r\nthen left.\r\n",
    "  two  spaces, a\ttab and 😀👩‍🚀 emoji  ",
    "我喜欢猫，不喜欢狗。Yes!",
    "e\u0301te\u0301 — in decomposed form",
    "a_b x-y don't 3.14",
    "",
    " \n ",
]


def records(*texts):
    return [Record({"text": text}, {"text": text}, "here") for text in texts]


def suspicious(detector, *texts):
    return [prediction["suspicious"] for prediction in detector.predict(records(*texts))]


def small_discriminator(tokenizer):
    torch.manual_seed(0)
    return ElectraForPreTraining(ElectraConfig(vocab_size=len(tokenizer), **SMALL_ELECTRA))


@pytest.fixture(scope="module")
def pair(corpus_file, tmp_path_factory):
    """A short run on the small language, with a vocabulary in which most words are one piece."""
    folder = tmp_path_factory.mktemp("detect")
    tokenizer, size = folder / "tokenizer", 130
    train_tokenizer(TokenizerConfig(corpus=[str(corpus_file)], out=tokenizer, vocab_size=size))
    settings = {
        "data": str(prepare_blocks(corpus_file, tokenizer, folder / "blocks")),
        "out": str(folder / "run"),
        "steps": 150,
        "batch_size": 32,
        "optimizer.learning_rate": 3e-3,
        "network.num_hidden_layers": 2,
        "network.hidden_size": 64,
        "network.intermediate_size": 128,
        "network.num_attention_heads": 2,
        "network.embedding_size": 64,
        "network.generator_layers": 1,
        "network.max_position_embeddings": 64,
        "evaluation.every": 1000,
    }
    pretrain(from_dict(PretrainConfig, settings))
    return settings["out"]


@pytest.fixture(scope="module")
def finds(pair):
    """A detector that lists every word."""
    return load_detector(DetectConfig(model=pair, threshold=0))


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "bpe without a first space", "unigram"])
def test_word_offsets_match_text_and_leave_nothing_out(kind, tmp_path):
    kind, _, without_space = kind.partition(" ")
    corpus = tmp_path / "text.txt"
    # Characters in random order, so that no piece is longer than a word.
    rng = random.Random(0)
    lines = [" ".join(rng.sample(list(text), len(text))) for text in STRANGE for _ in range(20)]
    corpus.write_text("\n".join([*lines, *["left and emoji"] * 20]))
    size = 300 if kind == "bpe" else 96
    out = tmp_path / "tokenizer"
    tokenizer = train_tokenizer(TokenizerConfig(corpus=[str(corpus)], out=out, kind=kind, vocab_size=size))
    if without_space:  # as in RoBERTa and ModernBERT
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    config = DetectConfig(model="m", threshold=0)
    detector = Detector(config, small_discriminator(tokenizer), None, tokenizer)
    for text, words in zip(STRANGE, suspicious(detector, *STRANGE), strict=True):
        end = 0
        for word in words:
            assert text[word["start"] : word["end"]] == word["word"]
            assert word["word"] and word["word"] == word["word"].strip()
            assert text[end : word["start"]].strip() == ""  # no character between words is left out
            assert 0 < word["probability"] < 1
            assert "suggestions" not in word
            end = word["end"]
        assert text[end:].strip() == ""
    found = [word["word"] for word in suspicious(detector, STRANGE[2])[0]]
    assert [word for word in found if "猫" in word] == ["猫"]
    assert [word["word"] for word in suspicious(detector, STRANGE[0])[0]][-2:] == ["left", "."]


def test_characters_not_in_vocabulary_are_not_words(finds):
    words = suspicious(finds, "the cat 😀 sees 猫 .")[0]
    assert [word["word"] for word in words] == ["the", "cat", "sees", "."]


def test_word_probability_is_maximum_over_its_pieces(finds):
    tokenizer = finds.tokenizer
    text = "the catriver sees ."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        chances = finds.discriminator(ids).logits[0].sigmoid()[1:-1].numpy()
    of_word = [word for word in tokenizer(text).word_ids() if word is not None]
    highest = [max(chances[np.array(of_word) == word]) for word in range(4)]
    assert of_word.count(1) > 1
    found = suspicious(finds, text)[0]
    assert [word["probability"] for word in found] == pytest.approx(highest, abs=1e-3)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 8, 50])
@pytest.mark.parametrize("length", [0, 1, 4, 5, 11, 49, 50, 51, 200])
def test_windows_cover_text_and_have_equal_size(length, max_tokens):
    found = windows(length, max_tokens)
    assert found[0][0] == 0 and found[-1][1] == length
    assert {end - begin for begin, end in found} == {min(max_tokens, length)}
    assert all(later[0] <= end for (_, end), later in pairwise(found))
    assert (len(found) == 1) == (length <= max_tokens)


def test_windows_equal_hand_computed_values():
    assert windows(11, 4) == [(0, 4), (3, 7), (6, 10), (7, 11)]


def test_every_token_is_scored_with_context_on_both_sides(finds, monkeypatch):
    """A stand-in model returns the position of each token in its window as its probability."""
    detector = Detector(finds.config, *finds.networks, finds.tokenizer)
    detector.max_tokens = 40

    def place(_model, input_ids, _mask):
        return torch.arange(-1.0, input_ids.shape[1] - 1).expand(input_ids.shape).div(1000).logit()

    monkeypatch.setattr(module, "replaced_logits", place)
    length = 300
    (found,) = detector._probabilities([[7] * length])
    places = np.rint(found * 1000).astype(int)
    assert places[:35].tolist() == list(range(35)) and places[-30:].tolist() == list(range(10, 40))
    assert places[35:-30].min() >= 5 and places[35:-30].max() < 35


def test_short_text_equals_single_forward_and_long_text_has_all_words(finds):
    texts = sentences(6, seed=5)
    together, long = suspicious(finds, *texts), " ".join(texts * 6)
    for text, words in zip(texts, together, strict=True):
        ids = finds.tokenizer(text, return_tensors="pt")["input_ids"]
        assert ids.shape[1] <= finds.max_tokens
        with torch.inference_mode():
            logits = finds.discriminator(ids).logits[0, 1:-1]
        assert max(word["probability"] for word in words) == pytest.approx(float(logits.sigmoid().max()), abs=1e-3)
        assert suspicious(finds, text)[0] == [
            word | {"probability": pytest.approx(word["probability"], abs=2e-4)} | suggested(word) for word in words
        ]
    words = suspicious(finds, long)[0]
    assert [word["word"] for word in words] == long.split()
    assert max(word["end"] for word in words) == len(long)


def suggested(word):
    return {
        "suggestions": [
            each | {"probability": pytest.approx(each["probability"], abs=2e-4)} for each in word["suggestions"]
        ]
    }


@pytest.mark.parametrize("sentences_in_text", [1, 25])
def test_planted_words_are_detected_and_verbs_suggested(finds, sentences_in_text):
    """A text of 25 sentences is read in several windows."""
    rng = random.Random(3)
    words_of_texts, planted = [], []
    for number in range(150):
        subject, verb, thing = (rng.choice(each) for each in (SUBJECTS, VERBS, OBJECTS))
        wrong = rng.random() < 0.5
        noun = rng.choice(["house", "river", "bread", "cat"])
        if number % sentences_in_text == 0:
            words_of_texts.append([])
        words = words_of_texts[-1]
        planted.append((len(words_of_texts) - 1, len(words) + len(subject.split()), wrong))
        words += f"{subject} {noun if wrong else verb} {thing} .".split()
    if sentences_in_text > 1:
        assert min(map(len, words_of_texts)) > 2 * finds.max_tokens
    found = suspicious(finds, *map(" ".join, words_of_texts))
    places = [found[text][at] for text, at, _ in planted]
    wrong = [wrong for _, _, wrong in planted]
    assert roc_auc_score(wrong, [word["probability"] for word in places]) > 0.75
    right = [word["suggestions"][0]["word"] in VERBS for word, is_wrong in zip(places, wrong, strict=True) if is_wrong]
    assert np.mean(right) > 0.2  # chance is 6 verbs among 130 pieces


def test_suggestions_are_top_generator_words_for_one_mask(finds):
    tokenizer, text = finds.tokenizer, "the catriver sees the river ."
    (word,) = [word for word in suspicious(finds, text)[0] if word["word"] == "catriver"]
    ids = tokenizer("the [MASK] sees the river .", return_tensors="pt")["input_ids"]
    place = int((ids[0] == tokenizer.mask_token_id).nonzero())
    with torch.inference_mode():
        chances = finds.generator(ids).logits[0, place].softmax(-1)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    words = {
        name: float(chance)
        for name, chance in zip(names, chances, strict=False)
        if not name.startswith("##") and name not in tokenizer.all_special_tokens
    }
    best = sorted(words, key=words.__getitem__, reverse=True)[:3]
    assert [each["word"] for each in word["suggestions"]] == best
    assert [each["probability"] for each in word["suggestions"]] == pytest.approx(
        [words[name] for name in best], abs=1e-3
    )


def test_the_word_itself_is_not_suggested(finds):
    for words in suspicious(finds, *sentences(20)):
        for word in words:
            names = [each["word"] for each in word["suggestions"]]
            assert len(names) == 3 and word["word"] not in names


def test_all_words_of_long_text_have_suggestions(finds):
    text = " ".join([*sentences(30), "the river river river .", *sentences(30)])
    words = suspicious(finds, text)[0]
    assert all(len(word["suggestions"]) == 3 for word in words)


def test_threshold_filters_words_by_probability(pair):
    text = "the river river bread the open door ."
    every = suspicious(load_detector(DetectConfig(model=pair, threshold=0)), text)[0]
    middle = sorted(word["probability"] for word in every)[len(every) // 2]
    some = suspicious(load_detector(DetectConfig(model=pair, threshold=middle - 1e-4)), text)[0]
    assert [word["word"] for word in some] == [word["word"] for word in every if word["probability"] >= middle - 1e-4]
    assert 0 < len(some) < len(every)


def test_discriminator_without_generator_logs_and_gives_no_suggestions(encoders, caplog):
    with caplog.at_level(logging.INFO, logger="elektron"):
        detector = load_detector(DetectConfig(model=str(encoders["electra"]), threshold=0))
    assert "no generator next to" in caplog.text
    words = suspicious(detector, "the cat .")[0]
    assert [set(word) for word in words] == [{"word", "start", "end", "probability"}] * 3


def test_suggestions_are_left_out_when_set_to_zero(encoders):
    run = str(encoders["electra"].parent)
    detector = load_detector(DetectConfig(model=run, threshold=0, suggestions=0))
    assert "suggestions" not in suspicious(detector, "the cat .")[0][0]


def test_discriminator_saved_by_transformers_is_loaded(tokenizer_folder, tmp_path):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    small_discriminator(tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    detector = load_detector(DetectConfig(model=str(tmp_path), threshold=0))
    assert len(suspicious(detector, "the cat .")[0]) == 3


def test_all_output_formats_contain_the_same_words(encoders, tmp_path):
    run = str(encoders["elektron"].parent)
    texts = ["the cat sees it", "the dog ."]
    path = write_jsonl(tmp_path / "in.jsonl", [{"id": 1, "body": text} for text in texts])
    found = {}
    for ending in ("jsonl", "csv", "tsv", "parquet"):
        out = tmp_path / f"out.{ending}"
        arguments = ["detect", run, "--input", str(path), "--text", "body", "--threshold", "0"]
        assert main([*arguments, "--output", str(out)]) == 0
        if ending == "jsonl":
            rows = [json.loads(line) for line in out.read_text().splitlines()]
        elif ending == "parquet":
            rows = pq.read_table(out).to_pylist()
        else:
            quoting = csv.QUOTE_NONE if ending == "tsv" else csv.QUOTE_MINIMAL
            reader = csv.DictReader(
                io.StringIO(out.read_text()), delimiter="\t" if ending == "tsv" else ",", quoting=quoting
            )
            rows = [row | {"predicted_suspicious": json.loads(row["predicted_suspicious"])} for row in reader]
        assert [row["body"] for row in rows] == texts
        found[ending] = [row["predicted_suspicious"] for row in rows]
    assert found["jsonl"] == found["csv"] == found["tsv"] == found["parquet"]
    assert [word["word"] for word in found["jsonl"][1]] == ["the", "dog", "."]


def test_parquet_accepts_no_suspicious_word_in_first_rows(tmp_path, monkeypatch, encoders):
    monkeypatch.setattr("elektron.inference.predict.CHUNK", 1)
    path = tmp_path / "in.txt"
    path.write_text("\nthe cat .\n")
    run, out = str(encoders["elektron"].parent), tmp_path / "out.parquet"
    arguments = ["detect", run, "--input", str(path), "--threshold", "0", "--output", str(out)]
    assert main(arguments) == 0
    rows = pq.read_table(out).to_pylist()
    assert rows[0]["predicted_suspicious"] == [] and len(rows[1]["predicted_suspicious"]) == 3


def test_standard_input_to_standard_output(encoders, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the cat .\n")))
    assert main(["detect", str(encoders["elektron"].parent), "--threshold", "0"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["text"] == "the cat ."
    assert [word["start"] for word in row["predicted_suspicious"]] == [0, 4, 8]


def test_terminal_output_marks_words_and_escapes_control_characters(encoders, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the \x1b[31mcat .\n")))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["detect", str(encoders["elektron"].parent), "--threshold", "0"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[1;4;31mthe\x1b[0m" in shown and "\x1b[31mcat" not in shown
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert lines[0] == "the \\x1b[31mcat ."
    assert any(line.split()[1:3] == ["the", "→"] for line in lines[1:])
    assert "{" not in "".join(lines)


def test_print_marked_lists_words_with_suggestions(capsys):
    words = [
        {
            "word": "bye",
            "start": 3,
            "end": 6,
            "probability": 0.655,
            "suggestions": [{"word": "by", "probability": 0.63}, {"word": "to", "probability": 0.1}],
        },
        {"word": "teh", "start": 7, "end": 10, "probability": 0.5},
    ]
    print_marked("is bye teh way", words)
    assert capsys.readouterr().out.splitlines() == ["is bye teh way", "   66%  bye → by 63%, to 10%", "   50%  teh"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--threshold", "2"], "--threshold must be from 0 to 1"),
        (["--suggestions", "-1"], "--suggestions must be from 0 to 100"),
        (["--thresold", "0.1"], "did you mean --threshold"),
        (["--text", "body"], "no column 'body' for --text"),
        (["--label", "x"], "unknown option --label"),
        (["--output", "out.docx"], "must end in"),
        (["--input", "nowhere.txt"], "nowhere.txt: no such file"),
    ],
)
def test_invalid_options_are_rejected_in_one_line(encoders, tmp_path, capsys, options, complaint):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "the cat ."}])
    run = str(encoders["elektron"].parent)
    assert main(["detect", run, "--input", str(path), *options]) == 2
    out, err = capsys.readouterr()
    (error,) = [line for line in err.splitlines() if not line.startswith("predicting ")]  # the line of progress
    assert error.startswith("elektron: ") and complaint in error
    assert out == ""


def test_file_without_rows_is_rejected(encoders, tmp_path, capsys):
    path = tmp_path / "in.txt"
    path.write_text("")
    assert main(["detect", str(encoders["elektron"].parent), "--input", str(path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"elektron: {path}: empty, it has no rows"


def test_models_other_than_discriminators_raise(encoders, tmp_path):
    generator = encoders["electra"].with_name("generator")
    with pytest.raises(ElektronError, match="is a masked language model"):
        load_detector(DetectConfig(model=str(generator)))
    with pytest.raises(ElektronError, match="no model can be read"):
        load_detector(DetectConfig(model=str(tmp_path)))
