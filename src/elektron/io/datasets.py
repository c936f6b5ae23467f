"""Parse names of models and data sets (local folders or hub repositories), and stream rows of hub data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from elektron.errors import ElektronError, comma_list, first_line, suggest_path

HUB = "hf:"
PINNED = re.compile(r"\A(\w[\w.-]*(?:/[\w.-]+)?)@(.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_TIMEOUT_SECONDS = 10.0
SAVED_DATASET, SAVED_DATASETS = {"state.json", "dataset_info.json"}, "dataset_dict.json"
"""Metadata files that `save_to_disk` writes: for a `Dataset`, and for a `DatasetDict`."""


class Repo(NamedTuple):
    """Where a model, a tokenizer or a data set is: a folder, or a repository of the hub at a revision."""

    name: str
    revision: str = "main"


def parse_repo(name: str) -> Repo:
    """Parse `FOLDER`, `NAME` or `NAME@REVISION`; a folder that exists may have an @ in its name."""
    pinned = PINNED.fullmatch(name)
    if pinned is None or Path(name).exists():
        return Repo(name)
    return Repo(*pinned.groups())


def refuse_missing_folder(name: str) -> None:
    """Raise ElektronError if a name can only be that of a local folder, and there is no such folder.

    A typing error is thus reported without a request to the hub, which takes long without a network.
    """
    folder = Path(parse_repo(name).name)
    parent_exists = folder.parent != Path() and folder.parent.is_dir()
    is_no_hub_name = folder.is_absolute() or len(folder.parts) > 2 or name.startswith((".", "~"))
    if not folder.exists() and (parent_exists or is_no_hub_name):
        raise ElektronError(f"{name}: no such folder{suggest_path(folder)}")


@cache
def hub_is_reachable() -> bool:
    """Whether the hub answers a single request; `huggingface_hub` itself would make six for each file."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # as datasets does

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_SECONDS)
    except (httpx.HTTPError, OSError):  # OSError: HF_HUB_OFFLINE is set
        return False
    return True


class HubDataset(NamedTuple):
    """A data set `hf:NAME[@REVISION][:config][:split]`; NAME may be a local folder."""

    repo: Repo
    config: str | None
    split: str


def parse_dataset(source: str) -> HubDataset:
    """Parse `hf:NAME[@REVISION][:config][:split]`. Raises ElektronError if there is no name."""
    name, config, split, *more = [*source.removeprefix(HUB).split(":"), "", ""]
    if not name.strip("/") or any(more):
        raise ElektronError(f"{source}: which data set? Write {HUB}NAME[@REVISION][:config][:split]")
    return HubDataset(parse_repo(name), config or None, split or "train")


def dataset_commit(source: str) -> str | None:
    """The current commit of a data set's revision; None for a local folder, or if the hub does not answer."""
    name, revision = parse_dataset(source).repo
    if Path(name).exists():
        return None
    if COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # as datasets does

    try:
        return HfApi().dataset_info(name, revision=revision, timeout=HUB_TIMEOUT_SECONDS).sha
    except (httpx.HTTPError, OSError, ValueError):
        return None  # loading raises an error of its own


def dataset_rows(source: str, commit: str | None = None) -> tuple[Any, Iterator[dict[str, Any]]]:
    """Stream a hub data set.

    Args:
        source: `hf:NAME[@REVISION][:config][:split]`.
        commit: commit to read instead of the revision, which may point to another commit by now.

    Returns:
        The features, None if unknown, and an iterator over the rows.

    Raises:
        ElektronError: the data set cannot be loaded; the iterator may raise it too.
    """
    from datasets import load_dataset, load_from_disk
    from datasets.exceptions import DatasetsError

    (name, revision), config, split = parse_dataset(source)

    def unloadable(error: Exception) -> ElektronError:
        return ElektronError(f"{source}: cannot be loaded ({first_line(error)})")

    def rows() -> Iterator[dict[str, Any]]:
        try:
            yield from data_set
        except (DatasetsError, OSError, ValueError) as error:
            raise unloadable(error) from error

    is_saved = any((Path(name) / file).is_file() for file in ("state.json", SAVED_DATASETS))
    try:
        if is_saved:
            data_set = load_from_disk(name)
        else:
            data_set = load_dataset(name, config, split=split, revision=commit or revision, streaming=True)
    except (DatasetsError, OSError, ValueError, KeyError, RuntimeError) as error:
        # KeyError: damaged metadata. RuntimeError: it needs a loading script, which `datasets` does not run.
        raise unloadable(error) from error
    if isinstance(data_set, dict):
        if split not in data_set:
            raise ElektronError(f"{source}: no split {split!r}, only {comma_list(data_set)}")
        data_set = data_set[split]
    elif is_saved and split not in ("train", str(data_set.split)):
        raise ElektronError(f"{source}: a data set without splits, so there is no {split!r}")
    return data_set.features, rows()
