"""Several processes train like one, with the same rows, masks, weights and metrics, and report errors once."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from elektron.configuration import save_yaml
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.pretraining import pretrain as entry
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.config import CurriculumConfig, PretrainConfig, resolve
from elektron.pretraining.distributed import World, check_world_size, gradient_buckets, set_local_device, unique_store
from elektron.pretraining.pretrain import locked_folder, pretrain
from tests.pretraining.conftest import metrics, same_weights, seven_rows_config, tiny_config

CPU = torch.device("cpu")


def torchrun(config: PretrainConfig, processes: int, *more: str) -> subprocess.CompletedProcess:
    recipe = config.out.with_suffix(".yaml")
    save_yaml(config, recipe)
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), *more),
            *("-m", "elektron", "pretrain", "--config", str(recipe)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def member(rank: int, count: int) -> World:
    """A process with a given rank and world size that does not communicate."""
    world = World(CPU)
    world.rank, world.size = rank, count
    return world


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("curriculum", [CurriculumConfig(), CurriculumConfig(first_length=8)])
def test_local_batches_concatenate_to_global_batch(count, curriculum, blocks, tmp_path):
    store = BlockStore.open(blocks)
    config = resolve(tiny_config(blocks, tmp_path, batch_size=7, curriculum=curriculum))
    whole = BatchMaker(store, config, CPU).training(3)
    parts = [
        BatchMaker(store, config, CPU, local_rows=member(rank, count).local_rows).training(3) for rank in range(count)
    ]
    for field, expected in zip(whole.micro_batches[0]._fields, whole.micro_batches[0], strict=True):
        together = torch.cat([getattr(part.micro_batches[0], field) for part in parts])
        assert torch.equal(together, expected), field
    assert sum(part.masked_tokens for part in parts) == whole.masked_tokens
    assert sum(part.real_tokens for part in parts) == whole.real_tokens


def test_missing_micro_batches_are_filled_with_padding(blocks, tmp_path):
    store = BlockStore.open(blocks)
    config = resolve(tiny_config(blocks, tmp_path, batch_size=7, micro_batch_size=3))
    few, many = (
        BatchMaker(store, config, CPU, None, its.local_rows, its.max_local_rows).training(3)
        for its in (member(0, 2), member(1, 2))
    )
    assert [len(micro.input_ids) for micro in many.micro_batches] == [3, 1]
    rows, padding = few.micro_batches
    assert len(rows.input_ids) == 3
    assert not padding.weights.any()
    assert (padding.document_ids == -1).all()
    assert (padding.input_ids == store.manifest.special_ids["pad"]).all()
    without = BatchMaker(store, config, CPU, None, member(0, 2).local_rows).training(3)
    assert len(without.micro_batches) == 1
    assert without.real_tokens == few.real_tokens


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_restarted_processes_do_not_read_values_of_earlier_start(slow):
    """Three processes start three times with the same store, and one of them is always late."""
    store, number = dist.HashStore(), 0

    def start(rank: int) -> str:
        if rank == slow:
            time.sleep(0.3)
        mine = unique_store(store, rank, 3, timedelta(seconds=20))
        mine.set(f"address/{rank}", f"{number}")
        return "".join(mine.get(f"address/{other}").decode() for other in range(3))

    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            assert list(pool.map(start, range(3))) == [f"{number}" * 3] * 3


def test_unique_store_times_out_without_all_processes():
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(dist.DistStoreError):
        unique_store(store, 0, 3, timedelta(seconds=0.2))
    for rank in (1, 2):
        store.set(f"here/{rank}", "one that is gone")
    with pytest.raises(dist.DistStoreError, match="not all of 3 processes joined"):
        unique_store(store, 0, 3, timedelta(seconds=0.2))


def test_more_processes_than_rows_raise():
    with pytest.raises(ElektronError, match="9 processes cannot share 8 rows"):
        check_world_size(9, 8)


def test_gradient_buckets_have_one_dtype_and_limited_size():
    tensors = [torch.zeros(3), torch.zeros(2, 2), torch.zeros(5, dtype=torch.float64)]
    assert [len(group) for group in gradient_buckets(tensors)] == [2, 1]
    many = [torch.empty(10 * 2**20, device="meta") for _ in range(4)]
    assert [len(group) for group in gradient_buckets(many)] == [1, 1, 1, 1]


@pytest.fixture(scope="module")
def alone(blocks, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    pretrain(seven_rows_config(blocks, out))
    return out


def test_two_processes_equal_one(alone, blocks, tmp_path):
    out = tmp_path / "run"
    done = torchrun(seven_rows_config(blocks, out), 2)
    assert done.returncode == 0, done.stderr
    ours, theirs = (load_file(folder / "discriminator/model.safetensors") for folder in (out, alone))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-4, rtol=1e-3, msg=name)
    for kind in ("train", "evaluation"):
        for mine, its in zip(metrics(out, kind), metrics(alone, kind), strict=True):
            for name in ("generator_loss", "discriminator_loss", "replaced_share"):
                assert mine[name] == pytest.approx(its[name], rel=1e-3), (kind, name)
    assert json.loads((out / "summary.json").read_text())["processes"] == 2
    spoken = done.stderr.count("family elektron")
    assert spoken == 1, "one process speaks for all"


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_nproc_run_equals_torchrun_run(parallel, blocks, tmp_path):
    config = seven_rows_config(blocks, tmp_path / "first", nproc=2, steps=8, parallel=parallel)
    assert pretrain(config)["processes"] == 2
    second = seven_rows_config(blocks, tmp_path / "second", steps=8, parallel=parallel)
    done = torchrun(second, 2)
    assert done.returncode == 0, done.stderr
    assert same_weights(tmp_path / "first", tmp_path / "second")


def test_folder_of_another_run_raises_before_launch(alone, blocks, monkeypatch):
    monkeypatch.setattr(entry, "launch", lambda config: pytest.fail("started"))
    other = seven_rows_config(blocks, alone, nproc=2, seed=2)
    with pytest.raises(ElektronError, match="holds another run"):
        pretrain(other)
    same = seven_rows_config(blocks, alone, nproc=2)
    assert pretrain(same)["steps"] == 20, "it is finished"


def test_error_of_first_process_is_reported_once(alone, blocks, tmp_path):
    """The other processes end with the first one, without errors of their own."""
    out = tmp_path / "run"
    shutil.copytree(alone, out)
    said_once(torchrun(seven_rows_config(blocks, out, seed=2), 2), "holds another run")


@pytest.mark.slow
def test_unwritable_last_checkpoint_is_reported_once(blocks, tmp_path):
    out = tmp_path / "run"
    config = seven_rows_config(blocks, out)
    with locked_folder(resolve(config), BlockStore.open(blocks)):
        (out / "checkpoints").symlink_to("nowhere")  # seems not to exist, and cannot be created
    done = torchrun(config, 2)
    said_once(done, "step-00000020 cannot be written")
    assert not (out / "summary.json").exists()


@pytest.mark.slow
def test_invalid_batch_size_is_reported_once(blocks, tmp_path):
    done = torchrun(seven_rows_config(blocks, tmp_path / "run", batch_size=1), 2)
    said_once(done, "2 processes cannot share 1 rows")
    assert not (tmp_path / "run").exists()


def said_once(done: subprocess.CompletedProcess, what: str) -> None:
    """Check that an error was reported once, apart from the exit codes that torchrun reports."""
    assert done.returncode != 0
    assert done.stderr.count(f"{what}") == 1, done.stderr
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert "exitcode  : 2" in done.stderr
    assert "exitcode  : 1" not in done.stderr


def test_order_of_rows_does_not_depend_on_number_of_processes():
    rows = np.arange(23)
    for count in (1, 2, 4):
        parts = [member(rank, count).local_rows(23) for rank in range(count)]
        assert np.concatenate([rows[first : first + size] for first, size in parts]).tolist() == (rows.tolist())


def test_each_process_of_host_uses_gpu_of_its_local_rank(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    set_local_device()
    assert taken == [], "there is none"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    set_local_device()
    assert taken == [3]
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(ElektronError, match="process 4 of this host has no GPU: start at most 4"):
        set_local_device()
    monkeypatch.delenv("LOCAL_RANK")
    set_local_device()
    assert taken == [3]
