"""The speedrun benchmark and its table, with tiny networks."""

import gzip
import json
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest

from elektron.pretraining.config import resolve
from tests.finetuning.conftest import write_jsonl

PAIRS = [{"good": "the cat sees the river .", "bad": "the cat the sees river .", "phenomenon": "a"}]
TINY = {
    "network.num_hidden_layers": 1,
    "network.hidden_size": 16,
    "network.intermediate_size": 16,
    "network.num_attention_heads": 2,
    "network.embedding_size": 16,
    "network.max_position_embeddings": 128,
    "evaluation.rows": 8,
    "compile": False,
    "batch_size": 4,
}


def test_all_arms_are_trained_and_written_as_rows(
    benchmark: ModuleType,
    corpus_file: Path,
    animals: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(benchmark, "SIZES", TINY)
    monkeypatch.setattr(logging.getLogger("elektron"), "setLevel", lambda level: None)
    probe = f"classification --train {animals['train']} --eval {animals['eval']}"
    monkeypatch.setattr(benchmark, "PROBES", {"sst2": probe})
    monkeypatch.setattr(benchmark, "write_capitals", lambda *_: None)
    results = tmp_path / "results" / "speedrun.jsonl"
    arguments = [
        *("--minutes", "0.01", "--arm", *benchmark.ARMS, "--seed", "1", "--corpus", corpus_file),
        *("--blimp", write_jsonl(tmp_path / "pairs.jsonl", PAIRS), "--data", tmp_path),
        *("--set", "optimizer.learning_rate=1e-3", "--vocab-size", 90, "--seq-len", 16, "--every", 1),
        *("--labels", 40, "--probe-seeds", 2, "--work", tmp_path / "work", "--json", results),
    ]
    monkeypatch.setattr(sys, "argv", ["speedrun.py", *map(str, arguments)])
    benchmark.main()
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["arm"] for row in rows] == list(benchmark.ARMS) == ["elektron", "paper", "mlm"]
    for row in rows:
        assert row["overrides"]["optimizer.learning_rate"] == "0.001"
        assert [point["step"] for point in row["curve"]] == list(range(1, row["steps"] + 1))
        assert row["curve"][-1]["lm_loss" if row["arm"] == "mlm" else "generator_loss"]
        assert row["generator_loss"] > 0
        assert row["blimp_generator"] in (0.0, 0.5, 1.0)
        assert len(row["sst2_seeds"]) == 2
        assert not list(Path(row["run"]).rglob("probes/**/*.safetensors"))
        if row["arm"] == "mlm":
            assert "blimp_discriminator" not in row
        else:
            assert row["blimp_discriminator"] in (0.0, 0.5, 1.0)

    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 5
    monkeypatch.setattr(sys, "argv", ["speedrun.py", "--table", "--json", str(results)])
    benchmark.main()
    assert capsys.readouterr().out == printed


def test_every_arm_has_valid_settings(benchmark: ModuleType) -> None:
    for name, (recipe, overrides) in benchmark.ARMS.items():
        settings = resolve(benchmark.pretrain_config(recipe, benchmark.SIZES | overrides | {"minutes": 1}))
        assert settings.network.num_hidden_layers == 4, name


def test_table_groups_seeds_and_shows_medians(benchmark: ModuleType) -> None:
    same = dict.fromkeys(("date", "commit", "arm", "note", "finetune", "minutes", "corpus"), "x")
    same |= {"settings": [], "threads": 2, "seconds": 60, "generator_loss": 4.0}
    rows = [same | {"seed": seed, "sst2": 0.1 * seed} for seed in (1, 2, 5)]
    lines = benchmark.in_markdown([*rows, same | {"arm": "y", "seed": 1}]).splitlines()
    assert len(lines) == 4
    cells = [cell.strip() for cell in lines[2].split("|")]
    assert cells[5:7] == ["1,2,5", "60"]
    assert {"4.000", "0.200"} <= set(cells)


def test_write_capitals_tags_words_by_capitalization(benchmark: ModuleType, tmp_path: Path) -> None:

    text = tmp_path / "text.txt.gz"
    text.write_bytes(gzip.compress(b"The river Rhine is in Europe. More of it.\nToo short.\n" * 1001))
    benchmark.write_capitals(text, tmp_path)
    first, *others = (tmp_path / "capitals.eval.jsonl").read_text().splitlines()
    assert len(others) == 999
    assert json.loads(first) == {
        "tokens": ["the", "river", "rhine", "is", "in", "europe"],
        "tags": ["upper", "lower", "upper", "lower", "lower", "upper"],
    }
    assert (tmp_path / "capitals.train.jsonl").read_text().count("\n") == 1
