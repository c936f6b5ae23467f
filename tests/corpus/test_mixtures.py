"""Mixtures keep their weights and repeat short sources, and training on them resumes and reports each source."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elektron.cli import main
from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import PrepareConfig, TokenizerConfig
from elektron.corpus.documents import Corpus
from elektron.corpus.prepare import prepare
from elektron.corpus.sources import read_weights
from elektron.corpus.tokenizer import train_tokenizer
from elektron.errors import ElektronError
from elektron.io.files import parse_json_object
from elektron.pretraining.config import EvaluationConfig
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.randomness import rows_from
from tests.corpus.texts import FINNISH, make_text, make_words
from tests.pretraining.conftest import killed_before, tiny_config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PrepareConfig:
    """Two sources of different sizes with weights 0.8 and 0.2."""
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "long.txt").write_text(make_text(900))
    (folder / "short.txt").write_text(make_words(FINNISH, 40, " ", ". "))
    sources = [str(folder / name) for name in ("long.txt", "short.txt")]
    train_tokenizer(TokenizerConfig(sources, folder / "tokenizer", vocab_size=400))
    corpus = [f"{sources[0]}=0.8", f"{sources[1]}=0.2"]
    return PrepareConfig(corpus, str(folder / "tokenizer"), folder / "blocks", 32, validation=0.1, workers=1)


@pytest.fixture(scope="module")
def store(config: PrepareConfig) -> BlockStore:
    prepare(config)
    return BlockStore.open(config.out)


def test_token_shares_of_epoch_match_weights_within_one_percent(store: BlockStore) -> None:
    rows = store.rows("train")
    long, short = store.manifest.splits["train"].members.values()
    assert long.epochs == 1
    assert short.epochs > 1.5
    for epoch in (0, 1):
        order = rows_from(epoch * len(rows), len(rows), len(rows), seed=3)
        members, taken = rows.member_of(order), rows.take(order)
        tokens = [(taken[members == number] != 0).sum() for number in (0, 1)]
        assert tokens[0] / sum(tokens) == pytest.approx(0.8, abs=0.01)
        halves = [(part == 1).mean() for part in np.array_split(members, 2)]
        assert halves[0] == pytest.approx(halves[1], abs=0.05)


def test_row_repetitions_in_epoch_match_manifest(store: BlockStore) -> None:
    rows = store.rows("train")
    stored = rows._stored_rows(np.arange(len(rows)))
    counts = np.bincount(stored, minlength=store.manifest.splits["train"].rows)
    long, short = store.manifest.splits["train"].members.values()
    assert (counts[: long.rows] == 1).all()
    assert set(counts[long.rows :]) <= {int(short.epochs), int(short.epochs) + 1}
    assert counts[long.rows :].sum() == short.rows_in_epoch
    # The incomplete repetition takes rows evenly from the whole source.
    more = np.flatnonzero(counts[long.rows :] > int(short.epochs)) / short.rows
    assert more.mean() == pytest.approx(0.5, abs=0.1)


def test_source_counts_sum_to_split_counts(store: BlockStore, config: PrepareConfig) -> None:
    for split in store.manifest.splits.values():
        assert list(split.members) == [source.rpartition("=")[0] for source in config.corpus]
        members = split.members.values()
        assert sum(member.documents for member in members) == split.documents
        assert sum(member.rows for member in members) == split.rows
        assert sum(member.tokens for member in members) == split.tokens
        assert min(member.rows for member in members) > 0


def test_same_mixture_is_kept_and_other_weights_raise(store: BlockStore, config: PrepareConfig) -> None:
    assert prepare(config) == store.manifest
    weights = [source.rpartition("=")[0] + "=0.5" for source in config.corpus]
    for other in (weights, [source.rpartition("=")[0] for source in config.corpus]):
        with pytest.raises(ElektronError, match="weights"):
            prepare(replace(config, corpus=other))


def test_weights_in_yaml_equal_weights_in_source_arguments(config: PrepareConfig, tmp_path: Path) -> None:
    expected = read_weights(config.corpus)
    pairs = dict(source.rpartition("=")[::2] for source in config.corpus)
    for content in (
        "\n".join(f"- {source}" for source in config.corpus),
        "\n".join(f"- {place}: {weight}" for place, weight in pairs.items()),
        "\n".join(f"{place}: {weight}" for place, weight in pairs.items()),
    ):
        (tmp_path / "mixture.yaml").write_text(content)
        assert read_weights([str(tmp_path / "mixture.yaml")]) == expected
        assert Corpus([str(tmp_path / "mixture.yaml")]).weights == expected


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("- a.txt\n- b.txt", "no weights"),
        ("a.txt: 0,8", "no weights"),
        ("a: 1\na: 2", "duplicate key 'a'"),
        ("[" * 9999, "YAML"),
    ],
)
def test_yaml_without_valid_weights_raises(content: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text(content)
    with pytest.raises(ElektronError, match=complaint):
        read_weights([str(tmp_path / "mixture.yaml")])


def test_yaml_beside_another_source_raises() -> None:
    with pytest.raises(ElektronError, match="cannot be combined with other sources"):
        read_weights(["mixture.yaml", "a.txt"])


def test_frequent_repetition_of_a_source_is_logged(
    config: PrepareConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = tmp_path / "few.txt"
    few.write_text(make_words(FINNISH, 30, " ", ". "))
    long, _ = (source.rpartition("=")[0] for source in config.corpus)
    prepare(replace(config, corpus=[f"{long}=0.02", f"{few}=0.98"], out=tmp_path / "blocks"))
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert re.search(r"few\.txt: it is repeated \d+ times in an epoch", warning)


def test_weights_are_normalized(tmp_path: Path) -> None:
    (tmp_path / "c=3.txt").write_text("text")
    assert read_weights(["a=3", "b=1"]) == {"a": 0.75, "b": 0.25}
    assert read_weights([str(tmp_path / "c=3.txt"), "d"]) == {}


@pytest.mark.parametrize(
    ("sources", "complaint"),
    [
        (["a=0.5", "b"], "each source"),
        (["a=0", "b=0"], "nothing to train on"),
        (["a=-1", "b=1"], "positive"),
        (["a=nan", "b=1"], "positive"),
        (["a=1", "a=2"], "each source"),
    ],
)
def test_invalid_weights_raise(sources: list[str], complaint: str) -> None:
    with pytest.raises(ElektronError, match=complaint):
        read_weights(sources)


def test_tokenizer_training_ignores_weights_and_logs_warning(
    config: PrepareConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train_tokenizer(TokenizerConfig(config.corpus, tmp_path / "t", vocab_size=400))
    assert "weights only have an effect in `elektron prepare`" in caplog.text
    expected = (Path(config.tokenizer) / "tokenizer.json").read_bytes()
    assert (tmp_path / "t" / "tokenizer.json").read_bytes() == expected


def test_source_with_only_copies_of_another_raises(config: PrepareConfig, tmp_path: Path) -> None:
    first = config.corpus[0].rpartition("=")[0]
    copy = tmp_path / "copy.txt"
    copy.write_bytes(Path(first).read_bytes())
    mixture = [f"{first}=0.5", f"{copy}=0.5"]
    with pytest.raises(ElektronError, match=r"copy\.txt: .*copies"):
        prepare(replace(config, corpus=mixture, out=tmp_path / "blocks"))


def test_inspect_reports_documents_tokens_and_epochs_of_sources(
    store: BlockStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(store.folder), "--json"]) == 0
    findings = {found["subject"]: found["value"] for found in json.loads(capsys.readouterr().out)}
    for name, member in store.manifest.splits["train"].members.items():
        assert f"{member.documents:,} documents, {member.tokens:,} tokens" in findings[name]
        assert f"{member.epochs:.2f} times" in findings[name]


def test_resumed_training_is_bit_identical_and_reports_each_source(
    store: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = pretrain(tiny_config(store.folder, tmp_path / "whole"))
    with killed_before(9, monkeypatch):
        pretrain(tiny_config(store.folder, tmp_path / "killed"))
    resumed = pretrain(tiny_config(store.folder, tmp_path / "killed"))
    names = list(store.manifest.weights)
    losses = [uninterrupted[f"generator_loss/{name}"] for name in names]
    assert losses == [resumed[f"generator_loss/{name}"] for name in names]
    assert min(losses) <= uninterrupted["generator_loss"] <= max(losses)
    assert losses[0] != losses[1]
    weights = [(tmp_path / run / "discriminator" / "model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert weights[0] == weights[1]
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    evaluations = [line for line in map(parse_json_object, lines) if line["kind"] == "evaluation"]
    for name in names:
        assert all(f"discriminator_{what}/{name}" in e for e in evaluations for what in ("loss", "auc"))


def test_source_with_weight_0_is_only_evaluated(
    config: PrepareConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluating it does not change the overall metrics, which equal those of the other source."""
    long, short = (source.rpartition("=")[0] for source in config.corpus)
    settings = replace(config, corpus=[f"{long}=1", f"{short}=0"], out=tmp_path / "blocks")
    manifest = prepare(settings)
    watched = [manifest.splits[split].members[short] for split in ("train", "validation")]
    assert watched[0].documents == watched[0].rows == 0
    assert watched[1].rows > 0 and watched[1].epochs == 1
    assert main(["inspect", str(settings.out), "--json"]) == 0
    assert "held out only" in capsys.readouterr().out
    summary = pretrain(tiny_config(settings.out, tmp_path / "run"))
    assert summary["generator_loss"] == summary[f"generator_loss/{long}"]
    assert summary["discriminator_auc"] == summary[f"discriminator_auc/{long}"]
    assert summary[f"generator_loss/{short}"] != summary["generator_loss"]
    summary = pretrain(tiny_config(settings.out, tmp_path / "mlm", objective="mlm", steps=2))
    assert summary["lm_loss"] == summary[f"lm_loss/{long}"]
    assert summary["lm_loss"] != summary[f"lm_loss/{short}"]
    # A single evaluation row comes from the source that is trained on.
    few = tiny_config(settings.out, tmp_path / "few", steps=2, evaluation=EvaluationConfig(every=2, rows=1))
    assert pretrain(few)["generator_loss"] is not None
    with pytest.raises(ElektronError, match=r"short\.txt: too little text"):
        prepare(replace(settings, validation=0, out=tmp_path / "none"))
