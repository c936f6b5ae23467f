"""Sentence embeddings: losses checked by hand, and folders that transformers and sentence-transformers load."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from elektron.cli import main
from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig, FinetuneConfig
from elektron.finetuning.finetune import finetune
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.finetuning.tasks.embedding import embedding_loss
from elektron.inference.config import PredictConfig
from elektron.inference.predict import predict, predictions
from tests.conftest import OBJECTS, SUBJECTS, VERBS
from tests.finetuning.conftest import write_jsonl
from tests.host_sync import NoHostSync

DIFFERENT = torch.arange(4).view(2, 2)
"""Numbers of texts, none of which occurs twice."""


class TestLoss:
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [3.0, 3.0]])

    def test_pairs_use_cross_entropy_with_in_batch_negatives(self):
        found = embedding_loss(torch.stack([self.first, self.second]), DIFFERENT)
        half = 20 * math.sqrt(0.5)
        rows = [math.log(math.exp(20) + math.exp(half)) - 20, math.log(1 + math.exp(half)) - half]
        assert found.item() == pytest.approx(sum(rows) / 2, rel=1e-5)

    def test_triplets_add_negatives_to_candidates(self):
        negative = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
        found = embedding_loss(torch.stack([self.first, self.second, negative]), torch.arange(6).view(3, 2))
        half = 20 * math.sqrt(0.5)
        rows = [
            math.log(math.exp(20) + math.exp(half) + 2) - 20,
            math.log(1 + math.exp(half) + 2 * math.exp(20)) - half,
        ]
        assert found.item() == pytest.approx(sum(rows) / 2, rel=1e-5)

    @pytest.mark.parametrize(
        ("numbers", "negatives"),
        [([[0, 1], [2, 2], [3, 2]], 1), ([[0, 0], [1, 2], [3, 2]], 2)],
        ids=["equal second texts", "equal first texts"],
    )
    def test_texts_that_also_belong_to_a_row_are_not_negatives(self, numbers, negatives):
        # The second row's negative equals its second text. `negatives` of the first row have a cosine of 0.
        embeddings = torch.stack([self.first, self.second, torch.tensor([[0.0, 1.0], [0.0, 1.0]])])
        found = embedding_loss(embeddings, torch.tensor(numbers))
        half = 20 * math.sqrt(0.5)
        rows = [math.log(math.exp(20) + negatives) - 20, math.log(math.exp(half) + math.exp(20)) - half]
        assert found.item() == pytest.approx(sum(rows) / 2, rel=1e-5)

    def test_scores_use_cosent(self):
        # The cosines are 1 and √½; the pair with the lower score is the more similar one.
        found = embedding_loss(torch.stack([self.first, self.second]), torch.tensor([1.0, 4.0]))
        assert found.item() == pytest.approx(math.log1p(math.exp(20 * (1 - math.sqrt(0.5)))), rel=1e-5)

    @pytest.mark.parametrize("labels", [DIFFERENT, torch.tensor([1.0, 4.0])], ids=["pairs", "scores"])
    def test_has_no_host_sync(self, labels):
        embeddings = torch.stack([self.first, self.second]).requires_grad_()
        with NoHostSync():
            embedding_loss(embeddings, labels).backward()

    def test_equals_sentence_transformers_losses(self):
        losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
        torch.manual_seed(0)
        embeddings = torch.randn(3, 8, 16)
        scores = torch.rand(8)
        pairs = losses.MultipleNegativesRankingLoss(torch.nn.Identity())
        expected = pairs.compute_loss_from_embeddings(list(embeddings), None)
        found = embedding_loss(embeddings, torch.arange(24).view(3, 8))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
        cosent = losses.CoSENTLoss(torch.nn.Identity())
        expected = cosent.compute_loss_from_embeddings(list(embeddings[:2]), scores)
        assert embedding_loss(embeddings[:2], scores).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of pairs, triplets and scored pairs; similar sentences have the same subject and object."""
    chooser = random.Random(0)

    def sentence(subject, thing):
        return f"{subject} {chooser.choice(VERBS)} {thing} ."

    pairs, scored = [], []
    for _ in range(96):
        topic, other = ((chooser.choice(SUBJECTS), chooser.choice(OBJECTS)) for _ in range(2))
        row = {"anchor": sentence(*topic), "positive": sentence(*topic)}
        pairs.append(row | {"negative": sentence(*other)})
        same = chooser.random() < 0.5
        texts = {"sentence1": row["anchor"], "sentence2": sentence(*(topic if same else other))}
        scored.append(texts | {"score": 5.0 if same else 0.0})
    folder = tmp_path_factory.mktemp("pairs")
    without = [{name: row[name] for name in ("anchor", "positive")} for row in pairs]
    return {
        name: str(write_jsonl(folder / f"{name}.jsonl", rows))
        for name, rows in (("pairs", without), ("triplets", pairs), ("scored", scored))
    }


def tune(encoders, files, kind, out, family="electra", **options):
    settings = {"epochs": 4.0, "batch_size": 16, "learning_rate": 3e-3, "max_length": 16} | options
    return finetune(
        FinetuneConfig(
            task="embedding", model=str(encoders[family]), train=[files[kind]], eval=[files[kind]], out=out, **settings
        )
    )


@pytest.mark.parametrize("kind", ["pairs", "triplets", "scored"])
def test_finetuning_improves_mrr_or_spearman(encoders, files, tmp_path, kind):
    metric = "spearman" if kind == "scored" else "mrr"
    before = tune(encoders, files, kind, tmp_path / "before", epochs=0.02, learning_rate=1e-9)
    after = tune(encoders, files, kind, tmp_path / "after")
    assert after[metric] > before[metric] + 0.1
    assert after.keys() >= ({"pearson"} if kind == "scored" else {"recall@1", "recall@10"})


def test_negative_column_can_be_configured(files, tmp_path):
    rows = [json.loads(line) for line in Path(files["triplets"]).read_text().splitlines()]
    renamed = [{"a": row["anchor"], "b": row["positive"], "c": row["negative"]} for row in rows]
    file = write_jsonl(tmp_path / "renamed.jsonl", renamed)
    config = FilesConfig(text="a", pair="b", negative="c")
    found = read_records([str(file)], LAYOUTS["embedding"], config, labelled=True)
    assert [record.values["negative"] for record in found] == [row["negative"] for row in rows]


@pytest.mark.parametrize("family", ["electra", "elektron"])
def test_embedding_is_mean_of_last_hidden_states(encoders, files, tmp_path, family):
    tune(encoders, files, "pairs", tmp_path / "model", family, epochs=1.0)
    texts = ["the cat sees the blue house .", "the dog ."]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    rows = predictions(PredictConfig(model=str(tmp_path / "model"), input=str(tmp_path / "texts.txt")))
    model = AutoModel.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text, row in zip(texts, rows, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(row["predicted_embedding"], states[0].mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("family", ["electra", "elektron"])
def test_sentence_transformers_gives_equal_embeddings(encoders, files, tmp_path, family):
    library = pytest.importorskip("sentence_transformers")
    tune(encoders, files, "scored", tmp_path / "model", family, epochs=1.0)
    model = library.SentenceTransformer(str(tmp_path / "model"), trust_remote_code=True, device="cpu")
    assert model.max_seq_length == 16
    text = "the cat sees the blue house ."
    (tmp_path / "text.txt").write_text(text + "\n")
    (row,) = predictions(PredictConfig(model=str(tmp_path / "model"), input=str(tmp_path / "text.txt")))
    np.testing.assert_allclose(row["predicted_embedding"], model.encode(text), atol=1e-5)


CLS_SETTINGS = [
    {"pooling_mode": "cls"},
    {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
]


def with_pooling(encoder, folder, settings, layers=("Transformer", "Pooling", "Normalize")):
    """A copy of an encoder with the files in which sentence-transformers saves the pooling."""
    shutil.copytree(encoder, folder)
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {
            "idx": place,
            "name": str(place),
            "type": f"sentence_transformers.models.{name}",
            "path": paths.get(name, name),
        }
        for place, name in enumerate(layers)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    if settings is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32} | settings))
    return folder


@pytest.mark.parametrize("settings", CLS_SETTINGS, ids=["name", "flags"])
def test_cls_pooling_of_encoder_is_kept(encoders, files, tmp_path, settings):
    released = with_pooling(encoders["electra"], tmp_path / "released", settings)
    tune({"electra": released}, files, "pairs", tmp_path / "model", epochs=1.0)
    tune({"electra": tmp_path / "model"}, files, "pairs", tmp_path / "again", epochs=1.0)
    text = "the cat sees the blue house ."
    (tmp_path / "text.txt").write_text(text + "\n")
    for folder, task in ((released, "embedding"), (tmp_path / "model", None), (tmp_path / "again", None)):
        config = PredictConfig(model=str(folder), input=str(tmp_path / "text.txt"), task=task)
        (row,) = predictions(config)
        with torch.no_grad():
            inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
            states = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
        unit = torch.nn.functional.normalize(states[0, 0], dim=0)
        np.testing.assert_allclose(row["predicted_embedding"], unit, atol=1e-5)


def test_sentence_transformers_reads_cls_pooling(encoders, files, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    released = with_pooling(encoders["electra"], tmp_path / "released", CLS_SETTINGS[0])
    tune({"electra": released}, files, "pairs", tmp_path / "model", epochs=1.0)
    model = library.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert model[1].pooling_mode == "cls"
    assert np.linalg.norm(model.encode("the cat .")) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("length_file", ["sentence_bert_config.json", "tokenizer_config.json"])
def test_settings_of_sentence_transformers_are_kept(encoders, files, tmp_path, length_file):
    library = pytest.importorskip("sentence_transformers")
    released = with_pooling(
        encoders["electra"], tmp_path / "released", {"pooling_mode": "mean"}, ("Transformer", "Pooling")
    )
    settings = {"max_seq_length": 8, "do_lower_case": True}
    if length_file == "tokenizer_config.json":
        path = released / length_file
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": settings.pop("max_seq_length")}))
    (released / "sentence_bert_config.json").write_text(json.dumps(settings))
    prompts = {"prompts": {"query": "the dog "}, "default_prompt_name": "query"}
    (released / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    tune({"electra": released}, files, "pairs", tmp_path / "model", epochs=1.0, max_length=None)
    (tmp_path / "text.txt").write_text(f"The CAT {'sees ' * 12}\n")
    for folder, task in ((released, "embedding"), (tmp_path / "model", None)):
        config = PredictConfig(model=str(folder), input=str(tmp_path / "text.txt"), task=task, allow_unknown=True)
        (row,) = predictions(config)
        model = library.SentenceTransformer(str(folder), device="cpu")
        assert (model.max_seq_length, model.prompts["query"], model.default_prompt_name) == (8, "the dog ", "query")
        np.testing.assert_allclose(row["predicted_embedding"], model.encode(row["text"]), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "layers", "message"),
    [
        ({"pooling_mode_max_tokens": True}, ("Transformer", "Pooling"), r"pooling is \['max'\]: only mean and cls"),
        ({"pooling_mode": ["cls", "mean"]}, ("Transformer", "Pooling"), r"pooling is \['cls', 'mean'\]: only"),
        ({"pooling_mode": "cls"}, ("Transformer", "Pooling", "Dense"), "a layer Dense, which is not supported"),
        (None, ("Transformer", "Pooling"), r"modules.json is damaged \(there is no 1_Pooling/config.json\)"),
        ({}, ("Transformer",), "modules.json is damaged"),
    ],
    ids=["max", "two", "dense", "no-settings", "no-pooling"],
)
def test_unsupported_pooling_raises(encoders, files, tmp_path, settings, layers, message):
    released = with_pooling(encoders["electra"], tmp_path / "released", settings, layers)
    with pytest.raises(ElektronError, match=message):
        tune({"electra": released}, files, "pairs", tmp_path / "model")
    with pytest.raises(ElektronError, match=message):
        predictions(PredictConfig(model=str(released), input=files["pairs"], task="embedding"))


def test_evaluate_reproduces_metrics_of_finetuning(encoders, files, tmp_path, capsys):
    metrics = tune(encoders, files, "pairs", tmp_path / "model", epochs=1.0)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "model"), files["pairs"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mrr"] == pytest.approx(metrics["mrr"], abs=1e-6)


def test_search_ranks_matching_passage_first(encoders, files, tmp_path):
    tune(encoders, files, "pairs", tmp_path / "model")
    passages = [f"{SUBJECTS[i]} {VERBS[0]} {OBJECTS[i % len(OBJECTS)]} ." for i in range(4)]
    (tmp_path / "corpus.txt").write_text("\n\n".join(passages))
    (tmp_path / "queries.txt").write_text("\n".join(p.replace(VERBS[0], VERBS[1]) for p in passages) + "\n")
    config = PredictConfig(
        model=str(tmp_path / "model"),
        input=str(tmp_path / "queries.txt"),
        documents=[str(tmp_path / "corpus.txt")],
        passages=2,
    )
    found = [row["predicted_passages"] for row in predictions(config)]
    assert [hits[0]["text"] for hits in found] == passages
    assert [hits[0]["source"].rpartition(" ")[2] for hits in found] == ["1", "2", "3", "4"]
    assert all(len(hits) == 2 and hits[0]["score"] > hits[1]["score"] for hits in found)


def test_search_uses_prompts_of_sentence_transformers(encoders, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    layers = ("Transformer", "Pooling")
    released = with_pooling(encoders["electra"], tmp_path / "released", {"pooling_mode": "mean"}, layers)
    prompts = {"prompts": {"query": "the dog sees ", "document": "a blue house "}, "default_prompt_name": None}
    (released / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (tmp_path / "corpus.txt").write_text("the cat .")
    (tmp_path / "queries.txt").write_text("the house .\n")
    names = {name: str(tmp_path / f"{name}.txt") for name in ("queries", "corpus")}
    config = PredictConfig(
        model=str(released), input=names["queries"], documents=[names["corpus"]], task="embedding", passages=1
    )
    model = library.SentenceTransformer(str(released), device="cpu")
    vectors = model.encode_query("the house ."), model.encode_document("the cat .")
    cosine = float(model.similarity(*vectors))
    assert predictions(config)[0]["predicted_passages"][0]["score"] == pytest.approx(cosine, abs=1e-3)
    assert float(model.similarity(model.encode("the house ."), model.encode("the cat ."))) != pytest.approx(
        cosine, abs=1e-2
    )


def test_encoder_not_finetuned_is_evaluated_with_warning(encoders, files, capsys):
    model = str(encoders["electra"])
    for kind, metric in (("scored", "spearman"), ("pairs", "mrr")):
        assert main(["evaluate", model, files[kind], "--task", "embedding", "--json"]) == 0
        out, err = capsys.readouterr()
        assert metric in json.loads(out)
        assert "not trained for sentence embeddings" in err


def test_several_seeds(encoders, files, tmp_path):
    metrics = tune(encoders, files, "pairs", tmp_path / "model", epochs=1.0, seeds=2)
    assert len(json.loads((tmp_path / "model/runs.json").read_text())) == 2
    assert 0 < metrics["mrr"] <= 1


def test_column_missing_from_some_rows_raises(encoders, tmp_path):
    row = {"sentence1": "the cat .", "sentence2": "the dog ."}
    has = {"negative": "1"}
    for first, second in ((has, {}), ({}, has), (has, {"negative": None})):
        files = {"mixed": str(write_jsonl(tmp_path / "mixed.jsonl", [row | first, row | second]))}
        with pytest.raises(ElektronError, match=r"line .*: it \w+ a \w+, unlike .*: all rows must have one, or none"):
            tune(encoders, files, "mixed", tmp_path / "model")


def test_pairs_without_score_are_left_out(tmp_path, caplog):
    rows = [{"text": "a", "pair": "b", "sim": value} for value in (1.0, None, 0.5)] + [{"text": "a", "pair": "b"}]
    path = str(write_jsonl(tmp_path / "scored.jsonl", rows))
    records = list(read_records([path], LAYOUTS["embedding"], FilesConfig(), labelled=True))
    assert [record.values["label"] for record in records] == [1.0, 0.5]
    assert "2 rows are left out: the label is empty" in caplog.text


def test_empty_negatives_are_left_out(encoders, files, tmp_path):
    texts = [json.loads(line) for line in Path(files["pairs"]).read_text().splitlines()]
    rows = [texts[0] | {"negative": ""}, *texts[1:]]
    empty = {"pairs": str(write_jsonl(tmp_path / "empty.jsonl", rows))}
    found = tune(encoders, empty, "pairs", tmp_path / "empty", epochs=1.0)
    expected = tune(encoders, files, "pairs", tmp_path / "without", epochs=1.0)
    assert found | {"seconds": 0} == expected | {"seconds": 0}


def test_document_column_and_documents_as_output(encoders, files, tmp_path):
    tune(encoders, files, "pairs", tmp_path / "model", epochs=1.0)
    documents = write_jsonl(tmp_path / "documents.jsonl", [{"title": "a", "body": "the cat ."}])
    (tmp_path / "queries.txt").write_text("the cat .\n")
    config = {"model": str(tmp_path / "model"), "input": str(tmp_path / "queries.txt"), "documents": [str(documents)]}
    with pytest.raises(ElektronError, match="which column holds the text\\? Name it with --documents-text"):
        predictions(PredictConfig(**config))
    (row,) = predictions(PredictConfig(**config, documents_text="body"))
    assert [hit["text"] for hit in row["predicted_passages"]] == ["the cat ."]
    with pytest.raises(ElektronError, match="is the input itself"):
        predict(PredictConfig(**config, documents_text="body", output=documents))


def test_equal_scores_raise(encoders, tmp_path):
    rows = [{"sentence1": "the cat .", "sentence2": "the dog .", "score": 1.0}] * 4
    files = {"same": str(write_jsonl(tmp_path / "same.jsonl", rows))}
    with pytest.raises(ElektronError, match="same score"):
        tune(encoders, files, "same", tmp_path / "model")
