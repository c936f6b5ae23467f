"""Sequence-to-sequence tasks: training, decoding, saving, target tokenizer and metrics."""

import copy
import dataclasses
import json
import logging
import random
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from transformers import AutoModel, AutoTokenizer, ElectraConfig, ElectraModel, EncoderDecoderModel

from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import fingerprint, load_tokenizer, train_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig, FinetuneConfig
from elektron.finetuning.encoders import Encoder
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.sequence_to_sequence import (
    Generation,
    SequenceToSequence,
    Summarization,
    Translation,
    copy_embeddings,
    most_typical,
)
from elektron.finetuning.tasks.target_vocabulary import shared_pieces, train_target_tokenizer
from elektron.models.elektron import ElektronConfig
from elektron.models.families import FAMILIES, Sizes

WORDS = ["rot", "blau", "grün", "gelb", "weiß", "Haus", "Hund", "läuft"]
OTHERS = ["red", "blue", "green", "yellow", "white", "house", "dog", "runs"]
# transformers warns about checkpoints of 2021 whenever the model computes its loss.
pytestmark = pytest.mark.filterwarnings("ignore:Version v4.12.0")

GREEDY = DecodingConfig(beams=1)


def record(source: str, target: str | list[str], number: int = 1) -> Record:
    return Record({"source": source, "target": target}, {}, f"file, line {number}")


def reversals(count: int, seed: int = 0) -> list[Record]:
    """Random words, and their translations in reverse order with a full stop."""
    chooser = random.Random(seed)
    pairs = list(zip(OTHERS, WORDS, strict=True))
    found = []
    for number in range(1, count + 1):
        drawn = [chooser.choice(pairs) for _ in range(chooser.randint(2, 4))]
        source = " ".join(there for there, _ in drawn)
        target = " ".join(here for _, here in reversed(drawn)) + "."
        found.append(record(source, target, number))
    return found


RECORDS = reversals(256)


def config(**changes: object) -> FinetuneConfig:
    needed = {"task": "translation", "model": "m", "train": [], "out": Path("out")}
    resolved = {"max_length": 32, "truncation": "head", "max_target_length": 32, "decoder_layers": 2}
    return FinetuneConfig(**needed | {"target_vocab_size": 400} | resolved | changes)


@pytest.fixture(scope="module")
def source_tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    text = folder / "text.txt"
    text.write_text("\n\n".join(r.values["source"] for r in RECORDS))
    return train_tokenizer(TokenizerConfig(corpus=[str(text)], out=folder / "tokenizer", vocab_size=60))


def scratch(tokenizer, family: str = "elektron", embedding: int = 32) -> Encoder:
    sizes = Sizes(2, 32, 64, 2, embedding, 32, 0.0)
    ids = {"pad": tokenizer.pad_token_id, "cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id}
    made = FAMILIES[family].make_config(sizes, len(tokenizer), ids)
    return Encoder(f"scratch:{family}", made, tokenizer, None)


def pretrained(encoder: Encoder) -> Encoder:
    """The encoder with random weights in place of pretrained ones."""
    torch.manual_seed(3)
    weights = AutoModel.from_config(encoder.config).state_dict()
    return dataclasses.replace(encoder, weights=weights)


@pytest.fixture(scope="module")
def encoder(source_tokenizer):
    return scratch(source_tokenizer)


def train(task: SequenceToSequence, encoder: Encoder, records: list[Record], steps: int):
    torch.manual_seed(1)
    model = task.new_model(encoder, dropout=0.0)
    features = task.features(records, encoder.tokenizer, labelled=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    chooser = random.Random(2)
    model.train()
    for _ in range(steps):
        batch = task.collate(chooser.sample(features, 32), encoder.tokenizer)
        model(**batch).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def learned(encoder):
    """A translation task and a model trained on it."""
    task = Translation.from_records(RECORDS, config(), encoder)
    return task, train(task, encoder, RECORDS, 250)


def write(task, model, encoder, records):
    features = task.features(records, encoder.tokenizer, labelled=False)
    outputs = task.forward(model, task.collate(features, encoder.tokenizer))
    return [prediction["text"] for prediction in task.predictions(records, features, outputs)]


# Training


@pytest.mark.parametrize("beams", [1, 4])
def test_model_learns_to_translate_and_reverse_words(learned, encoder, beams):
    task, model = learned
    unseen = reversals(64, seed=9)
    texts = write(task.with_decoding(DecodingConfig(beams=beams)), model, encoder, unseen)
    right = [text == r.values["target"] for text, r in zip(texts, unseen, strict=True)]
    assert sum(right) >= 60
    figures = task.measure(unseen, [{"text": text} for text in texts])()
    assert figures["bleu"] > 90


def test_loss_and_logits_ignore_padding(learned, encoder):
    task, model = learned
    features = task.features(RECORDS[:8], encoder.tokenizer, labelled=True)
    batch = task.collate(features, encoder.tokenizer)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "decoder_input_ids"}
    with torch.no_grad():
        together = model(**batch)
        logits, labels = together.logits, batch["labels"]
        real = labels != -100
        expected = torch.nn.functional.cross_entropy(logits[real], labels[real])
        assert together.loss == pytest.approx(expected.item(), rel=1e-5)
        alone = model(**task.collate(features[:1], encoder.tokenizer)).logits[0]
    assert torch.allclose(logits[0, : len(alone)], alone, atol=1e-4)


def test_decoder_inputs_are_labels_shifted_right(encoder):
    task = Translation.from_records(RECORDS, config(), encoder)
    features = task.features(RECORDS[:5], encoder.tokenizer, labelled=True)
    batch = task.collate(features, encoder.tokenizer)
    start, pad = task.tokenizer.bos_token_id, task.tokenizer.pad_token_id
    shifted = batch["labels"].roll(1, dims=1)
    shifted[:, 0] = start
    assert torch.equal(
        batch["decoder_input_ids"],
        shifted.masked_fill(shifted == -100, pad) * (batch["labels"] != -100) + pad * (batch["labels"] == -100),
    )
    for feature in features:
        assert feature["labels"][-1] == task.tokenizer.eos_token_id


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_all_parameters_get_gradients(source_tokenizer, family):
    encoder = scratch(source_tokenizer, family, embedding=16)
    task = Translation.from_records(RECORDS, config(), encoder)
    model = train(task, encoder, RECORDS, 3)
    assert model.config.encoder.model_type == family
    batch = task.collate(task.features(RECORDS[:8], source_tokenizer, True), source_tokenizer)
    model(**batch).loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_truncation_keeps_head_of_texts(encoder):
    task = Translation.from_records(RECORDS, config(max_length=8, max_target_length=4), encoder)
    long = [record(" ".join(OTHERS * 3), " ".join(WORDS * 3))]
    (feature,) = task.features(long, encoder.tokenizer, labelled=True)
    assert len(feature["input_ids"]) == 8
    assert len(feature["labels"]) == 4
    assert task.tokenizer.decode(feature["labels"]).startswith("rot blau")
    assert task.decoding.max_length == 4


# Decoding


@pytest.mark.parametrize("decoding", [GREEDY, DecodingConfig(beams=4, no_repeat_ngram=2)])
def test_generation_with_cache_equals_without(learned, encoder, decoding):
    task, model = learned
    task = task.with_decoding(decoding)
    batch = task.collate(task.features(RECORDS[:16], encoder.tokenizer, False), encoder.tokenizer)
    settings_ = task.generation()
    with_cache = model.generate(**batch, generation_config=settings_)
    without = model.generate(**batch, generation_config=settings_, use_cache=False)
    assert torch.equal(with_cache, without)


def test_beam_search_finds_likelier_texts_than_greedy_search(encoder):
    task = Translation.from_records(RECORDS, config(), encoder)
    model = train(task, encoder, RECORDS, 60)  # not converged
    source = task.collate(task.features(RECORDS[:32], encoder.tokenizer, False), encoder.tokenizer)

    def likelihoods(beams: int) -> torch.Tensor:
        """The log-likelihood of the generated text of each row."""
        chosen = DecodingConfig(beams=beams, length_penalty=0.0)
        outputs = task.with_decoding(chosen).forward(model, source)
        start, end = task.tokenizer.bos_token_id, task.tokenizer.eos_token_id
        rows = [{"input_ids": row[row > 0].tolist()} for row in source["input_ids"]]
        features = [
            row | {"labels": [*output, end], "decoder_input_ids": [start, *output]}
            for row, output in zip(rows, outputs, strict=True)
        ]
        batch = task.collate(features, encoder.tokenizer)
        with torch.no_grad():
            logits = model(**batch).logits.transpose(1, 2)
        return -torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none").sum(1)

    gains = likelihoods(4) - likelihoods(1)
    assert gains.sum() > 0
    assert gains.max() > 0.1


def test_no_repeat_ngram_and_max_length_are_respected(encoder):
    task = Summarization.from_records(RECORDS, config(max_target_length=24), encoder)
    model = task.new_model(encoder, None).eval()  # random weights generate repetitions
    batch = task.collate(task.features(RECORDS[:8], encoder.tokenizer, False), encoder.tokenizer)
    free = task.with_decoding(DecodingConfig(beams=1, no_repeat_ngram=0, max_length=20))
    held = task.with_decoding(DecodingConfig(beams=1, no_repeat_ngram=2, max_length=20))

    def repeats(ids: list[int]) -> bool:
        pairs = list(pairwise(ids))
        return len(pairs) > len(set(pairs))

    assert any(map(repeats, free.forward(model, batch)))
    assert not any(map(repeats, held.forward(model, batch)))
    assert max(map(len, held.forward(model, batch))) <= 20
    short = task.with_decoding(DecodingConfig(max_length=3)).forward(model, batch)
    assert max(map(len, short)) <= 3


def test_sampling_is_reproducible_and_keeps_global_rng_state(learned, encoder):
    task, model = learned
    task = task.with_decoding(DecodingConfig(sample=True, temperature=3.0, top_p=1.0))
    features = task.features(RECORDS[:16], encoder.tokenizer, False)
    batch = task.collate(features[:8], encoder.tokenizer)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = task.forward(model, batch)
    assert torch.rand(1) == expected
    torch.manual_seed(6)
    assert task.forward(model, batch) == first
    same_sources = task.collate([features[0]] * 8, encoder.tokenizer)
    assert len(set(map(tuple, task.forward(model, same_sources)))) > 1


def test_special_tokens_are_never_generated(encoder):
    task = Generation.from_records(RECORDS, config(), encoder)
    task = task.with_decoding(DecodingConfig(sample=True, temperature=5.0, top_p=1.0))
    model = task.new_model(encoder, None).eval()
    batch = task.collate(task.features(RECORDS[:32], encoder.tokenizer, False), encoder.tokenizer)
    written = {token for row in task.forward(model, batch) for token in row}
    assert not written & set(task.tokenizer.all_special_ids)


def test_given_decoding_settings_override_defaults(encoder):
    task = Summarization.from_records(RECORDS, config(decoding=DecodingConfig(beams=2)), encoder)
    assert task.decoding.beams == 2
    assert task.decoding.no_repeat_ngram == 3
    assert None not in vars(task.decoding).values()
    sampling = task.with_decoding(DecodingConfig(sample=True))
    assert (sampling.decoding.beams, sampling.decoding.sample) == (1, True)
    assert sampling.with_decoding(DecodingConfig(beams=3)).decoding.sample is False
    assert task.decoding.beams == 2
    reply = Generation.from_records(RECORDS, config(), encoder)
    assert reply.decoding.sample
    assert reply.with_decoding(GREEDY).decoding.sample is False


@pytest.mark.parametrize(
    ("decoding", "complaint"),
    [
        (DecodingConfig(max_length=1000), "positions of the decoder, got 1000"),
        (DecodingConfig(sample=True, beams=4), "cannot be used together"),
    ],
)
def test_incompatible_decoding_settings_raise(encoder, decoding, complaint):
    task = Translation.from_records(RECORDS, config(), encoder)
    with pytest.raises(ElektronError, match=complaint):
        task.with_decoding(decoding)


@pytest.mark.parametrize(
    ("name", "value"), [("beams", 0), ("temperature", 0.0), ("top_p", 1.5), ("no_repeat_ngram", -1)]
)
def test_decoding_settings_out_of_range_raise(name, value, learned, tmp_path):
    option = name.replace("_", "-")
    with pytest.raises(ElektronError, match=rf"--decoding\.{option}"):
        config(decoding=DecodingConfig(**{name: value}))
    task, _ = learned
    task.save(tmp_path)
    content = json.loads((tmp_path / "task.json").read_text())
    content["decoding"][name] = value
    with pytest.raises(ElektronError, match=name):
        type(task).load(content, str(tmp_path))
    content["decoding"][name] = None
    with pytest.raises(ElektronError, match="settings of decoding are missing"):
        type(task).load(content, str(tmp_path))


# The model


def test_decoder_output_is_tied_to_embedding(learned):
    _, model = learned
    assert model.decoder.get_output_embeddings().weight is (model.decoder.get_input_embeddings().weight)


def test_pretrained_weights_are_loaded_and_scratch_is_random(source_tokenizer):
    encoder = pretrained(scratch(source_tokenizer))
    task = Translation.from_records(RECORDS, config(), encoder)
    model = task.new_model(encoder, 0.1)
    for name, weight in model.encoder.state_dict().items():
        assert torch.equal(weight, encoder.weights[name])
    assert encoder.count_loaded(model)["loaded"] == model.encoder.num_parameters()
    assert model.config.encoder.hidden_dropout_prob == 0.1
    anew = task.new_model(encoder.from_scratch(), 0.1)
    name = "embeddings.word_embeddings.weight"
    assert not torch.equal(anew.encoder.state_dict()[name], encoder.weights[name])


def test_decoder_embeddings_start_from_encoder_for_shared_pieces(source_tokenizer):
    encoder = pretrained(scratch(source_tokenizer))
    records = [record(r.values["source"], r.values["source"].capitalize()) for r in RECORDS]
    task = Summarization.from_records(records, config(), encoder)
    model = task.new_model(encoder, None)
    theirs = model.encoder.get_input_embeddings().weight
    ours = model.decoder.get_input_embeddings().weight
    shared = shared_pieces(task.tokenizer, source_tokenizer)
    house = task.tokenizer.convert_tokens_to_ids("▁house")
    assert shared[house] == source_tokenizer.convert_tokens_to_ids("house")
    likeness = torch.nn.functional.cosine_similarity(ours[list(shared)], theirs[list(shared.values())])
    assert torch.allclose(likeness, torch.ones_like(likeness), atol=1e-5)
    size = ours[list(shared)].square().mean().sqrt().item()
    assert size == pytest.approx(0.02, rel=1e-4)


def test_decoder_embeddings_of_other_width_are_not_initialized(source_tokenizer):
    encoder = pretrained(scratch(source_tokenizer))
    task = Translation.from_records(RECORDS, config(), encoder)
    model = task.new_model(encoder, None)
    model.decoder.electra.embeddings.word_embeddings = embedding = torch.nn.Embedding(400, 8)
    before = embedding.weight.clone()
    copy_embeddings(model, task.tokenizer, source_tokenizer)
    assert torch.equal(embedding.weight, before)


def test_negative_decoder_layers_raise(encoder):
    with pytest.raises(ElektronError, match="decoder-layers"):
        Translation.from_records(RECORDS, config(decoder_layers=-1), encoder).new_model(encoder, None)


# Saving


def saved(task, model, folder):
    model.save_pretrained(folder)
    task.save(folder)
    content = json.loads((folder / "task.json").read_text())
    return type(task).load(content, str(folder))


def test_saved_task_and_model_load_equal(learned, encoder, tmp_path):
    task, model = learned
    task = task.with_decoding(DecodingConfig(beams=3, length_penalty=0.5))
    again = saved(task, model, tmp_path)
    assert again == task
    assert fingerprint_of(again) == fingerprint_of(task)
    back = again.load_model(str(tmp_path)).eval()
    assert isinstance(back.config.encoder, ElektronConfig)
    assert back.decoder.get_output_embeddings().weight is (back.decoder.get_input_embeddings().weight)
    assert write(again, back, encoder, RECORDS[:16]) == write(task, model, encoder, RECORDS[:16])


def test_loading_and_decoding_logs_nothing(learned, encoder, tmp_path, caplog):
    """Beam search with a model saved with sampling settings gives no warning about unused settings."""
    task, model = learned
    sampling = task.with_decoding(DecodingConfig(sample=True, temperature=0.7, top_p=0.9))
    model.generation_config = sampling.generation()
    again = saved(sampling, model, tmp_path).with_decoding(DecodingConfig(beams=2))
    model.generation_config = task.generation()
    logging.getLogger("transformers").addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "elektron"):
        write(again, again.load_model(str(tmp_path)).eval(), encoder, RECORDS[:2])
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert caplog.messages == []


def test_transformers_generates_equal_texts(learned, encoder, tmp_path):
    task, model = learned
    saved(task, model, tmp_path)
    model = EncoderDecoderModel.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "target_tokenizer")
    batch = task.collate(task.features(RECORDS[:8], encoder.tokenizer, False), encoder.tokenizer)
    texts = tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
    assert texts == write(task, model, encoder, RECORDS[:8])


def fingerprint_of(task: SequenceToSequence) -> str:
    return json.dumps(json.loads(task.tokenizer.backend_tokenizer.to_str())["model"])


# Target tokenizer


GERMAN = [r.values["target"] for r in RECORDS]
CHINESE = ["今天天气很好，我们去公园吧。", "他说：“我不知道。”", "北京是中国的首都。"] * 20


@pytest.mark.parametrize(
    "text",
    [
        "Der Hund läuft, weiß und grün.",
        "Don't (ever) say \"never\" … it's 3.50 € – or #Person1#!",
        "今天天气很好，我们去北京吧。他说：“好的！”",
        "🙂👩‍👩‍👧 naïve Ænglisc ﬁ ﷺ",
        "  zwei  Leerzeichen\tTab\nZeile ",
        "[END] and [PAD] and <0x41>, as text",
    ],
)
@pytest.mark.parametrize("texts", [GERMAN, CHINESE])
def test_target_tokenizer_round_trip_is_exact(texts, text, tmp_path):
    tokenizer = train_target_tokenizer(texts, 600)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = each(text, add_special_tokens=False)["input_ids"]
        assert each.unk_token_id not in ids
        assert each.eos_token_id not in ids
        assert each.decode([*ids, each.eos_token_id], skip_special_tokens=True) == text


TOKENIZER = train_target_tokenizer(GERMAN + CHINESE, 500)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="▁", exclude_categories=["Cs"])))
def test_target_tokenizer_round_trip_of_any_text(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text


def test_target_tokenizer_training_is_deterministic():
    first, second = (train_target_tokenizer(GERMAN + CHINESE, 500) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_target_vocabulary_is_small_for_few_targets():
    assert len(train_target_tokenizer(GERMAN, 8000)) < 400
    with pytest.raises(ElektronError, match="--target-vocab-size must be at least 324, got 100"):
        train_target_tokenizer(GERMAN, 100)


def test_target_tokenizer_can_be_given(source_tokenizer, encoder, tmp_path):
    source_tokenizer.save_pretrained(tmp_path)
    records = [record(r.values["source"], r.values["source"]) for r in RECORDS]
    task = Translation.from_records(records, config(target_tokenizer=str(tmp_path)), encoder)
    assert fingerprint(task.tokenizer) == fingerprint(load_tokenizer(str(tmp_path)))
    model = task.new_model(encoder, None)
    assert model.config.decoder_start_token_id == source_tokenizer.cls_token_id
    assert model.config.eos_token_id == source_tokenizer.sep_token_id
    features = task.features(records[:4], source_tokenizer, labelled=True)
    outputs = [feature["labels"][:-1] for feature in features]
    texts = [p["text"] for p in task.predictions(records[:4], features, outputs)]
    assert texts == [r.values["source"] for r in records[:4]]


def test_target_tokenizer_of_another_run_can_be_given(learned, encoder, tmp_path):
    task, _ = learned
    task.save(tmp_path)
    folder = tmp_path / "target_tokenizer"
    again = Translation.from_records(RECORDS, config(target_tokenizer=str(folder)), encoder)
    assert fingerprint_of(again) == fingerprint_of(task)


def test_target_tokenizer_without_end_token_raises(source_tokenizer, encoder, tmp_path):
    endless = copy.deepcopy(source_tokenizer)
    endless.sep_token = None
    endless.save_pretrained(tmp_path)
    with pytest.raises(ElektronError, match="no end token"):
        Translation.from_records(RECORDS, config(target_tokenizer=str(tmp_path)), encoder)
    with pytest.raises(ElektronError, match="no such folder"):
        Translation.from_records(RECORDS, config(target_tokenizer=str(tmp_path / "nowhere")), encoder)


# Metrics, baselines and checks


def test_language_and_max_length_are_derived_from_targets(encoder):
    task = Translation.from_records(RECORDS, config(), encoder)
    assert not task.chinese
    longest = max(len(f["labels"]) for f in task.features(RECORDS, encoder.tokenizer, True))
    assert task.decoding.max_length == longest
    chinese = [record("a", text) for text in CHINESE]
    task = Translation.from_records(chinese, config(), encoder)
    assert task.chinese
    measure = task.measure(chinese, [{"text": text} for text in CHINESE])
    assert measure()["bleu"] == pytest.approx(100)
    assert "tok:zh" in measure.notes["bleu"]


def test_summary_is_scored_against_best_of_several_targets(encoder):
    records = [record("a", ["one thing here", "another matter there"])] * 8
    task = Summarization.from_records(records, config(), encoder)
    figures = task.measure(records, [{"text": "another matter there"}] * 8)()
    assert figures["rougeL"] == pytest.approx(100)


def test_bleu_and_chrf_use_all_references(encoder):
    targets = [["one thing here", "another matter there now"], ["nothing at all"]] * 4
    records = [record("a", target) for target in targets]
    said = ["another matter there now", "nothing is there at all"] * 4
    task = Translation.from_records(records, config(), encoder)
    measure = task.measure(records, [{"text": text} for text in said])
    streams = [["one thing here", "nothing at all"] * 4, ["another matter there now", None] * 4]
    assert measure()["bleu"] == pytest.approx(BLEU().corpus_score(said, streams).score)
    assert measure()["chrf"] == pytest.approx(CHRF().corpus_score(said, streams).score)
    assert "nrefs:var" in measure.notes["bleu"]


def test_constant_baseline_is_most_common_or_typical_target(encoder):
    targets = ["yes", "no", "yes", "it is a long story"]
    records = [record("s", target) for target in targets]
    task = Generation.from_records(records, config(), encoder)
    assert task.baselines(records[:1], records)[0] == ("always 'yes'", [{"text": "yes"}])
    summaries = ["a man walks home", "a man runs", "a man walks", "the rain in spring"]
    records = [record("s", target) for target in summaries]
    constant = Summarization.from_records(records, config(), encoder).baselines(records[:1], records)[0]
    assert constant.predictions == [{"text": most_typical(summaries)}]
    assert most_typical(summaries) == "a man walks"


def test_equal_predictions_for_different_targets_are_collapse(encoder):
    task = Generation.from_records(RECORDS, config(), encoder)
    records = [record("s", "yes"), record("t", "no")]
    found = task.variation(records, [{"text": "yes"}] * 2)
    assert (found.collapsed, found.summary) == (True, "it predicts 'yes' for every text")
    assert not task.variation(records, [{"text": "yes"}, {"text": "no"}]).collapsed
    assert not task.variation(records[:1] * 2, [{"text": "yes"}] * 2).collapsed


def test_empty_source_or_target_raises(encoder):
    task = Translation.from_records(RECORDS, config(), encoder)
    task.check(RECORDS)
    with pytest.raises(ElektronError, match="file, line 3: the target is empty"):
        task.check([record("a", " ", 3)])
    with pytest.raises(ElektronError, match="file, line 4: the source is empty"):
        task.check([record("", "b", 4)])
    with pytest.raises(ElektronError, match="windows"):
        Translation.from_records(RECORDS, config(truncation="windows"), encoder)


def test_decoder_sizes_come_from_encoder(source_tokenizer):
    theirs = ElectraConfig(
        vocab_size=len(source_tokenizer),
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
    )
    weights = ElectraModel(theirs).state_dict()
    encoder = Encoder("theirs", theirs, source_tokenizer, weights)
    task = Translation.from_records(RECORDS, config(decoder_layers=3), encoder)
    decoder = task.new_model(encoder, None).config.decoder
    assert (decoder.hidden_size, decoder.embedding_size, decoder.intermediate_size) == (32, 16, 48)
    assert decoder.num_hidden_layers == 3
    assert decoder.hidden_dropout_prob == 0.1
