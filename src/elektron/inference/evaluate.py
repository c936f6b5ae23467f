"""`elektron evaluate`: metrics of a fine-tuned model on labelled rows, or of a pre-trained one on minimal pairs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from elektron.corpus.unknown import count_unknown
from elektron.errors import ElektronError
from elektron.finetuning.config import DecodingConfig, EvaluateConfig
from elektron.finetuning.labelled import with_label
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import input_texts
from elektron.finetuning.readers.roles import LAYOUTS
from elektron.finetuning.results import evaluate as evaluate_model
from elektron.finetuning.results import metrics_text, write_evaluation
from elektron.finetuning.tasks.classification import Classification
from elektron.inference.models import load_predictor, precision_of_finetuning
from elektron.io.folders import atomic_folder
from elektron.reporting.task_result import task_result
from elektron.terminal import echo


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a model and print its metrics; with `--out`, write them and the predictions.

    Returns:
        The metrics by name; with `--blimp`, the result of `evaluate_minimal_pairs`.

    Raises:
        ElektronError: there is no such model or file, or the file does not fit the model's task.
    """
    if config.blimp is not None:
        if config.data:
            raise ElektronError("give either labelled files or --blimp, not both")
        if config.task is not None or config.decoding != DecodingConfig():
            raise ElektronError("--task and --decoding do not apply to --blimp")
        from elektron.inference.minimal_pairs import evaluate_minimal_pairs

        return evaluate_minimal_pairs(config)
    if not config.data:
        raise ElektronError("give labelled files, or minimal pairs with --blimp FILE")
    with atomic_folder(config.out) if config.out is not None else nullcontext() as folder:
        precision = config.precision or precision_of_finetuning(config.model)
        predictor = load_predictor(config.model, config.task, config.decoding, config.batch_size, precision)
        records = list(read_records(config.data, predictor.task.files(), config, labelled=True))
        if isinstance(predictor.task, Classification):
            records = with_label(records, predictor.task.labels)
        predictor.task.check(records)
        texts = input_texts(LAYOUTS[predictor.task.name], records)
        count_unknown(texts, predictor.tokenizer).check(", ".join(config.data), config.allow_unknown)
        scored = evaluate_model(predictor, records)
        if folder is not None:
            predictor.task.save(folder)
            metrics = scored.metrics | {"split": "test"}
            details = {"model": config.model, "reported_on": "test"} | scored.details
            write_evaluation(folder, metrics, details, records, scored.predictions)
    learned = {"task": predictor.task.name} | vars(predictor.task)
    echo(metrics_text(task_result(Path(config.model), learned, scored.metrics)))
    return scored.metrics
