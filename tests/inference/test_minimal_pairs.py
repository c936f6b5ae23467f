"""Minimal pairs: scores of models with known probabilities, and the results and errors of the command."""

import gzip
import json
import math

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
)

from elektron.accelerator import Accelerator
from elektron.cli import main
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import EvaluateConfig
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.roles import MINIMAL_PAIRS
from elektron.inference.evaluate import evaluate
from elektron.inference.minimal_pairs import accuracy_by_group, sentence_scores, tokenized
from elektron.inference.pretrained import Scorer
from elektron.models import ElektronForMaskedLM, ElektronForPreTraining
from elektron.models.families import LABELS
from tests.conftest import sentences
from tests.finetuning.conftest import write_jsonl

PAIRS = [
    {"good": "the cat sees the river .", "bad": "the cat river the sees .", "phenomenon": "order"},
    {"good": "the dog likes an apple .", "bad": "the dog likes apple .", "phenomenon": "order"},
    {"good": "the fox  finds it .", "bad": "the fox finds it .", "phenomenon": "space"},
]


@pytest.fixture
def pairs_file(tmp_path):
    return str(write_jsonl(tmp_path / "pairs.jsonl", PAIRS))


def read(texts, folder):
    tokenizer = load_tokenizer(str(folder))
    return tokenizer, [tokenized(text, tokenizer) for text in texts]


def save(model, folder, tokenizer):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def test_mlm_score_is_sum_of_token_log_probabilities(encoders):
    folder = encoders["elektron"].with_name("generator")
    model = ElektronForMaskedLM.from_pretrained(folder).eval()
    for parameter in model.parameters():
        parameter.zero_()
    # Only the bias is left, so that the probability of a token does not depend on its position.
    model.decoder.bias.copy_(torch.randn(len(model.decoder.bias)))
    log_chances = model.decoder.bias.double().log_softmax(0)
    tokenizer, read_sentences = read(["the cat .", "a long road", "the the the"], folder)
    scores = sentence_scores(
        Scorer(model, tokenizer, tokenizer.mask_token_id), read_sentences, Accelerator.choose("fp32"), ""
    )
    for sentence, score in zip(read_sentences, scores, strict=True):
        assert score == pytest.approx(float(sum(log_chances[i] for i in sentence.input_ids[1:-1])))


@torch.no_grad()
@pytest.mark.parametrize("chance", [0.5, 0.1])
def test_discriminator_score_is_sum_of_token_log_probabilities(encoders, chance):
    model = ElektronForPreTraining.from_pretrained(encoders["elektron"]).eval()
    for parameter in model.parameters():
        parameter.zero_()
    model.prediction.bias.fill_(math.log(chance / (1 - chance)))
    tokenizer, read_sentences = read(["the cat .", "a long road , the river"], encoders["elektron"])
    scores = sentence_scores(Scorer(model, tokenizer, None), read_sentences, Accelerator.choose("fp32"), "")
    # [CLS] and [SEP] are not counted.
    counts = [len(sentence.input_ids) - 2 for sentence in read_sentences]
    assert scores == pytest.approx([count * math.log(1 - chance) for count in counts])


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}


@torch.no_grad()
@pytest.mark.parametrize(
    "make",
    [
        lambda size: BertForMaskedLM(BertConfig(vocab_size=size, **SMALL)),
        lambda size: DebertaV2ForMaskedLM(DebertaV2Config(vocab_size=size, **SMALL)),
        lambda size: ModernBertForMaskedLM(ModernBertConfig(vocab_size=size, **SMALL, cls_token_id=2, sep_token_id=3)),
        None,
    ],
    ids=["bert", "deberta-v2", "modernbert", "electra"],
)
def test_scores_equal_masking_one_token_at_a_time(make, encoders, monkeypatch):
    monkeypatch.setattr("elektron.inference.minimal_pairs.MAX_BATCH_TOKENS", {"cpu": 20, "cuda": 20})
    torch.manual_seed(0)
    folder = encoders["electra"].with_name("generator")
    tokenizer, read_sentences = read(sentences(12), folder)
    model = make(len(tokenizer)) if make else AutoModelForMaskedLM.from_pretrained(folder)
    accelerator = Accelerator.choose("fp32")
    model.to(accelerator.device).eval()
    scores = sentence_scores(Scorer(model, tokenizer, tokenizer.mask_token_id), read_sentences, accelerator, "")
    for sentence, score in zip(read_sentences, scores, strict=True):
        expected = 0.0
        for place in range(1, len(sentence.input_ids) - 1):
            input_ids = torch.tensor([sentence.input_ids], device=accelerator.device)
            input_ids[0, place] = tokenizer.mask_token_id
            logits = model(input_ids).logits[0, place]
            expected += float(logits.log_softmax(-1)[sentence.input_ids[place]])
        assert score == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_token_classifier_is_scored_as_discriminator(encoders, tmp_path, pairs_file):
    torch.manual_seed(0)
    tokenizer, read_sentences = read(["the cat sees the river ."], encoders["electra"])
    labels = {"id2label": LABELS, "label2id": {label: n for n, label in LABELS.items()}}
    model = AutoModelForTokenClassification.from_config(BertConfig(vocab_size=len(tokenizer), **SMALL, **labels)).eval()
    scores = sentence_scores(Scorer(model, tokenizer, None), read_sentences, Accelerator.choose("fp32"), "")
    logits = model(torch.tensor([read_sentences[0].input_ids])).logits[0, 1:-1]
    assert scores == pytest.approx([float(logits.softmax(-1)[:, 0].log().sum())])
    folder = save(model, tmp_path / "model", tokenizer)
    result = evaluate(EvaluateConfig(model=folder, blimp=pairs_file))
    assert result["models"]["model"]["kind"] == "discriminator"


def test_run_scores_both_models_and_ties_count_half(encoders, pairs_file, tmp_path, capsys):
    run, out = encoders["elektron"].parent, tmp_path / "out"
    result = evaluate(EvaluateConfig(model=str(run), blimp=pairs_file, out=out))
    assert json.loads((out / "blimp.json").read_text()) == result
    assert list(result["models"]) == ["generator", "discriminator"]
    for figures in result["models"].values():
        # The third pair differs only in a space, which the tokenizer does not keep.
        assert figures["phenomenon"]["space"]["accuracy"] == 0.5
        assert figures["phenomenon"]["order"]["pairs"] == 2
        assert figures["pairs"] == 3
        assert figures["accuracy"] == pytest.approx((2 * figures["phenomenon"]["order"]["accuracy"] + 0.5) / 3)
        assert "paradigm" not in figures
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if "-" not in line] == ["phenomenon", "order", "space", "all"]
    assert "0.500 (0.500 … 0.500)" in lines[3]


def test_accuracy_by_group_with_and_without_resampling():
    measure = accuracy_by_group(np.array([1.0, 0.5, 0.0, 1.0]), ["a", "a", "b", "b"])
    assert measure() == {"a": 0.75, "b": 0.5}
    assert measure.compute(np.array([0, 0, 1])) == {"a": pytest.approx(2.5 / 3)}


def test_compressed_files_are_read(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in PAIRS).encode()))
    pairs = list(read_records([str(path)], MINIMAL_PAIRS, EvaluateConfig(model="m"), True))
    assert [pair.values["good"] for pair in pairs] == [row["good"] for row in PAIRS]
    assert pairs[0].values["phenomenon"] == "order"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", '{"good": "a"}', r"a\.jsonl: which column is the bad"),
        ("a.jsonl", '{"good": "a", "bad": "b"}\n{"good": "", "bad": "b"}', "line 2: the good is"),
        ("a.jsonl", "[]", "no row"),
        ("a.jsonl", "{", "not valid JSON"),
        ("a.tsv", "good\tbad\n", "no row"),
        ("b.jsonl", None, "no such file"),
    ],
)
def test_invalid_files_raise(tmp_path, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ElektronError, match=complaint):
        evaluate(EvaluateConfig(model="m", blimp=str(tmp_path / name)))


def test_unsupported_architecture_raises(tmp_path, encoders, pairs_file, tokenizer_folder):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    model = AutoModelForTokenClassification.from_config(BertConfig(vocab_size=len(tokenizer), **SMALL))
    folder = save(model, tmp_path / "model", tokenizer)
    with pytest.raises(ElektronError, match="is BertForTokenClassification, and neither"):
        evaluate(EvaluateConfig(model=folder, blimp=pairs_file))


def test_sentence_longer_than_model_maximum_raises(encoders, tmp_path):
    row = {"good": "the cat " * 40, "bad": "the cat"}
    path = str(write_jsonl(tmp_path / "long.jsonl", [row]))
    with pytest.raises(ElektronError, match=r"long\.jsonl, line 1: longer than the 64 tokens"):
        evaluate(EvaluateConfig(model=str(encoders["electra"]), blimp=path))


@pytest.mark.parametrize("words", [[], ["test.tsv", "--blimp", "pairs.jsonl"]])
def test_evaluate_requires_either_files_or_blimp(words, capsys):
    assert main(["evaluate", "model", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
