"""The audit of a run: membership scores, planted secrets, output files, and rejected runs."""

import json
import random
import shutil

import numpy as np
import pytest
import torch

from elektron.audit.audit import audit, blocks_of, compared_rows, membership_measure
from elektron.audit.canaries import make_canaries
from elektron.audit.config import AuditConfig, CanariesConfig
from elektron.cli import main
from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import train_tokenizer
from elektron.errors import ElektronError
from elektron.pretraining import pretrain as entry
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.config import NetworkConfig
from elektron.pretraining.run import RunFolder, load_settings
from tests.conftest import prepare_blocks, sentences
from tests.pretraining.conftest import TINY, tiny_config

QUICK = {"candidates": 199, "rows": 40}


def test_membership_measure_matches_known_auc_and_tpr():
    membership = np.arange(2000) % 2 == 0
    generator = np.random.default_rng(0)
    blind = generator.normal(size=2000)
    for scores, auc, tpr in ((membership * 1.0, 1.0, 1.0), (membership * -1.0, 0.0, 0.0), (np.zeros(2000), 0.5, 0.0)):
        found = membership_measure(membership, scores)()
        assert found == pytest.approx({"auc": auc, "tpr": tpr})
    found = membership_measure(membership, blind)()
    assert found["auc"] == pytest.approx(0.5, abs=0.03)
    assert found["tpr"] == pytest.approx(0.01, abs=0.02)
    # Two normal distributions one standard deviation apart: Φ(1/√2), and Φ(Φ⁻¹(0.01) + 1).
    found = membership_measure(membership, blind + membership)()
    assert found["auc"] == pytest.approx(0.760, abs=0.03)
    assert found["tpr"] == pytest.approx(0.092, abs=0.05)


def test_compared_rows_balance_members_and_held_out_rows(run):
    config = AuditConfig(run=run, **QUICK)
    store, seen = blocks_of(config, RunFolder(run, writes=False))
    assert seen == 12 * 8  # 12 steps of 8 rows
    rows, membership = compared_rows(store, seen, config)
    held_out = store.rows("validation")
    count = min(40, len(held_out))
    assert membership.sum() == (~membership).sum() == count
    held_out = {tuple(row) for row in held_out.take(np.arange(len(held_out)))}
    assert {tuple(row) in held_out for row in rows[~membership]} == {True}
    batches = BatchMaker(store, load_settings(run), torch.device("cpu"))
    read = [tuple(row) for step in range(12) for row in batches.training(step).micro_batches[0].input_ids.tolist()]
    assert {tuple(row) in read for row in rows[membership].tolist()} == {True}
    assert len(store.rows("train")) > len(set(read)) == seen
    first, membership = compared_rows(store, 3, config)
    assert len(first) == 6  # all three rows that were seen, and three that were held out
    assert sorted(map(tuple, first[membership].tolist())) == sorted(read[:3])


def test_audit_writes_results_without_secret_texts(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("elektron.audit.canaries.ALPHABETS", ("acdgot",))  # characters in the tokenizer's vocabulary
    canaries = tmp_path / "s.json"
    secret = {"text": "the cat sees the dog .", "secret": "cat"}
    canaries.write_text(json.dumps({"secrets": [secret]}))
    out = tmp_path / "audited"
    arguments = ["audit", str(run), "--canaries", str(canaries), "--out", str(out)]
    assert main([*arguments, "--candidates", "99", "--rows", "40"]) == 0
    result = json.loads((out / "audit.json").read_text())
    assert result["models"].keys() == {"generator", "discriminator"}
    for model in result["models"].values():
        low, high = model["members"]["intervals"]["auc"]
        assert low <= model["members"]["auc"] <= high
        (group,) = model["canaries"]
        assert 0 < group["p"] <= 1
        assert group["remembered"] == (group["p"] <= 0.005)
    page = (out / "report.html").read_text()
    for text in (page, json.dumps(result), capsys.readouterr().out):
        assert "sees the dog" not in text


def test_unfinished_or_mismatched_runs_raise(run, tmp_path):
    with pytest.raises(ElektronError, match="not a finished run"):
        audit(AuditConfig(run=tmp_path))
    with pytest.raises(ElektronError, match="--data"):
        audit(AuditConfig(run=run, data=tmp_path))
    copy = shutil.copytree(run, tmp_path / "run")
    corpus = json.loads((copy / "corpus.json").read_text())
    (copy / "corpus.json").write_text(json.dumps(corpus | {"fingerprint": "other"}))
    with pytest.raises(ElektronError, match="not the blocks"):
        audit(AuditConfig(run=copy))


@pytest.mark.slow
def test_repeated_secret_is_remembered_and_unseen_one_is_not(tmp_path, monkeypatch):
    # Seeded, because an unseen random secret looks remembered by chance in one of some tens of runs.
    monkeypatch.setattr("elektron.audit.canaries.system_random.randbelow", random.Random(1).randrange)
    made = make_canaries(
        CanariesConfig(out=tmp_path / "c", copies=[0, 100], secrets=1, template="the code is # # # # # .")
    )
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "text.txt").write_text("\n\n".join(sentences(150, seed=3)))
    shutil.copy(tmp_path / "c/canaries.txt", corpus)
    tokenizer = TokenizerConfig(corpus=[str(corpus)], out=tmp_path / "tokenizer", vocab_size=110)
    train_tokenizer(tokenizer)
    blocks = prepare_blocks(corpus, tmp_path / "tokenizer", tmp_path / "blocks")
    network = NetworkConfig(**TINY | {"hidden_size": 64, "generator_width": 1.0})
    options = {"steps": 400, "batch_size": 16, "network": network, "log_every": 100}
    entry.pretrain(tiny_config(blocks, tmp_path / "run", **options))
    result = audit(AuditConfig(run=tmp_path / "run", canaries=tmp_path / "c", rows=20))
    verdicts = {g["copies"]: g for g in result["models"]["generator"]["canaries"]}
    assert verdicts[100]["remembered"] and verdicts[100]["ranks"] == [1]
    assert not verdicts[0]["remembered"]
    assert [secret.copies for secret in made] == [0, 100]
