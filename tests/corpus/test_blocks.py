"""Blocks return the rows that were written, and damaged blocks raise errors."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elektron.corpus import blocks, manifest
from elektron.corpus.blocks import BlockStore, BlockWriter
from elektron.corpus.manifest import Manifest
from elektron.errors import ElektronError
from elektron.io.folders import atomic_folder

SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
LENGTH = 8
VOCAB_SIZE = 100


def plan(**changes: Any) -> Manifest:
    settings = {
        "seq_len": LENGTH,
        "packing": "dense",
        "vocab_size": VOCAB_SIZE,
        "tokenizer": "fingerprint",
        "special_ids": SPECIAL_IDS,
        "all_special_ids": list(SPECIAL_IDS.values()),
        "corpus": ["somewhere.txt"],
        "options": {"seed": 1},
    }
    return Manifest(**(settings | changes))


def make_rows(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).integers(5, VOCAB_SIZE, (count, LENGTH))
    rows[:, 0], rows[:, -1] = 2, 3
    return rows


def write(folder: Path, train: np.ndarray, validation: np.ndarray, **changes: Any) -> Path:
    with atomic_folder(folder) as partial:
        (partial / "tokenizer").mkdir()
        (partial / "tokenizer" / "tokenizer.json").write_text("{}")
        writer = BlockWriter(partial, plan(**changes))
        for part in np.array_split(train, 3):
            writer.write("train", part, documents=len(part))
        writer.write("validation", validation, documents=1)
        writer.finish(duplicates=7)
    return folder


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few rows fill several record batches and files."""
    for module in (blocks, manifest):
        monkeypatch.setattr(module, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(blocks, "BATCHES_PER_FILE", 3)


@pytest.mark.parametrize("sample", [blocks.COUNTED_SAMPLE, (3, 2)])
def test_unigram_entropy_excludes_special_tokens(
    sample: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "COUNTED_SAMPLE", sample)
    row = [2, 5, 5, 5, 6, 6, 7, 3]  # frequencies 1/2, 1/3, 1/6
    store = BlockStore.open(write(tmp_path / "b", np.array([row] * 9), make_rows(2)))
    assert store.unigram_entropy == pytest.approx(np.log(2) / 2 + np.log(3) / 3 + np.log(6) / 6)


def test_take_returns_rows_in_requested_order(tmp_path: Path, small_batches: None) -> None:
    train = make_rows(30)
    store = BlockStore.open(write(tmp_path / "b", train, make_rows(2)))
    store.verify()
    rows = store.rows("train")
    assert len(rows) == 30
    indices = np.random.default_rng(1).integers(0, 30, 100)
    taken = rows.take(indices)
    assert taken.dtype == np.int64
    assert (taken == train[indices]).all()
    assert rows.take(np.array([], dtype=np.int64)).shape == (0, LENGTH)
    assert [file.rows for file in store.manifest.splits["train"].files] == [12, 12, 6]


def test_manifest_counts(tmp_path: Path) -> None:
    train = make_rows(5)
    train[0, -3:] = 0
    train[1, 4] = 2
    manifest = BlockStore.open(write(tmp_path / "b", train, make_rows(2))).manifest
    split = manifest.splits["train"]
    assert (split.documents, split.rows, split.tokens, split.pieces) == (5, 5, 37, 6)
    assert manifest.duplicates == 7
    assert Manifest.load(tmp_path / "b" / "manifest.json") == manifest


def test_an_empty_split_has_no_rows(tmp_path: Path) -> None:
    store = BlockStore.open(write(tmp_path / "b", make_rows(3), make_rows(0)))
    assert len(store.rows("validation")) == 0


@pytest.mark.parametrize(("vocab_size", "width"), [(65_535, 16), (65_536, 32), (250_000, 32)])
def test_dtype_is_smallest_that_fits_vocabulary(tmp_path: Path, vocab_size: int, width: int) -> None:
    train = make_rows(3)
    train[1, 1] = vocab_size - 1
    folder = write(tmp_path / "b", train, make_rows(1), vocab_size=vocab_size)
    store = BlockStore.open(folder)
    assert store.manifest.dtype == np.dtype(f"uint{width}")
    assert (store.rows("train").take(np.arange(3)) == train).all()


@pytest.mark.parametrize("index", [-1, 3])
def test_row_index_out_of_range_raises(tmp_path: Path, index: int) -> None:
    store = BlockStore.open(write(tmp_path / "b", make_rows(3), make_rows(1)))
    with pytest.raises(IndexError):
        store.rows("train").take(np.array([0, index]))


def test_datasets_library_loads_block_files(tmp_path: Path, small_batches: None) -> None:
    from datasets import load_dataset

    train = make_rows(30)
    folder = write(tmp_path / "b", train, make_rows(2))
    files = str(folder / "train-*.arrow")
    rows = load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["input_ids"][:] == train.tolist()


def test_fingerprint_depends_on_content_but_not_on_location(tmp_path: Path) -> None:
    def fingerprint(name: str, rows: np.ndarray, **changes: Any) -> str:
        return BlockStore.open(write(tmp_path / name, rows, make_rows(2), **changes)).fingerprint

    first = fingerprint("a", make_rows(5))
    assert fingerprint("b", make_rows(5), corpus=["elsewhere"]) == first
    assert fingerprint("c", make_rows(5, seed=1)) != first
    assert fingerprint("d", make_rows(5), tokenizer="another") != first
    assert fingerprint("e", make_rows(5), packing="paper") != first


VOCABULARIES = [65_535, 65_536, 120_000]


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
@pytest.mark.parametrize("past", [0, 1, 65_536])
def test_token_id_outside_vocabulary_raises_on_write(tmp_path: Path, vocab_size: int, past: int) -> None:
    """This includes ids that the dtype on disk would wrap to a valid id."""
    train = make_rows(3)
    train[1, 1] = vocab_size + past
    message = f"token id {vocab_size + past:,} is not in the vocabulary of {vocab_size:,} entries"
    with pytest.raises(ElektronError, match=message):
        write(tmp_path / "b", train, make_rows(1), vocab_size=vocab_size)
    train[1, 1] = -1
    with pytest.raises(ElektronError, match="token id -1 is not in the vocabulary"):
        write(tmp_path / "b", train, make_rows(1), vocab_size=vocab_size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
def test_token_id_outside_vocabulary_raises_on_read(tmp_path: Path, vocab_size: int, small_batches: None) -> None:
    train = make_rows(12)
    train[9, 1] = vocab_size - 1
    folder = write(tmp_path / "b", train, make_rows(1), vocab_size=vocab_size)
    assert (BlockStore.open(folder).rows("train").take(np.arange(12)) == train).all()
    edit(folder, lambda content: content.update(vocab_size=vocab_size - 1))
    # The smaller vocabulary may have a smaller dtype, and then the layout of the file differs from the manifest.
    another_type = vocab_size == 65_536
    rows = BlockStore.open(folder).rows("train")
    if not another_type:
        rows.take(np.arange(8))
    message = "layout" if another_type else rf"token id {vocab_size - 1:,} .*record batch 2"
    with pytest.raises(ElektronError, match=message):
        rows.take(np.array([9]))


def test_invalid_manifest_raises(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", make_rows(3), make_rows(1))
    for change in (
        lambda content: content.update(seq_len="long"),
        lambda content: content.update(vocab_size=0),
        lambda content: content.update(splits=[]),
        lambda content: content.update(surprise=1),
        lambda content: content["splits"].pop("train"),
        lambda content: content["splits"]["train"]["files"][0].pop("rows"),
        lambda content: content["tokenizer_files"].update({"../x": "0"}),
    ):
        before = (folder / "manifest.json").read_bytes()
        edit(folder, change)
        with pytest.raises(ElektronError, match=r"manifest\.json: not a manifest of blocks"):
            BlockStore.open(folder)
        (folder / "manifest.json").write_bytes(before)
    for content in (b"[]", b"3", b"[" * 100_000, b"\xff", b""):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(ElektronError, match=r"manifest\.json is damaged \("):
            BlockStore.open(folder)


def test_row_length_different_from_manifest_raises(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", make_rows(30), make_rows(2))

    def change(content: dict[str, Any]) -> None:
        content["seq_len"] = LENGTH // 2
        for split in content["splits"].values():
            split["tokens"] = 0

    edit(folder, change)
    with pytest.raises(ElektronError, match="its layout differs from the manifest"):
        BlockStore.open(folder).rows("train").take(np.array([0]))


def test_folder_without_blocks_raises(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match=r"holds no blocks.*elektron prepare"):
        BlockStore.open(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_truncated_file_raises_on_open(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", make_rows(30), make_rows(2))
    cut(folder / "train-00000.arrow")
    with pytest.raises(ElektronError, match=r"train-00000\.arrow is damaged"):
        BlockStore.open(folder)


def test_missing_file_raises_on_open(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", make_rows(30), make_rows(2))
    (folder / "validation-00000.arrow").unlink()
    with pytest.raises(ElektronError, match=r"validation-00000\.arrow is missing"):
        BlockStore.open(folder)


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@given(place=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_verify_detects_flipped_bit_at_any_byte(tmp_path_factory: pytest.TempPathFactory, place: float) -> None:
    folder = write(tmp_path_factory.mktemp("t") / "b", make_rows(30), make_rows(2))
    for name in ("train-00000.arrow", "tokenizer/tokenizer.json", "manifest.json"):
        before = (folder / name).read_bytes()
        flip(folder / name, place)
        with pytest.raises(ElektronError, match=name.rpartition("/")[2]):
            BlockStore.open(folder).verify()
        (folder / name).write_bytes(before)
    BlockStore.open(folder).verify()


def test_flipped_token_raises_when_its_batch_is_read(tmp_path: Path, small_batches: None) -> None:
    folder = write(tmp_path / "b", make_rows(12), make_rows(2))
    path = folder / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    last_batch = make_rows(12)[8:].astype(np.uint16).tobytes()
    content[content.index(last_batch) + 3] ^= 64
    path.write_bytes(content)
    rows = BlockStore.open(folder).rows("train")
    rows.take(np.arange(8))
    with pytest.raises(ElektronError, match=r"damaged.*record batch 2"):
        rows.take(np.array([9]))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and recompute its checksum."""
    content = json.loads((folder / "manifest.json").read_text())
    del content["sha256"]
    change(content)
    (folder / "manifest.json").write_text(manifest.sealed(content))


def test_reformatted_manifest_raises(tmp_path: Path) -> None:
    """A change in white space alone fails the check, although the content is equal."""
    path = write(tmp_path / "b", make_rows(30), make_rows(2)) / "manifest.json"
    path.write_text(path.read_text().replace("\n ", "\n\t", 1))
    with pytest.raises(ElektronError, match="its checksum does not match"):
        BlockStore.open(tmp_path / "b")


def test_unsupported_format_raises(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", make_rows(3), make_rows(2))
    edit(folder, lambda content: content.update(format=99))
    with pytest.raises(ElektronError, match=r"format 99.*prepare"):
        BlockStore.open(folder)


def test_file_truncated_after_open_raises_on_read(tmp_path: Path, small_batches: None) -> None:
    folder = write(tmp_path / "b", make_rows(30), make_rows(2))
    rows = BlockStore.open(folder).rows("train")
    rows.take(np.arange(30))
    os.truncate(folder / "train-00001.arrow", 40)
    assert (rows.take(np.arange(12)) == make_rows(30)[:12]).all(), "of another file"
    with pytest.raises(ElektronError, match=r"train-00001\.arrow is damaged"):
        rows.take(np.arange(12, 24))


def test_io_error_is_reported_as_unreadable_instead_of_damaged(
    tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = BlockStore.open(write(tmp_path / "b", make_rows(30), make_rows(2))).rows("train")

    def fail(*arguments: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(blocks.os, "preadv", fail)
    with pytest.raises(ElektronError, match=r"train-00000\.arrow cannot be read \(Input/output"):
        rows.take(np.arange(4))


def test_number_of_open_files_is_limited(tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_OPEN", 2)
    rows = BlockStore.open(write(tmp_path / "b", make_rows(60), make_rows(2))).rows("train")
    order = np.random.default_rng(1).permutation(60)
    assert (rows.take(order) == make_rows(60)[order]).all()
    assert len(rows.descriptors) == 2


WRONG = (None, -1, 10**30, 1e300, "", "text", [], {}, [None], {"a": None}, True)


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in a JSON document."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


def test_manifest_with_wrong_value_raises_or_reads_equal_rows(tmp_path: Path) -> None:
    """The checksum is recomputed after each change; an accepted manifest still reads the stored rows."""
    folder = write(tmp_path / "b", make_rows(30), make_rows(2))
    original = json.loads((folder / "manifest.json").read_text())
    accepted = set()
    for place in leaves(original):
        for wrong in WRONG:

            def change(content: dict[str, Any], place: Any = place, wrong: Any = wrong) -> None:
                for key in place[:-1]:
                    content = content[key]
                content[place[-1]] = wrong

            if place == ("sha256",):
                continue
            edit(folder, change)
            try:
                store = BlockStore.open(folder)
                list(store.faults())
                assert store.fingerprint
                assert (store.rows("train").take(np.arange(30)) == make_rows(30)).all()
                accepted.add(place[0] if place[0] != "splits" else place[2])
            except ElektronError as error:
                assert "\n" not in str(error)
            (folder / "manifest.json").write_text(json.dumps(original, indent=1, ensure_ascii=False))
    assert accepted == {
        # texts with any content
        *("tokenizer", "corpus", "options", "tokenizer_files", "not_redacted"),
        *("duplicates", "documents", "pieces"),  # counts that reading does not depend on
        *("members", "redacted"),  # {} is equal to the original
        *("all_special_ids", "files"),
    }
