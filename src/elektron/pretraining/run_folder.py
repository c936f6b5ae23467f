"""The folder of a run: what it belongs to, and the metrics that grow in it.

A run's folder states the resolved configuration and the fingerprint of its blocks. The same
command finds them equal and goes on; any other run is refused, so that nothing is mixed up or
overwritten.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.configuration import load_yaml, save_yaml, values_of
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.evidence.runs import CONFIG, CORPUS, METRICS, SUMMARY
from elektron.folders import PARTIAL, write_whole
from elektron.pretraining.config import LENGTHS, PretrainConfig
from elektron.pretraining.lock import LOCK
from elektron.pretraining.resuming import BLOCKS, allowed_changes, in_words

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
                folder.path.mkdir(parents=True, exist_ok=True)
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
        earlier = load_yaml(PretrainConfig, self.path / CONFIG)
        changed = allowed_changes(earlier, config)
        corpus = self.read_json(CORPUS)
        if corpus["fingerprint"] != store.fingerprint:
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
            changed.append(BLOCKS)
        return earlier, changed

    def change(
        self, earlier: PretrainConfig, config: PretrainConfig, store: BlockStore, changed: list[str]
    ) -> None:
        """Make it the folder of the changed run, which is not finished if its length has changed."""
        what = in_words(changed, values_of(earlier), values_of(config))
        log.warning("%s goes on with other settings: %s", self.path, what)
        if self.finished and set(changed) & set(LENGTHS):
            (self.path / SUMMARY).unlink()
        # The settings last: killed before, the same command finds the change once more.
        self.write_json(CORPUS, corpus_in_numbers(store))
        save_yaml(config, self.path / CONFIG)

    def is_new(self) -> bool:
        """Whether nothing is there but what a run leaves that was killed at its first moment."""
        if not self.path.exists():
            return True
        first = {LOCK, CORPUS, f"{CORPUS}{PARTIAL}", f"{CONFIG}{PARTIAL}"}
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
        line = {"kind": kind} | {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in figures.items()
        }
        path = self.path / METRICS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ElektronError(f"{path} cannot be written ({error.strerror})") from error

    def lines(self) -> list[dict[str, Any]]:
        """The metrics, oldest first."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def cut_metrics(self, step: int) -> None:
        """Forget what was logged after `step`: those steps will be taken again."""
        path = self.path / METRICS
        if not path.exists() or not self.writes:
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                logged = json.loads(line)
            except json.JSONDecodeError:
                continue  # a line that was being written when the run was killed
            if logged["step"] <= step:
                kept.append(line)
        write_whole(path, "".join(kept))

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder."""
        content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return content

    def write_json(self, name: str, content: Any) -> None:
        """Write a file that is there whole or not at all."""
        write_whole(self.path / name, json.dumps(content, indent=1, ensure_ascii=False))


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
