"""The tasks by name, and the task of a saved model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import elektron.models  # noqa: F401  (registers the family with the Auto classes)
from elektron.errors import ElektronError
from elektron.finetuning.encoders import UNLIMITED, longest_input
from elektron.finetuning.recipe import DEFAULT_MAX_LENGTH
from elektron.finetuning.tasks.base import FORMAT, TASK_FILE, Task
from elektron.finetuning.tasks.classification import Classification, Regression
from elektron.finetuning.tasks.embedding import Embedding, sentence_settings
from elektron.finetuning.tasks.multiple_choice import MultipleChoice
from elektron.finetuning.tasks.question_answering import QuestionAnswering
from elektron.finetuning.tasks.sequence_to_sequence import Generation, Summarization, Translation
from elektron.finetuning.tasks.token_classification import TokenClassification
from elektron.hub import load_configuration, optional_file
from elektron.io.datasets import hub_is_reachable
from elektron.io.files import MALFORMED, parse_json_object, read_text, unreadable
from elektron.models.pair import DISCRIMINATOR

log = logging.getLogger(__name__)

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        Classification,
        Regression,
        TokenClassification,
        QuestionAnswering,
        MultipleChoice,
        Translation,
        Summarization,
        Generation,
        Embedding,
    )
}


def load_task(model: str, expected: str | None = None) -> Task:
    """The task of a fine-tuned model: from its `task.json`, or from its class if transformers saved it.

    Args:
        model: folder or hub name.
        expected: the task it should be of, if the user named one.

    Raises:
        ElektronError: there is no such model, it is of another task or of none.
    """
    if (Path(model) / DISCRIMINATOR).is_dir():
        raise ElektronError(
            f"{model} is a pre-training run: fine-tune it first, with `elektron finetune TASK --model {model}`"
        )
    path = Path(model) / TASK_FILE
    task = _read(path, model) if path.is_file() else _on_hub_or_by_class(model, expected)
    if expected is not None and task.name != expected:
        raise ElektronError(f"{model} is a model for {task.name}, not for {expected}")
    return task


def _read(path: Path, model: str) -> Task:
    try:
        content = parse_json_object(read_text(path))
        name, number = content["task"], content["format"]
    except (OSError, *MALFORMED) as error:
        raise unreadable(path, error, "fine-tune again") from error
    if number != FORMAT or name not in list(TASKS):
        raise ElektronError(f"{path}: written by another version of elektron, or by another program")
    try:
        return TASKS[name].load(content, model)
    except ElektronError as error:
        raise unreadable(path, error, "fine-tune again") from error


def _on_hub_or_by_class(model: str, expected: str | None) -> Task:
    """The task of a model without a local `task.json`: from that on the hub, else from the class of the model."""
    config = load_configuration(model)
    if path := optional_file(model, TASK_FILE):
        return _read(path, model)
    if not Path(model).is_dir() and not hub_is_reachable():
        log.warning("%s: cannot check whether it has a %s, because the hub does not answer", model, TASK_FILE)
    architecture = (config.architectures or ["a bare encoder"])[0]
    length = longest_input(config)
    if length == UNLIMITED:
        length = DEFAULT_MAX_LENGTH
    labels = [config.id2label[number] for number in sorted(config.id2label)]
    sentence: dict[str, Any] = {"pairs": None, "truncation": "head", "stride": 0}
    match architecture.rpartition("For")[2]:
        case "SequenceClassification" if config.num_labels == 1:
            return Regression(mean=0.0, spread=1.0, max_length=length, **sentence)
        case "SequenceClassification":
            several = config.problem_type == "multi_label_classification"
            return Classification(labels=labels, several=several, max_length=length, **sentence)
        case "TokenClassification":
            return TokenClassification(labels=labels, stride=length // 4, max_length=length)
        case "MultipleChoice":
            return MultipleChoice(max_length=length)
        case "QuestionAnswering":
            return QuestionAnswering(max_length=length, stride=length // 4, no_answers=False)
    if expected == Embedding.name:
        if optional_file(model, "modules.json") is None:
            log.warning("%s was not trained for sentence embeddings: similarities of its vectors say little", model)
        settings = sentence_settings(model)
        length = min(length, settings.get("max_length", length))
        return Embedding(scored=None, **settings | {"max_length": length})
    near = f"; is it meant for {expected}?" if expected else ""
    raise ElektronError(
        f"{model} is {architecture}, which has not been fine-tuned for a task: "
        f"`elektron finetune TASK --model {model}` does that{near}"
    )
