"""The folder of a run: its identity, its files, and which settings may change when it is resumed.

The folder contains the resolved configuration and the fingerprint of the blocks. A command with the same configuration
and blocks resumes the run. A changed setting raises an error unless `--resume.allow` names it. The networks, the
optimizer, the tokenizer, the plan, and the rows of the steps that were taken can never change.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.configuration import differences, format_value, load_yaml, read_yaml, save_yaml, to_flat_dict
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.io.checksums import text_sha256
from elektron.io.files import PARTIAL, atomic_write, parse_json_object, read_text, resolve_link, to_json, unreadable
from elektron.io.folders import LOCK_FILE, LOST_AND_FOUND
from elektron.pretraining.checkpoint import IDENTITY, checkpoints, read_progress
from elektron.pretraining.config import CONFIG, CORPUS, LENGTHS, METRICS, SUMMARY, PretrainConfig
from elektron.pretraining.schedules import Curriculum, RunLength

log = logging.getLogger(__name__)

BLOCKS = "data"
"""The name by which `--resume.allow` allows other blocks."""
SETTINGS_OUTSIDE_IDENTITY = (
    *("data", "out", "log_every", "nproc", "parallel", "collective_timeout", "resume", "allow_unknown", "track"),
)
"""Settings that are not part of a run's identity: folders, logging, parallelism and resuming."""
FIXED = (
    *("family", "network", "objective", "plan", "plan_options", "sharing", "seed"),
    *("init_from", "generator", "replace_tokenizer", "optimizer.name", "optimizer.bias_correction"),
)
"""Settings and groups of settings that never change within a run, with the exceptions in CHANGEABLE."""
CHANGEABLE = ("network.dropout",)


@dataclass(frozen=True)
class RunFolder:
    """The folder of this run."""

    path: Path
    writes: bool = True
    """Whether this rank writes to it."""

    @classmethod
    def open(cls, config: PretrainConfig, store: BlockStore, writes: bool = True) -> RunFolder:
        """Create the folder, or check that it belongs to the same run.

        Raises:
            ElektronError: the folder contains something else, or cannot be written.
        """
        folder = cls(config.out, writes)
        changed = folder.compare(config, store)
        if changed is None or (changed and writes):
            try:
                if changed is None:
                    resolve_link(folder.path).mkdir(parents=True, exist_ok=True)
                    folder.write_json(IDENTITY, {"run": identity_of(config, store)})
                else:
                    log.warning("%s resumes with other settings: %s", folder.path, changed)
                    (folder.path / SUMMARY).unlink(missing_ok=True)
                folder.write_json(CORPUS, corpus_summary(store))
                # Write the settings last: if the process is killed before, the same command finds the change again.
                save_yaml(config, folder.path / CONFIG)
            except OSError as error:
                what = f"{folder.path} cannot be written ({error.strerror})"
                raise ElektronError(f"{what}: choose another --out") from error
        return folder

    def compare(self, config: PretrainConfig, store: BlockStore) -> str | None:
        """How the settings of the run in the folder differ, "" if they do not; None if it is new. Writes nothing.

        Raises:
            ElektronError: the folder contains another run or something else.
        """
        if self.is_new():
            return None
        if not (self.path / CONFIG).is_file():
            raise ElektronError(f"{self.path} exists and is not the folder of a run: choose another --out")
        earlier = load_settings(self.path)
        changed = allowed_changes(earlier, config)
        if self.has_other_blocks(config, store):
            changed.append(BLOCKS)
        if changed and self.finished and not self.has_steps_left(config, store):
            raise ElektronError(
                f"{self.path} is finished, so that changing {' and '.join(changed)} has no effect: "
                "make the run longer, or choose another --out"
            )
        return described(changed, earlier, config)

    def has_other_blocks(self, config: PretrainConfig, store: BlockStore) -> bool:
        """Whether the run was started with other blocks, and may resume with these.

        Raises:
            ElektronError: it may not resume with these blocks.
        """
        corpus, manifest = self.read_json(CORPUS), store.manifest
        if corpus.get("fingerprint") == store.fingerprint:
            return False
        problem = ""
        if corpus.get("tokenizer") != manifest.tokenizer:
            problem = f"blocks of another tokenizer than {config.data}'s"
        elif BLOCKS not in config.resume.allow:
            problem = f"other blocks than {config.data} (allow them by --resume.allow {BLOCKS})"
        elif corpus.get("seq_len") != manifest.seq_len:
            problem = f"rows of {corpus.get('seq_len')} tokens, {config.data}'s have {manifest.seq_len}"
        if problem:
            raise ElektronError(
                f"{self.path} holds a run on {problem}: choose another --out, or give the blocks it was started with"
            )
        return True

    def has_steps_left(self, config: PretrainConfig, store: BlockStore) -> bool:
        """Whether a finished run has steps left under these settings."""
        saved = checkpoints(self.path)
        length = RunLength.of(config, Curriculum(config, store.manifest.seq_len).steps)
        return bool(saved) and length.fraction_done(read_progress(saved[-1])) < 1

    def is_new(self) -> bool:
        """Whether the folder does not exist, or contains only files of a run that was killed while it created it."""
        if not self.path.exists():
            return True
        first = {LOCK_FILE, LOST_AND_FOUND, CORPUS, IDENTITY}
        first |= {f".{name}{PARTIAL}" for name in (CORPUS, IDENTITY, CONFIG)}
        return self.path.is_dir() and {path.name for path in self.path.iterdir()} <= first

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return (self.path / SUMMARY).is_file()

    def log(self, kind: str, metrics: dict[str, Any]) -> None:
        """Append a line to the metrics; non-finite numbers become null.

        Raises:
            ElektronError: it cannot be written. A resumed run drops the partial line.
        """
        if not self.writes:
            return
        path = self.path / METRICS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(to_json({"kind": kind} | metrics) + "\n")
        except OSError as error:
            raise ElektronError(f"{path} cannot be written ({error.strerror})") from error

    def lines(self) -> list[dict[str, Any]]:
        """The lines of metrics, oldest first, without damaged ones."""
        path = self.path / METRICS
        if not path.exists():
            return []
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise unreadable(path, error, "") from error
        # Not splitlines, which also splits at characters that JSON strings may contain.
        return [line for each in text.split("\n") if (line := as_line(each)) is not None]

    def cut_metrics(self, step: int) -> None:
        """Drop the lines after `step`, whose steps will be taken again, and damaged lines."""
        path = self.path / METRICS
        if path.exists() and self.writes:
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
        """Write a file atomically."""
        atomic_write(self.path / name, to_json(content, indent=1))


def load_settings(out: Path) -> PretrainConfig:
    """The settings of the run in a folder.

    Raises:
        ElektronError: they cannot be read, or are empty.
    """
    path = out / CONFIG
    if not read_yaml(path):
        raise ElektronError(f"{path} has no settings: restore it, or choose another --out")
    return load_yaml(PretrainConfig, path)


def identity_of(config: PretrainConfig, store: BlockStore) -> str:
    """A checksum of settings and blocks; runs with the same one, on equal devices and processes, are bit-identical."""
    settings = {
        name: value
        for name, value in to_flat_dict(config).items()
        if name.partition(".")[0] not in SETTINGS_OUTSIDE_IDENTITY
    }
    return text_sha256(json.dumps([settings, store.fingerprint], default=str))


def as_line(text: str) -> dict[str, Any] | None:
    """A line of metrics; None for anything else, such as one that was being written when the run was killed."""
    try:
        line = parse_json_object(text)
    except ValueError:
        return None
    return line if type(line.get("step")) is int and "kind" in line else None


def corpus_summary(store: BlockStore) -> dict[str, Any]:
    """The content of `corpus.json`: properties of the blocks, for the report and for checks when a run resumes."""
    manifest, splits = store.manifest, store.manifest.splits
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
        "unigram_entropy": store.unigram_entropy,
    }


def allowed_changes(earlier: PretrainConfig, config: PretrainConfig) -> list[str]:
    """The settings in which a run and a command differ, all of which may differ.

    Raises:
        ElektronError: a setting differs without being allowed, or is allowed although it can never change.
    """
    settings = (earlier, config)
    before, now = (next((name for name in LENGTHS if getattr(s, name) is not None), "nothing") for s in settings)
    if before != now:
        raise ElektronError(
            f"{config.out} contains a run whose length is given in {before}, not in {now}: give it in {before}, or "
            "choose another --out"
        )
    allowed = [name.replace("-", "_") for name in config.resume.allow]
    for name in allowed:
        if reason := why_fixed(name, config):
            what = f"--resume.allow {name}: it cannot change during a run ({reason})"
            raise ElektronError(f"{what}: choose another --out")
    changed = differences(earlier, config, SETTINGS_OUTSIDE_IDENTITY)
    if refused := [name for name in changed if name not in allowed]:
        fixed = any(why_fixed(name, config) for name in changed)
        advice = "" if fixed else f", or resume it with the change by --resume.allow {' '.join(refused)}"
        raise ElektronError(
            f"{config.out} holds another run ({described(refused, earlier, config)}): choose another --out{advice}"
        )
    return changed


def described(names: list[str], earlier: PretrainConfig, config: PretrainConfig) -> str:
    """A text with the values of settings in the run and in the command."""
    before, now = to_flat_dict(earlier), to_flat_dict(config)
    return ", ".join(f"{n} {format_value(before[n])} there, {format_value(now[n])} here" for n in names)


def why_fixed(name: str, config: PretrainConfig) -> str | None:
    """Why a setting cannot change within a run; None if it can."""
    group = name.partition(".")[0]
    if group in ("batch_size", "curriculum"):
        return "it determines which rows the finished steps have used"
    if name in LENGTHS and config.plan == "two_stage":
        return "another length would shift the stages of the plan"
    if name in LENGTHS and (config.curriculum.first_length or config.curriculum.first_batch_size):
        return "another length would shift the stages of the curriculum"
    if (group in FIXED or name in FIXED) and name not in CHANGEABLE:
        return "it would be another run"
    return None
