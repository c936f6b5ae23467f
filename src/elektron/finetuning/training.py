"""Train a model with transformers' Trainer and our optimizer, evaluate it after each epoch, and keep one epoch.

Batches have rows of similar length. The weights of the best epoch are kept in memory, not in the Trainer's
checkpoints, because these are pickled.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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

from elektron.accelerator import Accelerator
from elektron.errors import ElektronError
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.inputs import Feature
from elektron.finetuning.optimizer import make_optimizer
from elektron.finetuning.tasks.base import Task
from elektron.progress import Progress
from elektron.reporting.task_result import Epoch
from elektron.tracking import Tracker


@dataclass
class History:
    """The epochs of a training run, and the epoch whose weights the model has."""

    epochs: list[Epoch] = field(default_factory=list)
    kept: int = -1
    """Index of the kept epoch in `epochs`."""


def train(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    features: Sequence[Feature],
    config: FinetuneConfig,
    evaluate: Callable[[], dict[str, float]],
    title: str,
    tracker: Tracker | None = None,
    *,
    seed: int,
) -> History:
    """Train `model` in place.

    Args:
        task: task of the model.
        model: a new model, on any device.
        tokenizer: tokenizer of the encoder.
        features: labelled training features.
        config: a resolved configuration, see `recipe.resolve`.
        evaluate: computes the metrics of the model on the evaluation rows; `task.metric` decides which
            epoch is kept, if `config.keep` is `best`.
        title: title of the progress bar.
        tracker: receives the metrics of each epoch.
        seed: seed of the order of rows and of dropout.

    Returns:
        The metrics of each epoch, and which epoch was kept.

    Raises:
        ElektronError: the loss is non-finite.
    """
    assert config.batch_size is not None
    assert config.epochs is not None
    micro_batch_size = next(  # the largest that divides a batch
        size for size in range(config.micro_batch_size or config.batch_size, 0, -1) if config.batch_size % size == 0
    )
    accumulation = config.batch_size // micro_batch_size
    steps = math.ceil(config.epochs * math.ceil(len(features) / config.batch_size))
    optimizer = make_optimizer(model, config)
    schedule = get_linear_schedule_with_warmup(optimizer, round(config.warmup * steps), steps)
    smoothing = config.label_smoothing
    with tempfile.TemporaryDirectory(prefix="elektron-") as unused, Progress(title, steps, "steps") as bar:
        monitor = Monitor(config, task.metric, evaluate, bar, tracker)

        class LossTrainer(Trainer):
            """Sums the losses for the progress bar, since callbacks receive them only when the Trainer logs."""

            def training_step(self, *args: Any, **options: Any) -> Tensor:
                loss = super().training_step(*args, **options)
                monitor.loss_sum = monitor.loss_sum + loss  # on the device of the loss
                return loss

        arguments = TrainingArguments(
            output_dir=unused,
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=micro_batch_size,
            gradient_accumulation_steps=accumulation,
            max_grad_norm=config.max_grad_norm,
            train_sampling_strategy="group_by_length" if task.group_by_length else "random",
            bf16=Accelerator.choose(config.precision).dtype == torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),  # otherwise the Trainer refuses bf16 on CPUs
            logging_strategy="epoch",
            logging_nan_inf_filter=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # with several GPUs the Trainer would use DataParallel
        trainer = LossTrainer(
            model=model,
            args=arguments,
            data_collator=lambda rows: task.collate(rows, tokenizer),
            train_dataset=list(features),
            optimizers=(optimizer, schedule),
            compute_loss_func=partial(smoothed_loss, smoothing) if smoothing else None,
            callbacks=[monitor],
        )
        trainer.remove_callback(PrinterCallback)
        # Our losses are means over a micro-batch. Models whose `forward` takes `**kwargs` would make
        # the Trainer expect sums, and not divide by the number of micro-batches.
        trainer.model_accepts_loss_kwargs = False
        trainer.loss_is_scaled_for_ga = False
        trainer.train()
    return monitor.finish(model)


def smoothed_loss(smoothing: float, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016).

    It is computed in fp32, whatever the precision of matrix products; the Trainer's own is not.
    """
    logits = outputs["logits"].float().flatten(0, -2)
    return F.cross_entropy(logits, labels.flatten(), label_smoothing=smoothing)


class Monitor(TrainerCallback):
    """Evaluates the model after each epoch, keeps the weights of the best epoch, and stops training by `patience`."""

    def __init__(
        self,
        config: FinetuneConfig,
        metric: str,
        evaluate: Callable[[], dict[str, float]],
        bar: Progress,
        tracker: Tracker | None,
    ) -> None:
        self.config = config
        self.metric = metric
        self.evaluate = evaluate
        self.bar = bar
        self.tracker = tracker
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.loss_sum = torch.zeros(())
        """Sum of the losses of the steps of the current epoch."""
        self.epoch_began = 0
        self.next_reading = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Move the progress bar and, once a second, show the mean loss of the epoch so far."""
        note = self.bar.note
        if time.monotonic() >= self.next_reading:  # reading synchronizes with the device
            self.next_reading = time.monotonic() + 1
            note = f"loss {float(self.loss_sum) / (state.global_step - self.epoch_began):.3f}"
        self.bar.update(state.global_step, note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """The Trainer logs the mean training loss of an epoch at its end."""
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise not_finite(state.epoch)
        self.bar.update(state.global_step, f"loss {loss:.3f}")
        self.loss_sum, self.epoch_began = torch.zeros(()), state.global_step
        if self.tracker is not None:
            self.tracker.log("train", logs, state.global_step)
        if self.after_epoch(rest["model"], state.epoch, state.global_step, loss):
            control.should_training_stop = True

    def after_epoch(self, model: PreTrainedModel, epoch: float, step: int, loss: float | None) -> bool:
        """Evaluate the model and keep its weights if they are the best so far.

        Args:
            model: the model that is trained.
            epoch: passes over the training rows so far.
            step: number of the last step.
            loss: mean training loss since the last call; None in private training, which must not reveal it.

        Returns:
            Whether to stop, because `config.patience` epochs in a row were not the best.
        """
        was_training = model.training
        model.eval()
        metrics = self.evaluate()
        model.train(was_training)
        if self.tracker is not None:
            self.tracker.log("eval", metrics, step)
        epochs, value = self.history.epochs, metrics.get(self.metric)
        earlier = [each.eval for each in epochs if each.eval is not None]
        epochs.append(Epoch(round(epoch, 2), loss, value, metrics.get("loss")))
        if self.config.keep == "last":
            self.history.kept = len(epochs) - 1
        elif value is not None and all(value > previous for previous in earlier):
            self.history.kept = len(epochs) - 1
            self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        epochs_since = len(epochs) - 1 - self.history.kept
        return self.config.patience is not None and epochs_since >= self.config.patience

    def finish(self, model: PreTrainedModel) -> History:
        """Load the weights of the kept epoch into the model, and set it to evaluation mode."""
        if self.best is not None:
            model.load_state_dict(self.best)
        model.eval()
        return self.history


def not_finite(epoch: float) -> ElektronError:
    """The error for a loss that is infinite or NaN."""
    return ElektronError(
        f"the loss is non-finite after {epoch:.2g} epochs: a lower --learning-rate, or a longer --warmup, may help"
    )
