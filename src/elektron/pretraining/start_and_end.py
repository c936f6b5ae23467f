"""Compares the held-out metrics at the start and at the end of a run that continues a released encoder."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

START_AND_END = {
    "generator_loss": "generator loss",
    "lm_loss": "LM loss",
    "discriminator_loss": "discriminator loss",
    "discriminator_auc": "AUC",
}
"""Metrics of held-out rows whose values at the start and at the end are shown."""


def start_and_end(
    evaluations: Iterable[Mapping[str, Any]], end: Mapping[str, Any]
) -> tuple[list[list[str]], str] | None:
    """The held-out metrics of a run with `init_from` at its start and at its end, by source too.

    Args:
        evaluations: the evaluation lines of `metrics.jsonl`.
        end: the metrics at the end.

    Returns:
        A table whose first row is its header, empty if no metric can be compared, and a remark on the metrics that
        cannot be compared, empty if all can. None if the start was not evaluated.
    """
    start = next((line for line in evaluations if line.get("step") == 0), None)
    if start is None:
        return None
    names = [name for name in START_AND_END if isinstance(end.get(name), float)]
    sources = {key.partition("/")[2] for key in end if key.partition("/")[0] in names}

    def write(key: str) -> str:
        values = (line.get(key) for line in (start, end))
        return " → ".join(f"{v:.3f}" if isinstance(v, float) else "–" for v in values)

    table = [["held-out rows", *(START_AND_END[name] for name in names)]]
    for source in sorted(sources):
        keys = [f"{name}/{source}" if source else name for name in names]
        table.append([source or "all", *map(write, keys)])
    parts = start.get("new_parts")
    new = tuple(map(str, parts)) if isinstance(parts, list) else ()
    untrained = [START_AND_END[name] for name in names if name.startswith(new)]
    if new and len(untrained) == len(names):
        return [], (
            "No loss is comparable with the start of the run, where the heads were newly initialized. "
            "To see whether the run helped, fine-tune both encoders on the same rows:"
        )
    remark = f"Not comparable, because their weights were newly initialized at the start: {', '.join(untrained)}."
    return table, remark if new and untrained else ""


def comparison_commands(init_from: str, run: str) -> str:
    """The commands that fine-tune the released encoder and the run's discriminator, to compare them."""
    models = {"before": init_from.partition(",")[0], "after": f"{run}/discriminator"}
    return "\n".join(
        f"elektron finetune TASK --model {shlex.quote(model)} --train FILE --test FILE --seeds 3 --out {out}"
        for out, model in models.items()
    )
