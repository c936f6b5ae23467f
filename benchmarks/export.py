"""Speed and accuracy of a fine-tuned model and of its exports, with one thread.

Every side runs the predictor of `elektron predict` in fp32 on the same rows, in its own process. Sides alternate, so
that other jobs slow all of them; ratios are computed within a round. The time of a workload is the median over groups
of rows.

    elektron export MODEL --out onnx && elektron export MODEL --int8 --out int8
    python benchmarks/export.py MODEL TEST_FILE onnx int8
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import Side, machine, median_and_range, new_parser, print_table, ratios, save
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.read import read_records
from elektron.inference.config import EXPORT_FILE
from elektron.inference.models import load_predictor
from elektron.io.files import read_json
from elektron.terminal import output_enabled

BATCH = 32
GROUPS = {1: 16, BATCH: 4}
"""Number of groups of rows that are timed in a round, by the size of the groups."""
WORKLOADS = {"one row": 1, f"{BATCH} rows": BATCH}


def main() -> None:
    parser = new_parser(__doc__, "export")
    parser.add_argument("model", help="folder of a fine-tuned model")
    parser.add_argument("test", help="labelled file")
    parser.add_argument("exported", nargs="+", help="its exported folders")
    parser.add_argument("--rows", type=int, default=1000, help="for metric and answers")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    environment = machine()
    folders = {"PyTorch fp32": options.model}
    for folder in options.exported:
        folders[f"ONNX {read_json(Path(folder, EXPORT_FILE))['precision']}"] = folder
    sides = {name: Side(start, folder, options.test, options.rows) for name, folder in folders.items()}
    times: dict[str, dict[str, list[float]]] = {workload: {name: [] for name in sides} for workload in WORKLOADS}
    for _ in range(options.rounds):
        for workload, rows in WORKLOADS.items():
            for name, side in sides.items():
                times[workload][name].append(side.run(rows))
    quality = {name: side.ready for name, side in sides.items()}
    for side in sides.values():
        side.close()
    reference = quality[next(iter(sides))]
    speedups = {
        workload: {name: median_and_range(ratios(seconds["PyTorch fp32"], seconds[name])) for name in sides}
        for workload, seconds in times.items()
    }
    print_table(
        f"{Path(options.model).name}, {Path(options.test).name}",
        ("side", "metric", "same answers", *(f"ms, {w}" for w in WORKLOADS), *(f"× PyTorch, {w}" for w in WORKLOADS)),
        [
            (
                name,
                f"{quality[name]['metric']:.4f}",
                f"{same(quality[name], reference):.2%}",
                *(f"{1000 * statistics.median(times[w][name]):.2f}" for w in WORKLOADS),
                *("{median:.2f} ({min:.2f} … {max:.2f})".format(**speedups[w][name]) for w in WORKLOADS),
            )
            for name in sides
        ],
    )
    for result in quality.values():
        del result["answers"]
    save(environment | {"quality": quality, "seconds": times, "speedups": speedups}, options.json)


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The fraction of rows with the same answer."""
    return statistics.fmean(a == b for a, b in zip(ours["answers"], theirs["answers"], strict=True))


def start(folder: str, test: str, rows: int) -> tuple[dict[str, Any], Callable[[int], float]]:
    """Load a side in its process; returns its metric and answers, and a function that times it."""
    torch.set_num_threads(1)
    with output_enabled(results=False, progress=False):
        predictor = load_predictor(folder, precision="fp32")
        records = list(read_records([test], predictor.task.files(), FilesConfig(), labelled=True))
    records = records[:rows]
    predictions = predictor.predict(records)
    metric = predictor.task.measure(records, predictions)()[predictor.task.metric]
    answers = [predictor.task.outcomes(prediction) for prediction in predictions]

    def measure(count: int) -> float:
        """Seconds for `count` rows: the median over several groups of rows."""
        seconds = []
        for first in range(0, GROUPS[count] * count, count):
            chosen = records[first : first + count]
            began = time.perf_counter()
            predictor.predict(chosen)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)

    return {"metric": metric, "answers": answers}, measure


if __name__ == "__main__":
    main()
