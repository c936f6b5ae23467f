"""Ray packs the same chunks as local processes, and writes the same bytes."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elektron.corpus import engines
from elektron.corpus import prepare as prepare_module
from elektron.corpus.config import PrepareConfig
from elektron.corpus.engines import Chunk, in_this_process, on_ray
from elektron.corpus.prepare import prepare
from elektron.errors import ElektronError
from tests.corpus.test_encoder import encoding
from tests.corpus.test_prepare import contents
from tests.corpus.texts import make_text


@pytest.fixture
def config(tokenizer_folder: Path, corpus_file: Path, tmp_path: Path) -> PrepareConfig:
    return PrepareConfig([str(corpus_file)], str(tokenizer_folder), tmp_path / "blocks", seq_len=32, workers=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray cluster for all tests here, started and ended as `prepare` does it."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with engines.ray_cluster(2):
            yield
        assert not children("ray::")
        assert not children("raylet")


def children(name: str) -> list[int]:
    """Ids of the descendants of this process whose first command-line argument contains the name."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if name in (folder / "cmdline").read_text().split("\0")[0]:
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue  # the process has ended

    def ours(process: int) -> bool:
        parent = parents.get(process, 0)
        return parent == os.getpid() or (parent > 1 and ours(parent))

    return [process for process in found if ours(process)]


def test_missing_ray_raises_with_install_command(config: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ElektronError, match=r"pip install 'elektron\[ray\]'"):
        prepare(replace(config, engine="ray"))
    assert not any(config.out.parent.iterdir())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "rubbish", "http://127.0.0.1:1"])
def test_unreachable_cluster_raises(address: str, config: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ElektronError) as caught:
        prepare(replace(config, engine="ray"))
    assert str(caught.value).startswith(f"--engine ray: no cluster at {address} (")
    assert "\n" not in str(caught.value)
    assert not any(config.out.parent.iterdir())


@pytest.mark.usefixtures("cluster")
def test_blocks_do_not_depend_on_engine(config: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "DOCUMENTS_IN_CHUNK", 20)
    for packing in ("dense", "paper"):
        local = replace(config, packing=packing, out=tmp_path / f"{packing}-local", workers=1)
        prepare(local)
        for workers in (1, 3):
            out = tmp_path / f"{packing}-ray-{workers}"
            prepare(replace(local, out=out, engine="ray", workers=workers))
            assert contents(out) == contents(local.out)


@pytest.mark.usefixtures("cluster")
def test_ray_raises_same_error_as_local_engine() -> None:
    wrong = encoding(70_000, 65_535)  # the tokenizer has an id outside of the vocabulary
    chunks = [Chunk(0, "train", ["word word"])]
    with pytest.raises(ElektronError) as local, in_this_process(wrong) as rows_of:
        list(rows_of(chunks))
    with pytest.raises(ElektronError) as ray, on_ray(2, wrong) as rows_of:
        list(rows_of(chunks))
    assert type(ray.value) is ElektronError
    assert str(ray.value) == str(local.value)
    assert "token id 70,000 is not in the vocabulary" in str(ray.value)


@pytest.mark.usefixtures("cluster")
def test_ray_worker_serves_consecutive_preparations() -> None:
    chunks = [Chunk(0, "train", ["word word"])]
    for word in (5, 6, 5):
        with on_ray(1, encoding(word, 7)) as rows_of:
            [(_, packed)] = rows_of(chunks)
        assert np.array_equal(packed.rows, [[2, word, word, 3, 0, 0, 0, 0]])


@pytest.mark.usefixtures("cluster")
def test_ray_worker_with_other_versions_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "versions", lambda _: "elektron 0.0, tokenizers 0.0")
    with (
        pytest.raises(ElektronError, match=r"has elektron .*, this one elektron 0\.0.*install"),
        on_ray(1, encoding(6, 7, seed=99)) as rows_of,
    ):
        list(rows_of([Chunk(0, "train", ["word"])]))


@pytest.mark.usefixtures("cluster")
def test_concurrent_ray_tasks_do_not_exceed_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "pack_on_ray", noting(tmp_path))
    chunks = [Chunk(number, "train", ["word"]) for number in range(8)]
    with on_ray(1, encoding(5, 6)) as rows_of:
        assert [chunk.number for chunk, _ in rows_of(chunks)] == list(range(8))
    assert {int(path.read_text()) for path in tmp_path.iterdir()} == {1}


def noting(folder: Path) -> Callable[..., np.ndarray]:
    """A task that writes the number of tasks running at its end to a file."""

    def work(_: object, __: str, ___: list[str], chunk: int) -> np.ndarray:
        mine = folder / f"{chunk}"
        mine.touch()
        time.sleep(0.05)
        mine.write_text(str(sum(path.stat().st_size == 0 for path in folder.iterdir())))
        return np.zeros((1, 8), dtype=np.uint16)

    return work


@pytest.mark.usefixtures("cluster")
def test_blocks_are_equal_after_ray_worker_is_killed(
    config: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(200):
        (corpus / f"{number:03}.txt").write_text(make_text(40, number))
    config = replace(config, corpus=[str(corpus)], validation=0.1)
    monkeypatch.setattr(prepare_module, "CHARACTERS_IN_CHUNK", 50_000)
    prepare(replace(config, out=tmp_path / "local", workers=1))

    chunks_of, killed = prepare_module._chunks, []

    def chunks_with_a_killing(*arguments: object) -> Iterator[Chunk]:
        for chunk in chunks_of(*arguments):
            yield chunk
            if chunk.number == 20:  # of about 60
                killed.append(killed_at_work())

    monkeypatch.setattr(prepare_module, "_chunks", chunks_with_a_killing)
    prepare(replace(config, engine="ray"))
    assert len(killed) == 1
    assert contents(config.out) == contents(tmp_path / "local")


def killed_at_work() -> int:
    """Kill a Ray process that is packing a chunk, and return its id."""
    while not (workers := children("ray::pack_on_ray")):
        pass
    os.kill(workers[0], signal.SIGKILL)
    return workers[0]


@pytest.mark.usefixtures("cluster")
def test_chunk_that_kills_every_ray_worker_raises(config: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        os._exit(1)

    monkeypatch.setattr(engines, "pack_on_ray", die)
    monkeypatch.setattr(engines, "RETRIES_ON_RAY", 1)
    with pytest.raises(ElektronError, match=r"^Ray failed \(.*try fewer --workers$"):
        prepare(replace(config, engine="ray"))
    assert not any(config.out.parent.iterdir())
