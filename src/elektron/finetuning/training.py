"""One fine-tuning: transformers' Trainer with our optimizer, and the epoch that is kept.

Rows of like length share a batch, which is padded to its longest row. After each epoch the model is
looked at on the evaluation rows; the weights of the epoch that is kept stay in memory, so that
nothing but the final model is written. What the Trainer would save, pickled, it is not asked to.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from elektron.device import Device
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.optimizer import make_optimizer
from elektron.finetuning.tasks.base import Feature, Task
from elektron.progress import Progress

log = logging.getLogger(__name__)

CLIP = 1.0
"""Largest norm of the gradient."""


@dataclass
class Epoch:
    """What was seen of one pass over the training rows."""

    epoch: float
    train_loss: float
    eval: float | None
    """The task's figure on the evaluation rows, where it was looked at."""
    eval_loss: float | None
    """The loss on them, where that was."""


@dataclass
class History:
    """The epochs of a training, and which of them the model has now the weights of."""

    epochs: list[Epoch] = field(default_factory=list)
    kept: int = -1
    """Place of the kept epoch in `epochs`."""


def train(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    features: Sequence[Feature],
    config: FinetuneConfig,
    seed: int,
    look: Callable[[], dict[str, float]],
    title: str,
) -> History:
    """Train `model` in place.

    Args:
        task: what it learns.
        model: new, on any device.
        tokenizer: the encoder's.
        features: labelled training features.
        config: resolved.
        seed: of the order of rows and of dropout.
        look: figures of the model on the evaluation rows; those under the task's own `figure`
            decide which epoch is kept, if `config.keep` is `best`.
        title: of the progress bar.

    Raises:
        ElektronError: the loss is no longer finite.
    """
    assert config.batch_size is not None
    assert config.epochs is not None
    micro_batch = config.micro_batch_size or config.batch_size
    accumulation = -(-config.batch_size // micro_batch)
    steps = math.ceil(config.epochs * math.ceil(len(features) / (micro_batch * accumulation)))
    optimizer = make_optimizer(model, config)
    schedule = get_linear_schedule_with_warmup(optimizer, round(config.warmup * steps), steps)
    watcher = _Watcher(task, look, config.keep == "best", config.patience)
    with (
        tempfile.TemporaryDirectory(prefix="elektron-") as scratch,
        Progress(title, steps, "steps") as bar,
    ):
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                seed=seed,
                max_steps=steps,
                per_device_train_batch_size=micro_batch,
                gradient_accumulation_steps=accumulation,
                max_grad_norm=CLIP,
                train_sampling_strategy="group_by_length",
                bf16=Device.choose(config.precision).dtype == torch.bfloat16,
                use_cpu=not torch.cuda.is_available(),  # else bf16 is refused there
                logging_strategy="epoch",
                logging_nan_inf_filter=False,
                save_strategy="no",
                eval_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            data_collator=lambda rows: task.collate(rows, tokenizer),
            train_dataset=list(features),
            optimizers=(optimizer, schedule),
            compute_loss_func=smoothed_loss(config.label_smoothing)
            if config.label_smoothing
            else None,
            callbacks=[watcher, _Bar(bar)],
        )
        trainer.remove_callback(PrinterCallback)
        # Our losses are means over a micro-batch; told otherwise, by `**kwargs` in a forward, the
        # Trainer would not divide them by the number of micro-batches.
        trainer.model_accepts_loss_kwargs = False
        trainer.loss_is_scaled_for_ga = False
        trainer.train()
    if watcher.best is not None:
        model.load_state_dict(watcher.best)
    model.eval()
    return watcher.history


def smoothed_loss(share: float) -> Callable[..., Tensor]:
    """Cross-entropy with `share` of the target's probability spread over all classes (Szegedy et al. 2016).

    In fp32, also where matrix products are not; the Trainer's own smoothing is in their precision.
    """

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        logits = outputs["logits"].float().flatten(0, -2)
        return F.cross_entropy(logits, labels.flatten(), label_smoothing=share)

    return loss


class _Watcher(TrainerCallback):
    """Looks at the model after each epoch and keeps the weights of the best."""

    def __init__(
        self,
        task: Task,
        look: Callable[[], dict[str, float]],
        keep_best: bool,
        patience: int | None = None,
    ) -> None:
        self.task = task
        self.look = look
        self.keep_best = keep_best
        self.patience = patience
        self.history = History()
        self.best: dict[str, Tensor] | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """The Trainer logs the mean training loss of an epoch when it is over."""
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise ElektronError(
                f"the loss is no longer finite after {state.epoch:.2g} epochs: "
                "a lower --learning-rate, or a longer --warmup, may help"
            )
        model = rest["model"]
        was_training = model.training
        model.eval()
        figures = self.look()
        model.train(was_training)
        figure = figures.get(self.task.figure)
        self.history.epochs.append(Epoch(round(state.epoch, 2), loss, figure, figures.get("loss")))
        if not self.keep_best or self.is_best():
            self.history.kept = len(self.history.epochs) - 1
            if self.keep_best:
                self.best = {
                    name: tensor.detach().to("cpu", copy=True)
                    for name, tensor in model.state_dict().items()
                }
        since_best = len(self.history.epochs) - 1 - self.history.kept
        if self.patience is not None and since_best >= self.patience:
            control.should_training_stop = True

    def is_best(self) -> bool:
        """Whether no earlier epoch was as good."""
        *earlier, now = [epoch.eval for epoch in self.history.epochs if epoch.eval is not None]
        return all(now > figure for figure in earlier)


class _Bar(TrainerCallback):
    """Moves the progress bar."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.bar.update(state.global_step, self.note(state))

    @staticmethod
    def note(state: Any) -> str:
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        return f"loss {losses[-1]:.3f}" if losses else ""
