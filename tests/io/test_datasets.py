"""Parsing of names of models, tokenizers and data sets, and the revision of a data set that is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from elektron.errors import ElektronError
from elektron.finetuning.readers.named_rows import hub_table
from elektron.io.datasets import (
    dataset_commit,
    dataset_rows,
    hub_is_reachable,
    parse_dataset,
    parse_repo,
    refuse_missing_folder,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("bert-base", ("bert-base", "main")),
        ("org/bert-base@v1.0", ("org/bert-base", "v1.0")),
        ("bert@refs/pr/3", ("bert", "refs/pr/3")),
        ("runs/a@b/discriminator/x@y", ("runs/a", "b/discriminator/x@y")),
        ("./runs@home/x", ("./runs@home/x", "main")),
        ("/deep/runs/x@y", ("/deep/runs/x@y", "main")),
        ("@v1", ("@v1", "main")),
        ("bert@", ("bert@", "main")),
    ],
)
def test_parse_repo_splits_name_and_revision(name: str, place: tuple[str, str]) -> None:
    assert parse_repo(name) == place


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hf:imdb", (("imdb", "main"), None, "train")),
        ("hf:org/imdb@v1.0", (("org/imdb", "v1.0"), None, "train")),
        ("hf:org/imdb@refs/pr/3:plain:test", (("org/imdb", "refs/pr/3"), "plain", "test")),
        (f"hf:imdb@{COMMIT}::test", (("imdb", COMMIT), None, "test")),
        ("hf:./folder@home:plain", (("./folder@home", "main"), "plain", "train")),
    ],
)
def test_parse_dataset_splits_hub_source(source: str, parts: tuple[object, ...]) -> None:
    assert parse_dataset(source) == parts


def test_source_without_name_raises() -> None:
    for source in ("hf:", "hf:/", "hf::plain"):
        with pytest.raises(ElektronError, match=r"which data set\? Write hf:NAME\[@REVISION\]"):
            parse_dataset(source)


class Loaded(list[dict[str, str]]):
    """Stands in for a data set of the `datasets` library."""

    features = None


def test_revision_is_passed_to_load_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def load(name: str, config: str | None, split: str, revision: str, streaming: bool) -> Loaded:
        asked.append((name, config, split, revision))
        return Loaded([{"text": "a"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(dataset_rows("hf:org/set@v1:plain")[1]) == [{"text": "a"}]
    hub_table("hf:org/set@v1:plain:test")
    dataset_rows("hf:org/set@v1", COMMIT)
    dataset_rows("hf:org/set")
    assert asked == [
        ("org/set", "plain", "train", "v1"),
        ("org/set", "plain", "test", "v1"),
        ("org/set", None, "train", COMMIT),
        ("org/set", None, "train", "main"),
    ]


def test_saved_dataset_with_damaged_metadata_raises(tmp_path: Path) -> None:
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ElektronError, match=r"^hf:.*: cannot be loaded"):
        dataset_rows(f"hf:{tmp_path}")


def test_commit_is_requested_only_for_hub_name_without_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    class Hub:
        def dataset_info(self, name: str, revision: str, timeout: float) -> Any:
            asked.append((name, revision))
            if revision == "offline":
                raise OfflineModeIsEnabled
            return huggingface_hub.DatasetInfo(id=name, sha=COMMIT, private=False, downloads=0, likes=0, tags=[])

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert dataset_commit(f"hf:{tmp_path}") is None
    assert dataset_commit(f"hf:org/set@{COMMIT}:plain") == COMMIT
    assert not asked
    assert dataset_commit("hf:org/set@v1") == COMMIT
    assert dataset_commit("hf:org/set@offline") is None
    assert asked == [("org/set", "v1"), ("org/set", "offline")]


def test_missing_folder_raises_unless_name_is_valid_on_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/model").mkdir(parents=True)
    for name in ("runs/model", "model", "org/model", "org/model@v1"):
        refuse_missing_folder(name)
    for name in ("runs/modle", "runs/modle@v1", "./runs/modle"):
        with pytest.raises(ElektronError, match=r"no such folder: did you mean runs/model\?"):
            refuse_missing_folder(name)
    for name in ("a/b/c", "/nowhere/model", "./model", "~/model"):
        with pytest.raises(ElektronError, match="no such folder"):
            refuse_missing_folder(name)


@pytest.mark.parametrize("error", [None, httpx.ConnectError("no network"), OfflineModeIsEnabled()])
def test_hub_reachability_is_requested_once(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            asked.append(url)
            if error is not None:
                raise error

    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    hub_is_reachable.cache_clear()
    try:
        assert [hub_is_reachable(), hub_is_reachable()] == [error is None] * 2
    finally:
        hub_is_reachable.cache_clear()
    assert len(asked) == 1
