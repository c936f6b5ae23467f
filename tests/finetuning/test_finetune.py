"""End-to-end fine-tuning of small models: output folders, predictions, evaluation and invalid input."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from transformers import pipeline

from elektron.accelerator import Accelerator
from elektron.cli import main
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning.config import EvaluateConfig, FinetuneConfig
from elektron.finetuning.finetune import Search, finetune
from elektron.finetuning.labelled import Labelled
from elektron.finetuning.readers.records import Record, input_texts
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.finetuning.tasks.classification import Classification
from elektron.finetuning.trials import FinishedTrials
from elektron.inference.config import PredictConfig
from elektron.inference.evaluate import evaluate
from elektron.inference.predict import predict
from elektron.io.checksums import checksum_faults
from tests.finetuning.conftest import labelled_sentences, write_jsonl, write_tsv

QUICK = {"learning_rate": 5e-3, "batch_size": 16, "dropout": 0.0, "layer_decay": 1.0}


def animal_config(encoders, animals, out, family="elektron", **options):
    files = {"train": [str(animals["train"])], "eval": [str(animals["eval"])]}
    settings = {"task": "classification", "model": str(encoders[family]), "epochs": 4.0}
    return FinetuneConfig(**settings | files | {"out": out} | QUICK | options)


def tune(encoders, task, train, out, family="elektron", **options):
    """The metrics of a model that is quickly fine-tuned on a file or a list of rows."""
    settings = QUICK | {"eval": ["0.2"], "train": train if isinstance(train, list) else [str(train)]} | options
    return finetune(FinetuneConfig(task=task, model=str(encoders[family]), out=out / "m", **settings))


@pytest.fixture(scope="module")
def electra(encoders, animals, tmp_path_factory):
    """Folder of a fine-tuned classifier of family electra."""
    out = tmp_path_factory.mktemp("electra") / "model"
    test = [str(animals["test"])]
    finetune(animal_config(encoders, animals, out, "electra", test=test, epochs=8.0))
    return out


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_output_folder_has_model_metrics_predictions_and_report(electra, animals):
    names = {path.name for path in electra.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "task.json"} <= names
    assert {"metrics.json", "predictions.jsonl", "runs.json", "config.yaml"} <= names
    assert {"report.html", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    metrics = read(electra / "metrics.json")
    assert metrics["split"] == "test"
    assert metrics["accuracy"] == 1.0  # the first words determine the label
    low, high = metrics["intervals"]["accuracy"]
    assert low <= metrics["accuracy"] <= high
    predictions = lines(electra / "predictions.jsonl")
    assert len(predictions) == 60
    assert predictions[0].keys() == {"sentence", "label", "predicted_label", "predicted_score"}
    assert [row["label"] for row in predictions] == [row["predicted_label"] for row in predictions]


def test_transformers_pipeline_gives_equal_predictions(electra):
    texts = [text for text, _ in labelled_sentences(20, seed=9)]
    from elektron.inference.models import load_predictor

    ours = load_predictor(str(electra)).predict([Record({"text": t}, {}, "") for t in texts])
    theirs = pipeline("text-classification", model=str(electra))(texts)
    assert [row["label"] for row in ours] == [row["label"] for row in theirs]
    assert [row["score"] for row in ours] == pytest.approx([row["score"] for row in theirs], abs=1e-4)


def test_evaluate_reproduces_metrics_of_finetuning(electra, animals, tmp_path, capsys):
    found = evaluate(EvaluateConfig(model=str(electra), data=[str(animals["test"])], out=tmp_path / "scores"))
    before = read(electra / "metrics.json")
    # The linear baseline is missing, because evaluate has no training rows.
    assert found["baselines"] == before["baselines"][:1] and len(before["baselines"]) == 2
    for name, value in found.items():
        if name not in ("intervals", "baselines"):
            assert value == pytest.approx(before[name], abs=1e-5)
    assert read(tmp_path / "scores/metrics.json")["accuracy"] == found["accuracy"]
    assert "Accuracy" in capsys.readouterr().out


def test_evaluate_defaults_to_precision_of_finetuning(electra, animals, tmp_path):
    details = read(electra / "details.json")
    assert details["precision"] == Accelerator.choose().precision
    copy = shutil.copytree(electra, tmp_path / "tuned")
    data = [str(animals["test"])]
    other = "float32" if details["precision"] == "bfloat16" else "bfloat16"
    (copy / "details.json").write_text(json.dumps(details | {"precision": other}))
    evaluate(EvaluateConfig(model=str(copy), data=data, out=tmp_path / "a"))
    assert read(tmp_path / "a/details.json")["precision"] == other
    evaluate(EvaluateConfig(model=str(copy), data=data, out=tmp_path / "b", precision="fp32"))
    assert read(tmp_path / "b/details.json")["precision"] == "float32"


def test_prediction_keeps_columns_and_order(electra, animals, tmp_path, capsys):
    count = predict(PredictConfig(model=str(electra), input=str(animals["test"]), output=tmp_path / "p.jsonl"))
    rows = lines(tmp_path / "p.jsonl")
    assert count == len(rows) == 60
    assert [(row["sentence"], row["label"]) for row in rows] == labelled_sentences(60, seed=3)
    assert capsys.readouterr().out == ""


def test_sweep_with_seeds_and_scratch_baseline(encoders, animals, tmp_path, capsys):
    config = animal_config(
        encoders,
        animals,
        tmp_path / "m",
        test=[str(animals["test"])],
        epochs=2.0,
        seeds=2,
        sweep=["learning_rate=1e-6,5e-3"],
        baseline="scratch",
    )
    finetune(config)
    runs = read(tmp_path / "m/runs.json")
    assert [(run["side"], run["settings"]["learning_rate"], run["seed"]) for run in runs] == [
        ("pretrained", 1e-6, 1),
        ("pretrained", 5e-3, 1),
        ("pretrained", 5e-3, 2),
        ("scratch", 1e-6, 1),
        ("scratch", 5e-3, 1),
        ("scratch", 5e-3, 2),
    ]
    # The test rows are scored for the chosen settings only.
    assert [bool(run["test"]) for run in runs] == [False, True, True, False, True, True]
    assert sum(run["kept"] for run in runs) == 1
    assert max(runs[:3], key=lambda run: run["eval"]["accuracy"])["kept"]
    assert "Gain from pre-training" in capsys.readouterr().out


def four_trainings(encoders, animals, out):
    test, sweep = [str(animals["test"])], ["learning_rate=1e-6,5e-3"]
    options = {"test": test, "epochs": 1.0, "seeds": 3, "sweep": sweep}
    return animal_config(encoders, animals, out, **options)


@pytest.fixture(scope="module")
def whole(encoders, animals, tmp_path_factory):
    """Output folder of four uninterrupted trainings."""
    out = tmp_path_factory.mktemp("whole") / "m"
    finetune(four_trainings(encoders, animals, out))
    return out


@pytest.mark.parametrize("finished", [2, 3])
def test_interrupted_search_resumes_and_equals_uninterrupted_search(
    finished, encoders, animals, whole, tmp_path, monkeypatch, caplog
):
    """Two of four finished trainings complete the sweep; the third is another seed of the best settings."""

    def interrupted(search, *arguments):
        if len(search.trials) == finished:
            raise KeyboardInterrupt
        return fit(search, *arguments)

    def runs(out):
        return [run | {"seconds": 0} for run in read(out / "runs.json")]

    fit = Search.train
    config = four_trainings(encoders, animals, tmp_path / "m")
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(Search, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune(config)
    assert f"{finished} of 4 training runs are finished and kept" in caplog.text
    assert not (tmp_path / "m").exists()
    trained = []
    monkeypatch.setattr(Search, "train", lambda search, *a: trained.append(len(search.trials)) or fit(search, *a))
    finetune(config)
    assert trained == list(range(finished, 4))
    assert runs(tmp_path / "m") == runs(whole)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tmp_path / "m", whole)]
    assert weights[0] == weights[1]
    assert {path.name for path in tmp_path.iterdir()} == {"m"}
    assert not list(tmp_path.rglob("trials"))


@pytest.mark.parametrize("seeds", [1, 2])
def test_finished_trainings_of_other_settings_are_removed(encoders, animals, tmp_path, monkeypatch, caplog, seeds):
    def interrupted(search, *arguments):
        if search.trials:
            raise KeyboardInterrupt
        return fit(search, *arguments)

    fit = Search.train
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Search, "train", interrupted)
        finetune(animal_config(encoders, animals, tmp_path / "m", epochs=1.0, seeds=2))
    finetune(animal_config(encoders, animals, tmp_path / "m", epochs=2.0, seeds=seeds))
    assert "1 finished training runs" in caplog.text and "removed" in caplog.text
    assert [len(run["epochs"]) for run in read(tmp_path / "m/runs.json")] == [2] * seeds


def test_unusable_out_raises_before_files_are_read(encoders, animals, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "m"):
        with pytest.raises(ElektronError, match=r"not empty|cannot be written"):
            finetune(animal_config(encoders, animals, out, train=["no such file"]))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_scratch_recipe_finetunes_without_pretrained_weights(encoders, animals, tmp_path):
    options = {"model": "scratch:quickstart", "eval": ["0.2"], "epochs": 1.0}
    finetune(animal_config(encoders, animals, tmp_path / "m", **options))
    details = read(tmp_path / "m/details.json")
    assert details["weights"]["loaded"] == 0
    assert details["eval_rows"] == 40
    assert "--test" in details["warnings"][0]
    # The vocabulary is learned from the training texts: it has their words and no label.
    words = {word for text, _ in labelled_sentences(200, seed=1) for word in text.split()}
    vocabulary = load_tokenizer(str(tmp_path / "m")).get_vocab()
    assert words <= vocabulary.keys()
    assert not {"animal", "person"} & vocabulary.keys()


@pytest.mark.parametrize(
    ("task", "values", "texts"),
    [
        ("classification", {"text": "a b", "label": "c"}, ["a b"]),
        ("regression", {"text": "a", "pair": "b", "label": 1}, ["a", "b"]),
        ("token-classification", {"tokens": ["a", "b"], "tags": ["O", "O"]}, ["a b"]),
        ("question-answering", {"question": "q", "context": "c", "answers": [], "id": "i"}, ["q", "c"]),
        ("multiple-choice", {"text": "a", "choices": ["b", "c"], "label": 1}, ["a", "b c"]),
        (
            "multiple-choice",
            {"text": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "label": 1},
            ["a", "b c"],
        ),
        ("translation", {"source": "a", "target": "b"}, ["a"]),
        ("embedding", {"text": "a", "pair": "b", "negative": "c", "label": 1.0}, ["a", "b", "c"]),
    ],
)
def test_input_texts_returns_all_encoder_inputs_of_task(task, values, texts):
    assert input_texts(LAYOUTS[task], [Record(values, {}, "")]) == texts


def test_same_file_for_train_eval_and_test_is_logged(encoders, animals, tmp_path, caplog):
    same = [str(animals["train"])]
    finetune(animal_config(encoders, animals, tmp_path / "m", eval=same, test=same, epochs=1.0))
    for name in ("--eval", "--test"):
        assert f"both trained on and given as {name}" in caplog.text
    assert "is given twice: for choosing" in caplog.text


def test_correct_predictions_on_single_label_eval_are_no_collapse(encoders, animals, tmp_path, caplog):
    rows = [row for row in labelled_sentences(60, seed=2) if row[1] == "animal"]
    one = write_tsv(tmp_path / "eval.tsv", rows, ("sentence", "label"))
    metrics = finetune(animal_config(encoders, animals, tmp_path / "m", eval=[str(one)]))
    assert metrics["accuracy"] == 1
    (run,) = read(tmp_path / "m/runs.json")
    assert not run["collapsed"]
    assert "collapsed" not in caplog.text


class Parrot:
    """Stand-in for a predictor, with given predictions and a count of the predicted rows."""

    def __init__(self, says):
        self.says = says
        self.rows = 0
        self.task = Classification(labels=["a", "b"], max_length=8, pairs=False, truncation="head", stride=0)

    def predict(self, records, title=""):
        self.rows += len(records)
        return [{"label": self.says(record)} for record in records]


def collapse(says, train, evaluation):
    """The result of `Search.collapse` for given predictions, and the number of training rows predicted for it."""
    train, evaluation = (
        [Record({"text": "t", "label": label}, {}, "") for label in labels] for labels in (train, evaluation)
    )
    config = FinetuneConfig(task="classification", model="m", train=["t"], out="o")
    parrot = Parrot(says)
    predictions = parrot.predict(evaluation)
    found = Search(config, Labelled(train, evaluation, []), FinishedTrials(Path("none"), None)).collapse(
        parrot, predictions
    )
    return found, parrot.rows - len(evaluation)


@pytest.mark.parametrize(
    ("says", "train", "evaluation", "found"),
    [
        (lambda record: "a", "ab" * 300, "abab", ("it predicts 'a' for every text", 200)),
        (lambda record: "a", "ab" * 300, "aaaa", ("it predicts 'a' for every text", 200)),
        (lambda record: "a", "abab", "a", ("it predicts 'a' for every text", 4)),
        (lambda record: record.values["label"], "abab", "aaaa", ("", 4)),
        (lambda record: record.values["label"], "abab", "abab", ("", 0)),
        (lambda record: "a", "aaaa", "aa", ("", 4)),
    ],
)
def test_suspected_collapse_is_checked_on_training_rows(says, train, evaluation, found):
    assert collapse(says, train, evaluation) == found


@pytest.mark.parametrize(
    ("epochs", "trainings", "advice"),
    [(1.0, 1, "more --epochs may help"), (16.0, 3, "another --learning-rate or more --epochs")],
)
def test_collapse_is_logged_and_only_long_trainings_restart(
    encoders, animals, tmp_path, caplog, monkeypatch, epochs, trainings, advice
):
    monkeypatch.setattr(Search, "collapse", lambda *_: "it says 'a' of every text")
    attempts = []
    attempt = Search.attempt
    monkeypatch.setattr(Search, "attempt", lambda *these: attempts.append(these[-1]) or attempt(*these))
    finetune(animal_config(encoders, animals, tmp_path / "m", epochs=epochs, batch_size=64))
    assert attempts == [1 + 1000 * restart for restart in range(trainings)]
    assert caplog.text.count("trained again with another seed") == trainings - 1
    assert advice in caplog.text


def test_multi_label_classification(encoders, tmp_path):
    rows = []
    for text, label in labelled_sentences(200, seed=4):
        labels = [label] + (["food"] if "bread" in text or "apple" in text else [])
        rows.append({"text": text, "label": labels})
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    metrics = tune(encoders, "classification", path, tmp_path, epochs=8.0)
    assert metrics["f1_micro"] > 0.9
    assert read(tmp_path / "m/task.json")["several"]
    assert set(lines(tmp_path / "m/predictions.jsonl")[0]) == {"text", "label", "predicted_labels", "predicted_scores"}


@pytest.mark.parametrize("scale", [1e-7, 1.0])
def test_regression_in_bf16_with_large_offset_or_small_scale(encoders, tmp_path, scale):
    rows = [
        (text, str(2013.0 * scale + scale * (label == "animal"))) for text, label in labelled_sentences(100, seed=5)
    ]
    path = write_tsv(tmp_path / "train.tsv", rows, ("text", "score"))
    options = {"eval": ["0.1"], "test": [str(path)], "epochs": 5.0, "precision": "bf16"}
    metrics = tune(encoders, "regression", path, tmp_path, "electra", **options)
    assert metrics["mse"] < scale**2 and metrics["pearson"] > 0.8
    again = evaluate(EvaluateConfig(model=str(tmp_path / "m"), data=[str(path)], precision="bf16"))
    assert again["mse"] == pytest.approx(metrics["mse"], rel=1e-3)


def test_evaluation_columns_that_differ_from_training_raise(encoders, tmp_path):
    row = {"text": "a cat .", "label": "x"}
    train = write_jsonl(tmp_path / "train.jsonl", [row | {"pair": "b"}, row | {"pair": "c", "label": "y"}])
    other = write_jsonl(tmp_path / "eval.jsonl", [row | {"other": "b"}])
    for first, second, says in ((train, other, "lacks a pair"), (other, train, "has a pair")):
        if first == other:
            write_jsonl(other, [row, row | {"label": "y"}])
        with pytest.raises(ElektronError, match=f"it {says}, unlike the training rows"):
            tune(encoders, "classification", first, tmp_path, eval=[str(second)])


def test_multiple_labels_for_single_label_model_raise(electra, tmp_path):
    path = write_jsonl(tmp_path / "test.jsonl", [{"text": "a", "label": ["animal", "person"]}])
    with pytest.raises(ElektronError, match="line 1: 2 labels, but the model predicts one label per text"):
        evaluate(EvaluateConfig(model=str(electra), data=[str(path)]))


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_regression_predicts_on_scale_of_labels(encoders, tmp_path, family):
    rows = [(text, str(100.0 if label == "animal" else 300.0)) for text, label in labelled_sentences(200, seed=5)]
    path = write_tsv(tmp_path / "train.tsv", rows, ("text", "score"))
    metrics = tune(encoders, "regression", path, tmp_path, family, epochs=7.0)
    assert metrics["pearson"] > 0.95
    assert metrics["mse"] == pytest.approx(metrics["loss"], rel=1e-3)
    if family == "electra":
        # The transformers pipeline gives the same number.
        said = lines(tmp_path / "m/predictions.jsonl")[0]
        judge = pipeline("text-classification", model=str(tmp_path / "m"), function_to_apply="none")
        assert judge(said["text"])[0]["score"] == pytest.approx(said["predicted_score"], rel=1e-3)


def tagged_sentences(count, seed):
    """Sentences in which the nouns of the subject are entities."""
    rows = []
    for text, label in labelled_sentences(count, seed):
        tokens = text.split()
        nouns = {"cat", "dog", "bird", "fox", "friend", "brother"}
        kind = "ANI" if label == "animal" else "PER"
        tags = ["B-" + kind if t in nouns else "O" for t in tokens]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


@pytest.mark.parametrize("family", ["elektron", "electra"])
def test_token_classification_of_conll_file(encoders, tmp_path, family):
    path = tmp_path / "train.conll"
    path.write_text(
        "-DOCSTART- O\n\n"
        + "\n\n".join(
            "\n".join(f"{t} {tag}" for t, tag in zip(row["tokens"], row["tags"], strict=True))
            for row in tagged_sentences(200, 6)
        )
    )
    metrics = tune(encoders, "token-classification", path, tmp_path, family, epochs=4.0)
    assert metrics["f1"] > 0.95
    assert read(tmp_path / "m/details.json")["per_class"].keys() == {"ANI", "PER"}
    if family == "electra":
        text = "the cat sees a long road ."
        # With this strategy of transformers, the first piece of a word determines its tag.
        tagger = pipeline("token-classification", model=str(tmp_path / "m"), aggregation_strategy="first")
        assert [(found["word"], found["entity_group"]) for found in tagger(text)] == [("cat", "ANI")]
        (tmp_path / "in.txt").write_text(text + "\n")
        predict(PredictConfig(model=str(tmp_path / "m"), input=str(tmp_path / "in.txt"), output=tmp_path / "p.jsonl"))
        (row,) = lines(tmp_path / "p.jsonl")
        assert "B-ANI" in row["predicted_tags"]


def as_kaggle_has_it(path, rows):
    """One token per row, with the sentence number in the first row of each sentence."""
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Sentence #", "Word", "POS", "Tag"])
        for number, row in enumerate(rows, start=1):
            for place, (token, tag) in enumerate(zip(row["tokens"], row["tags"], strict=True)):
                writer.writerow(["" if place else f"Sentence: {number}", token, "X", tag])
    return path.with_suffix(".csv")


def as_doccano_has_it(path, rows):
    """One text per line, with the character spans of its entities."""
    found = []
    for row in rows:
        text, spans = " ".join(row["tokens"]), []
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            if tag != "O":
                spans.append([text.index(token), text.index(token) + len(token), tag[2:]])
        found.append({"text": text, "label": spans})
    return write_jsonl(path.with_suffix(".jsonl"), found)


@pytest.mark.parametrize("written", [as_kaggle_has_it, as_doccano_has_it])
def test_token_classification_of_kaggle_and_doccano_files(encoders, tmp_path, written):
    rows = tagged_sentences(120, 6)
    path = written(tmp_path / "train", rows)
    metrics = tune(encoders, "token-classification", path, tmp_path, eval=[str(path)], epochs=8.0)
    assert metrics["rows"] == len(rows)
    assert metrics["f1"] > 0.9
    assert read(tmp_path / "m/details.json")["per_class"].keys() == {"ANI", "PER"}
    # Prediction reads the same file without column options.
    output = tmp_path / "p.jsonl"
    predict(PredictConfig(model=str(tmp_path / "m"), input=str(path), output=output))
    said = [row.get("predicted_tags", row.get("tags")) for row in lines(output)]
    assert [len(tags) for tags in said] == [len(row["tokens"]) for row in rows]


def test_multiple_choice(encoders, tmp_path):
    rows = []
    for number, (text, label) in enumerate(labelled_sentences(200, seed=7)):
        choices = ["the dog", "her brother"] if label == "animal" else ["her brother", "the dog"]
        if number % 2:
            choices.reverse()
        rows.append({"text": text, "choices": choices, "label": number % 2})
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    metrics = tune(encoders, "multiple-choice", path, tmp_path, epochs=10.0)
    assert metrics["accuracy"] > 0.7
    assert lines(tmp_path / "m/predictions.jsonl")[0].keys() >= {"predicted_choice", "predicted_label"}


class TestBadInput:
    """Invalid input ends in a one-line error and leaves files unchanged."""

    def refuse(self, capsys, tmp_path, arguments, *said):
        out = tmp_path / "out"
        assert main([*map(str, arguments), "--out", str(out)]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("elektron: ")
        for part in said:
            assert part in line
        assert not out.exists()

    def arguments(self, encoders, animals, *more, task="classification", train=None):
        return [
            *("finetune", task, "--model", encoders["elektron"]),
            *("--train", train or animals["train"], "--eval", animals["eval"]),
            *more,
        ]

    def test_an_unknown_column(self, capsys, tmp_path, encoders, animals):
        more = ("--text", "sentense")
        self.refuse(capsys, tmp_path, self.arguments(encoders, animals, *more), "sentense", "sentence")

    def test_label_absent_from_training(self, capsys, tmp_path, encoders, animals):
        odd = write_tsv(tmp_path / "odd.tsv", [("the cat .", "animal"), ("the dog .", "animl")], ("sentence", "label"))
        arguments = self.arguments(encoders, animals, "--test", odd)
        self.refuse(capsys, tmp_path, arguments, "line 3", "'animl'", "did you mean animal")

    def test_one_class_only(self, capsys, tmp_path, encoders, animals):
        rows = [("the cat .", "animal")] * 5
        one = write_tsv(tmp_path / "one.tsv", rows, ("sentence", "label"))
        arguments = self.arguments(encoders, animals, train=one)
        self.refuse(capsys, tmp_path, arguments, "same label, 'animal'")

    def test_empty_text(self, capsys, tmp_path, encoders, animals):
        rows = [("the cat .", "a"), ("", "b")]
        empty = write_tsv(tmp_path / "empty.tsv", rows, ("sentence", "label"))
        self.refuse(capsys, tmp_path, self.arguments(encoders, animals, train=empty), "line 3: the text is empty")

    def test_missing_model_folder_or_unknown_recipe(self, capsys, tmp_path):
        """The model is checked before the content of the training file, which is invalid too."""
        train = tmp_path / "empty.tsv"
        train.touch()
        for name, said in (("scratch:quikstart", "mean quickstart"), ("./x", "no such folder")):
            arguments = ["finetune", "classification", "--model", name, "--train", str(train)]
            self.refuse(capsys, tmp_path, arguments, said)

    def test_too_few_fields(self, capsys, tmp_path, encoders, animals):
        short = write_tsv(tmp_path / "short.tsv", [("the cat .", "a"), ("the dog .",)], ("sentence", "label"))
        self.refuse(capsys, tmp_path, self.arguments(encoders, animals, train=short), "line 3: no label")

    def test_non_numeric_labels_for_regression(self, capsys, tmp_path, encoders, animals):
        arguments = self.arguments(encoders, animals, task="regression")
        self.refuse(capsys, tmp_path, arguments, "line 2", "is not a number")

    def test_different_numbers_of_tags_and_tokens(self, capsys, tmp_path, encoders):
        path = tmp_path / "tags.txt"
        path.write_text("the cat\tO B-ANI\nthe old dog\tO B-ANI\n")
        arguments = ["finetune", "token-classification", "--model", encoders["elektron"]]
        self.refuse(capsys, tmp_path, [*arguments, "--train", path], "line 2", "3 tokens", "2 tags")

    def test_a_model_of_another_task(self, capsys, electra, animals):
        arguments = ["evaluate", str(electra), str(animals["test"]), "--task", "regression"]
        assert main(arguments) == 2
        assert "is a model for classification, not for regression" in capsys.readouterr().err

    def test_predict_with_model_not_finetuned(self, capsys, encoders, animals):
        assert main(["predict", str(encoders["electra"]), "--input", str(animals["test"])]) == 2
        assert "has not been fine-tuned" in capsys.readouterr().err

    def test_scratch_baseline_of_scratch_model(self, encoders, animals, tmp_path):
        options = {"model": "scratch:quickstart", "baseline": "scratch"}
        with pytest.raises(ElektronError, match="pretrained --model"):
            finetune(animal_config(encoders, animals, tmp_path / "m", **options))


def test_float_and_integer_labels_are_equal_classes(encoders, tmp_path):
    """Labels are floats in training and integers in evaluation; predict reads the training file without a header."""
    rows = [(text, "1" if label == "animal" else "0") for text, label in labelled_sentences(80, 5)]
    train = tmp_path / "train.csv"
    train.write_text("".join(f"{n},{text},{label}.0\n" for n, (text, label) in enumerate(rows)))
    out = tmp_path / "m"
    tune(encoders, "classification", train, tmp_path, "electra", text="2", label="3", epochs=1)
    assert json.loads((out / "task.json").read_text())["labels"] == ["0", "1"]
    assert {row["3"] for row in lines(out / "predictions.jsonl")} <= {"0", "1"}
    predict(PredictConfig(model=str(out), input=str(train), output=tmp_path / "p.jsonl"))
    assert [row["2"] for row in lines(tmp_path / "p.jsonl")] == [text for text, _ in rows]
    test = [{"text": text, "label": int(label)} for text, label in rows]
    unlabelled = {"text": "the cat", "label": "-"}
    figures = evaluate(EvaluateConfig(model=str(out), data=[*test, unlabelled]))
    assert figures["rows"] == len(rows)


def test_max_train_keeps_labels_of_undrawn_classes(encoders, tmp_path):
    rows = [{"text": t, "label": x} for t, x in [*labelled_sentences(40, 5), ("a bird .", "rare")]]
    metrics = tune(encoders, "classification", rows, tmp_path, "electra", eval=rows, max_train=2, epochs=1)
    assert metrics["rows"] == 41
    labels = json.loads((tmp_path / "m/task.json").read_text())["labels"]
    assert labels == ["animal", "person", "rare"]


def test_checksums_match_files_of_chosen_model(whole):
    assert checksum_faults(whole) == {}
