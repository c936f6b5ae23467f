"""The folder of a run: what it belongs to, and the metrics that grow in it.

A run's folder states the resolved configuration and the fingerprint of its blocks. The same
command finds them equal and goes on; any other run is refused, so that nothing is mixed up or
overwritten.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.configuration import load_yaml, read_yaml, save_yaml, to_flat_dict
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.io.files import (
    PARTIAL,
    atomic_write,
    parse_json_object,
    read_text,
    to_json,
    unreadable,
)
from elektron.io.folders import LOCK_FILE, LOST_AND_FOUND, make_folder
from elektron.pretraining.checkpoint import IDENTITY, Progress, digest_of_text
from elektron.pretraining.config import CONFIG, CORPUS, METRICS, SUMMARY, PretrainConfig
from elektron.pretraining.curriculum import Curriculum
from elektron.pretraining.resuming import (
    BLOCKS,
    NOT_THE_RUN,
    allowed_changes,
    in_words,
)
from elektron.pretraining.schedules import RunLength

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A run's folder that belongs to this run."""

    path: Path
    writes: bool = True
    """Whether this process logs: one of all."""

    @classmethod
    def open(cls, config: PretrainConfig, store: BlockStore, writes: bool = True) -> RunFolder:
        """Make the folder, or find that it is of the same run.

        Raises:
            ElektronError: the folder holds something else, or cannot be written.
        """
        folder = cls(config.out, writes)
        earlier, changed = folder.compared(config, store)
        if earlier is None:
            try:
                make_folder(folder.path)
                folder.write_json(IDENTITY, {"run": identity_of(config, store)})
                folder.write_json(CORPUS, corpus_in_numbers(store))
                save_yaml(config, folder.path / CONFIG)
            except OSError as error:
                raise ElektronError(
                    f"{folder.path} cannot be written ({error.strerror}): choose another --out"
                ) from error
        elif changed and writes:
            folder.change(earlier, config, store, changed)
        return folder

    def compared(
        self, config: PretrainConfig, store: BlockStore
    ) -> tuple[PretrainConfig | None, list[str]]:
        """The settings that the run was begun with, None if it is new, and which of them differ; writes nothing.

        Raises:
            ElektronError: the folder holds something else.
        """
        if self.is_new():
            return None, []
        if not (self.path / CONFIG).is_file():
            raise ElektronError(f"{self.path} exists and is no run's folder: choose another --out")
        earlier = load_settings(self.path)
        changed = allowed_changes(earlier, config)
        if self.has_other_blocks(config, store):
            changed.append(BLOCKS)
        if changed and self.finished and not self.goes_on(config, store):
            raise ElektronError(
                f"{self.path} is finished, and {' and '.join(changed)} cannot change what it was: "
                "make it longer, or choose another --out"
            )
        return earlier, changed

    def has_other_blocks(self, config: PretrainConfig, store: BlockStore) -> bool:
        """Whether the run was begun with other blocks, and may go on with these.

        Raises:
            ElektronError: it may not.
        """
        corpus = self.read_json(CORPUS)
        if corpus.get("fingerprint") == store.fingerprint:
            return False
        if corpus.get("tokenizer") not in (None, store.manifest.tokenizer):
            raise ElektronError(
                f"{self.path} holds a run on blocks of another tokenizer than {config.data}'s: "
                "choose another --out, or give the blocks it was begun with"
            )
        if BLOCKS not in config.resume.allow:
            raise ElektronError(
                f"{self.path} holds a run on other blocks than {config.data}: choose another "
                "--out, give the blocks it was begun with, or go on with these all the same by "
                f"--resume.allow {BLOCKS}"
            )
        if corpus.get("seq_len") != store.manifest.seq_len:
            raise ElektronError(
                f"{self.path} holds a run on rows of {corpus.get('seq_len')} tokens, {config.data}'s "
                f"have {store.manifest.seq_len}: choose another --out"
            )
        return True

    def change(
        self, earlier: PretrainConfig, config: PretrainConfig, store: BlockStore, changed: list[str]
    ) -> None:
        """Make it the folder of the changed run, which is not finished, if the one before it was."""
        what = in_words(changed, to_flat_dict(earlier), to_flat_dict(config))
        log.warning("%s goes on with other settings: %s", self.path, what)
        (self.path / SUMMARY).unlink(missing_ok=True)
        # The settings last: killed before, the same command finds the change once more.
        self.write_json(CORPUS, corpus_in_numbers(store))
        save_yaml(config, self.path / CONFIG)

    def goes_on(self, config: PretrainConfig, store: BlockStore) -> bool:
        """Whether steps are left, by these settings, of the run that is finished here."""
        summary = self.read_json(SUMMARY)
        try:
            reached = Progress(
                step=int(summary["steps"]),
                seconds=float(summary["seconds"]),
                flops=float(summary["flops"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ElektronError(
                f"{self.path / SUMMARY} is damaged ({error}): choose another --out"
            ) from error
        steps = Curriculum(config, store.manifest.seq_len).steps
        return RunLength.of(config, steps).fraction_done(reached) < 1

    def is_new(self) -> bool:
        """Whether nothing is there but what a run leaves that was killed at its first moment."""
        if not self.path.exists():
            return True
        first = {LOCK_FILE, LOST_AND_FOUND, CORPUS, IDENTITY}
        first |= {f".{name}{PARTIAL}" for name in (CORPUS, IDENTITY, CONFIG)}
        return self.path.is_dir() and {path.name for path in self.path.iterdir()} <= first

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / SUMMARY).is_file()

    def log(self, kind: str, figures: dict[str, Any]) -> None:
        """Append a line to the metrics; what is not finite becomes null.

        Raises:
            ElektronError: it cannot be written. A resumed run forgets what was written of it.
        """
        if not self.writes:
            return
        path = self.path / METRICS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(to_json({"kind": kind} | figures) + "\n")
        except OSError as error:
            raise ElektronError(f"{path} cannot be written ({error.strerror})") from error

    def lines(self) -> list[dict[str, Any]]:
        """The metrics, oldest first; what is no line of them is left out."""
        path = self.path / METRICS
        if not path.exists():
            return []
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise unreadable(path, error, "") from error
        # Not by splitlines, which also breaks a text at characters that JSON may have within its strings.
        lines = text.split("\n")
        return [logged for line in lines if (logged := as_line(line)) is not None]

    def cut_metrics(self, step: int) -> None:
        """Forget what was logged after `step`: those steps will be taken again.

        So is what is no line of metrics: cut short when the run was killed, or damaged.
        """
        path = self.path / METRICS
        if not path.exists() or not self.writes:
            return
        kept = [line for line in self.lines() if line["step"] <= step]
        atomic_write(path, "".join(to_json(line) + "\n" for line in kept))

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder.

        Raises:
            ElektronError: it cannot be read, or holds something else.
        """
        path = self.path / name
        try:
            return parse_json_object(read_text(path))
        except (OSError, ValueError) as error:
            raise unreadable(path, error, "restore it, or choose another --out") from error

    def write_json(self, name: str, content: Any) -> None:
        """Write a file that is there whole or not at all."""
        atomic_write(self.path / name, to_json(content, indent=1))


def load_settings(out: Path) -> PretrainConfig:
    """The settings of the run in a folder.

    Raises:
        ElektronError: they cannot be read, or there are none: a run writes all of them.
    """
    path = out / CONFIG
    if not read_yaml(path):
        raise ElektronError(f"{path} has no settings: restore it, or choose another --out")
    return load_yaml(PretrainConfig, path)


def identity_of(config: PretrainConfig, store: BlockStore) -> str:
    """What a run is begun as, or goes on as: its settings and its blocks. Runs begun alike have the same bits."""
    settings = {
        name: value
        for name, value in to_flat_dict(config).items()
        if name.partition(".")[0] not in NOT_THE_RUN
    }
    return digest_of_text(json.dumps([settings, store.fingerprint], default=str))


def as_line(text: str) -> dict[str, Any] | None:
    """A line of metrics; None for anything else, such as one that was being written when the run was killed."""
    try:
        line = parse_json_object(text)
    except ValueError:
        return None
    return line if type(line.get("step")) is int and "kind" in line else None


def corpus_in_numbers(store: BlockStore) -> dict[str, Any]:
    """What the report says of the blocks."""
    manifest = store.manifest
    splits = manifest.splits
    rows = sum(split.rows for split in splits.values())
    tokens = sum(split.tokens for split in splits.values())
    return {
        "fingerprint": store.fingerprint,
        "tokenizer": manifest.tokenizer,
        "sources": manifest.corpus,
        "documents": {name: split.documents for name, split in splits.items()},
        "rows": {name: split.rows for name, split in splits.items()},
        "tokens": {name: split.tokens for name, split in splits.items()},
        "seq_len": manifest.seq_len,
        "packing": manifest.packing,
        "padding_share": 1 - tokens / (rows * manifest.seq_len),
        "vocab_size": manifest.vocab_size,
    }
