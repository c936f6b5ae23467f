"""`elektron verify` reports every fault with its file, and no fault in intact folders."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from elektron.cli import main
from elektron.configuration import save_yaml
from elektron.corpus import blocks, manifest
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.io.checksums import CHECKSUMS, write_checksums
from elektron.models import ElektronConfig, ElektronForPreTraining
from elektron.pretraining.checkpoint import write_manifest
from elektron.pretraining.config import PretrainConfig
from elektron.verify import kind_of
from tests.corpus.test_blocks import edit, make_rows, write


def faults(folder: Path) -> list[str]:
    return list(kind_of(folder)[1](folder))


@pytest.fixture
def small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four block files of several record batches each, a manifest and a tokenizer file."""
    for module in (blocks, manifest):
        monkeypatch.setattr(module, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(blocks, "BATCHES_PER_FILE", 3)
    return write(tmp_path / "blocks", make_rows(30), make_rows(6))


def flip(path: Path, rng: random.Random) -> list[Path]:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return [path]


def overwrite(path: Path, rng: random.Random) -> list[Path]:
    content = bytearray(path.read_bytes())
    begin = rng.randrange(len(content))
    noise = rng.randbytes(min(rng.randint(1, 64), len(content) - begin))
    if noise == content[begin : begin + len(noise)]:
        return flip(path, rng)
    content[begin : begin + len(noise)] = noise
    path.write_bytes(content)
    return [path]


def cut(path: Path, rng: random.Random) -> list[Path]:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    return [path]


def lengthen(path: Path, rng: random.Random) -> list[Path]:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 64)))
    return [path]


def remove(path: Path, rng: random.Random) -> list[Path]:
    path.unlink()
    return [path]


def swap(path: Path, rng: random.Random) -> list[Path]:
    """Swap the contents of two files of the folder."""
    others = [
        other for other in sorted(path.parent.iterdir()) if other.is_file() and other.read_bytes() != path.read_bytes()
    ]
    if not others:
        return flip(path, rng)
    other = rng.choice(others)
    ours, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(ours)
    named = [file for file in (path, other) if file.name != "manifest.json"]
    # Without a valid manifest, the other files of a folder of blocks cannot be checked.
    return named if len(named) == 2 else [path.parent / "manifest.json"]


FAULTS = (flip, overwrite, cut, lengthen, remove, swap)


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_damage_is_reported_with_file_name(small_blocks: Path, count: int) -> None:
    rng = random.Random(5)
    files = sorted(path for path in small_blocks.rglob("*") if path.is_file())
    assert len(files) == 6
    content = {path: path.read_bytes() for path in files}
    assert faults(small_blocks) == []
    for number in range(count):
        fault: Callable[[Path, random.Random], list[Path]] = FAULTS[number % len(FAULTS)]
        damaged = fault(rng.choice(files), rng)
        found = faults(small_blocks)
        assert len(found) == len(damaged), (number, fault.__name__, found)
        for path in damaged:
            assert any(str(path) in line for line in found), (number, path, found)
        assert not any("\n" in line for line in found)
        for path, before in content.items():
            path.write_bytes(before)
    assert faults(small_blocks) == []


def test_files_not_in_manifest_are_reported(small_blocks: Path) -> None:
    shutil.copy(small_blocks / "train-00000.arrow", small_blocks / "train-00007.arrow")
    (small_blocks / "tokenizer" / "added_tokens.json").write_text("{}")
    found = faults(small_blocks)
    assert ["is not in the manifest" in line for line in found] == [True, True]
    assert "train-00007.arrow" in found[0] and "added_tokens.json" in found[1]


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "a/b"])
def test_manifest_paths_outside_folder_are_reported(small_blocks: Path, name: str) -> None:
    edit(small_blocks, lambda content: content["splits"]["train"]["files"][0].update(name=name))
    (found,) = faults(small_blocks)
    assert "manifest.json" in found and "not the name of a file in its folder" in found


def test_verify_command_lists_faults_and_exits_with_2(small_blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(small_blocks)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{small_blocks}: no faults (blocks, 6 files") and out.count("\n") == 1
    assert err == ""
    flip(small_blocks / "train-00000.arrow", random.Random(1))
    (small_blocks / "tokenizer" / "tokenizer.json").unlink()
    assert main(["verify", str(small_blocks)]) == 2
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert "train-00000.arrow is damaged" in first and "tokenizer.json is missing" in second
    assert err == f"elektron: 2 faults found in {small_blocks}\n"


@pytest.mark.parametrize(
    ("make", "complaint"), [(lambda path: None, "no such folder"), (Path.mkdir, "neither blocks nor")]
)
def test_missing_or_unknown_folder_raises(tmp_path: Path, make: Callable, complaint: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(ElektronError, match=complaint):
        kind_of(tmp_path / "x")


def write_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"a": torch.ones(3, 2)}, folder / "weights.safetensors")
    save_file({"b": torch.ones(5)}, folder / "optimizer.safetensors")
    (folder / "progress.json").write_text('{"step": 3}')
    write_manifest(folder)
    return folder


def write_model(folder: Path) -> Path:
    config = ElektronConfig(vocab_size=20, embedding_size=8, hidden_size=8, num_hidden_layers=1, intermediate_size=8)
    ElektronForPreTraining(config).save_pretrained(folder)
    return folder


def write_fine_tuned(folder: Path) -> Path:
    write_model(folder)
    save_yaml(FinetuneConfig(task="classification", model="m", train=["t"], out=folder), folder / "config.yaml")
    (folder / "task.json").write_text('{"task": "classification"}')
    write_checksums(folder)
    return folder


def write_run(folder: Path) -> Path:
    write_checkpoint(folder / "checkpoints" / "step-00000003")
    write_model(folder / "discriminator")
    save_yaml(PretrainConfig(data=Path("blocks")), folder / "config.yaml")
    (folder / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n{"kind": "tr')
    return folder


CLAIMS = struct.pack("<Q", 1 << 60) + b"{}"


@pytest.mark.parametrize("damage", [lambda b: b[:-2], lambda b: b + b"x", lambda b: CLAIMS])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (write_checkpoint, "weights.safetensors"),
        (write_checkpoint, "optimizer.safetensors"),
        (write_checkpoint, "progress.json"),
        (write_checkpoint, "manifest.json"),
        (write_model, "model.safetensors"),
        (write_model, "config.json"),
        (write_fine_tuned, "model.safetensors"),
        (write_fine_tuned, "checksums.json"),
        (write_run, "checkpoints/step-00000003/weights.safetensors"),
        (write_run, "discriminator/model.safetensors"),
    ],
)
def test_damaged_or_missing_file_is_reported(
    tmp_path: Path, make: Callable[[Path], Path], name: str, damage: Callable[[bytes], bytes]
) -> None:
    folder = make(tmp_path / "x")
    assert faults(folder) == []
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(damage(before))
    (found,) = faults(folder)
    assert found.startswith(f"{folder / name} is damaged (")
    (folder / name).unlink()
    if name != CHECKSUMS:  # without it, the folder is a valid model as transformers saves it
        (found,) = faults(folder)
        assert found.startswith(f"{folder / name} is missing: ")


def test_changed_byte_in_fine_tuned_weights_is_reported(tmp_path: Path) -> None:
    folder = write_fine_tuned(tmp_path / "x")
    assert kind_of(folder)[0] == "a model" and faults(folder) == []
    path = folder / "model.safetensors"
    assert path.stat().st_mode == (folder / "config.json").stat().st_mode
    for place in (-1, len(path.read_bytes()) // 2):
        whole = bytearray(path.read_bytes())
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        (found,) = faults(folder)
        assert found.startswith(f"{path} is damaged (")
        path.write_bytes(whole)


def test_comparison_reports_damage_in_its_runs_and_models(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x" / "variant" / "run")
    write_fine_tuned(tmp_path / "x" / "variant" / "probe")
    (tmp_path / "x" / "comparison.json").write_text("{}")
    assert kind_of(tmp_path / "x")[0] == "a comparison" and faults(tmp_path / "x") == []
    damaged = [run / "discriminator" / "model.safetensors", tmp_path / "x" / "variant/probe/task.json"]
    for path in damaged:
        path.write_bytes(b"{")
    found = faults(tmp_path / "x")
    assert len(found) == 2
    assert all(any(line.startswith(f"{path} is damaged (") for line in found) for path in damaged)


def test_unreadable_file_is_reported_as_unreadable(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "x")
    path = folder / "model.safetensors"
    path.unlink()
    path.symlink_to(path)
    (found,) = faults(folder)
    assert f"{path} cannot be read" in found


@pytest.mark.parametrize("name", ["step-00000001", "blocks"])
def test_blocks_are_recognised_in_any_folder_name(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / name, make_rows(8), make_rows(2))
    assert kind_of(folder)[0] == "blocks" and faults(folder) == []
    (folder / "manifest.json").write_text("[" * 100_000)
    assert ["manifest.json is damaged" in line for line in faults(folder)] == [True]


@pytest.mark.parametrize(("old", "new"), [("\n ", "\n\t"), (": ", ":"), ("}", "}\n")])
def test_reformatted_manifest_is_reported_as_damaged(tmp_path: Path, small_blocks: Path, old: str, new: str) -> None:
    for folder in (write_checkpoint(tmp_path / "x"), small_blocks):
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text[::-1].replace(old[::-1], new[::-1], 1)[::-1])
        (found,) = faults(folder)
        path = folder / "manifest.json"
        assert found.startswith((f"{path} is damaged (", f"{path}: damaged ("))


def test_deeply_nested_manifest_is_reported_as_damaged(tmp_path: Path) -> None:
    """The recursion limits for reading and writing JSON differ slightly."""
    (tmp_path / "x").mkdir()
    for depth in range(920, 1000):
        text = f'{{"format": 1, "x": {"[" * depth + "]" * depth}}}'
        (tmp_path / "x" / "manifest.json").write_text(text)
        (found,) = faults(tmp_path / "x")
        path = tmp_path / "x" / "manifest.json"
        assert found.startswith((f"{path} is damaged (", f"{path}: damaged ("))


def test_invalid_metrics_line_is_reported(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    kept = '{"kind": "alarm", "step": 1, "message": "of two\u2028lines"}\n'
    (run / "metrics.jsonl").write_text(f"{kept}{{}}\n{kept}", encoding="utf-8")
    (found,) = faults(run)
    assert "metrics.jsonl, line 2: not a record" in found


def test_finished_run_requires_complete_metrics_and_model(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "summary.json").write_text("{}")
    (found,) = faults(run)
    assert "metrics.jsonl, line 2" in found
    shutil.rmtree(run / "discriminator")
    assert any("discriminator is missing" in line for line in faults(run))


def test_missing_shard_is_reported(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}')
    (found,) = faults(folder)
    assert "model-00002-of-00002.safetensors is missing" in found
