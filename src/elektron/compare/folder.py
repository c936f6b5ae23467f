"""The folder of a comparison: what it belongs to.

Its `settings.json` has the settings of every variant and probe that was ever run there, and the
fingerprint of the blocks. The same command resumes. A command with further variants, probes,
budgets or seeds adds runs; what a command no longer names stays there and is left out of the table.
What is there under the same name with other settings is refused, so that nothing is mixed up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elektron.configuration import values_of, written
from elektron.corpus.blocks import BlockStore
from elektron.errors import ElektronError
from elektron.evidence.reading import Record, group, mapping, read_json
from elektron.finetuning.config import FinetuneConfig
from elektron.folders import is_free, make_folder, write_whole
from elektron.pretraining.config import PretrainConfig

SETTINGS = "settings.json"
# Where things lie, how often they are written, and what differs between the runs of a variant.
NOT_THE_VARIANT = ("data", "out", "seed", "log_every", "steps", "tokens", "minutes", "flops")
NOT_THE_PROBE = ("model", "out", "seed")


def open_folder(
    out: Path,
    data: Path,
    variants: Mapping[str, PretrainConfig],
    probes: Mapping[str, FinetuneConfig],
    tuned: Sequence[str] = (),
) -> None:
    """Make the folder, or find that it is of the same comparison, and note what is new in it.

    Args:
        out: the folder.
        data: the blocks.
        variants: a run of each variant.
        probes: the probes.
        tuned: settings whose values stand in the names of folders.

    Raises:
        ElektronError: the folder holds something else; the message names what differs.
    """
    now: Record = {
        "blocks": BlockStore.open(data).fingerprint,
        "variants": {name: _texts(v, (*NOT_THE_VARIANT, *tuned)) for name, v in variants.items()},
        "probes": {name: _texts(p, NOT_THE_PROBE) for name, p in probes.items()},
    }
    before = read_json(out / SETTINGS, mapping)
    if before is None:
        if not is_free(out):
            raise ElektronError(f"{out} exists and is no comparison's folder: choose another --out")
        before = {}
    elif before.get("blocks") != now["blocks"]:
        raise ElektronError(
            f"{out} holds a comparison on other blocks than {data}: "
            "choose another --out, or give the blocks it was begun with"
        )
    for kind in ("variants", "probes"):
        _refuse_changes(out, kind.removesuffix("s"), group(before, kind), now[kind])
        known = group(before, kind)
        now[kind] = known | {name: group(known, name) | texts for name, texts in now[kind].items()}
    make_folder(out)
    write_whole(out / SETTINGS, json.dumps(now, indent=1, ensure_ascii=False))


def _texts(config: Any, ignore: tuple[str, ...]) -> dict[str, str]:
    """All settings as they are written."""
    return {name: written(value) for name, value in values_of(config).items() if name not in ignore}


def _refuse_changes(out: Path, kind: str, before: Record, now: Mapping[str, Any]) -> None:
    for name in now:
        old = group(before, name)
        # A setting that one of the two does not know is of another version, with its default here.
        changed = [s for s in now[name] if s in old and old[s] != now[name][s]]
        if changed:
            what = ", ".join(f"{s} {old[s]} there, {now[name][s]} here" for s in changed)
            raise ElektronError(f"{out} holds another {kind} {name} ({what}): choose another --out")
