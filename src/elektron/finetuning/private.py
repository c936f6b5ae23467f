"""Differentially private training: DP-SGD (Abadi et al. 2016) with components of opacus.

A step draws each training row with the same probability (Poisson sampling), clips the gradient of each row, adds
noise to the sum of the gradients, and passes the result to the optimizer. The PRV accountant (Gopi et al. 2021)
computes the noise multiplier from the privacy budget, which all training runs of a command share. The generators of
noise and sampling are seeded by the operating system and not by `seed`, which is written to `config.yaml`: anyone who
can reproduce the noise can subtract it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from elektron.accelerator import Accelerator
from elektron.errors import ElektronError, requires_extra
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.inputs import IGNORED_LABEL, Batch, Feature
from elektron.finetuning.optimizer import make_optimizer
from elektron.finetuning.tasks.base import Task
from elektron.finetuning.training import History, Monitor, not_finite
from elektron.progress import Progress
from elektron.tracking import Tracker

ACCOUNTANT = "prv"
TOLERANCE = 0.01
"""Fraction of epsilon that may be left unused."""


@dataclass(frozen=True)
class Privacy:
    """A privacy budget and the parameters that keep it. Neighbouring data sets differ by one added or removed row."""

    epsilon: float
    """Spent by all training runs together; at most `FinetuneConfig.epsilon`."""
    delta: float
    noise_multiplier: float
    """Standard deviation of the noise on a sum of gradients, relative to `max_grad_norm`."""
    max_grad_norm: float
    sample_rate: float
    """Probability that a row is drawn for a step."""
    steps: int
    """Steps of one training run."""
    trainings: int
    accountant: str = ACCOUNTANT


def calibrate_noise(config: FinetuneConfig, rows: int, trainings: int = 1) -> Privacy:
    """Compute the noise multiplier for the privacy budget of a configuration.

    Args:
        config: a resolved configuration with `private`.
        rows: number of training rows.
        trainings: number of training runs with these settings that share the budget.

    Raises:
        ElektronError: opacus is not installed, `delta` is too large, or no noise is enough for the budget.
    """
    assert config.epsilon and config.delta and config.epochs  # for mypy: resolved
    assert config.batch_size and config.max_grad_norm
    with requires_extra("privacy", "--private"):
        from opacus.accountants import create_accountant
        from opacus.accountants.utils import get_noise_multiplier
    if config.delta >= 1 / rows:
        raise ElektronError(
            f"--delta {config.delta:g} would allow one of the {rows} rows to be revealed: it must be below 1/{rows}"
        )
    sample_rate = min(1.0, config.batch_size / rows)
    steps = max(1, round(config.epochs / sample_rate))
    with warnings.catch_warnings():
        # The PRV accountant takes a first estimate from the RDP accountant, whose tightness does not matter.
        warnings.filterwarnings("ignore", "Optimal order", module="opacus")
        try:
            noise = get_noise_multiplier(
                target_epsilon=config.epsilon,
                target_delta=config.delta,
                sample_rate=sample_rate,
                steps=steps * trainings,
                accountant=ACCOUNTANT,
                epsilon_tolerance=TOLERANCE * config.epsilon,
            )
        except (ValueError, RuntimeError) as error:  # RuntimeError comes from the PRV accountant
            raise ElektronError(f"--epsilon {config.epsilon:g}: {error}") from error
        accountant = create_accountant(ACCOUNTANT)
        accountant.history = [(noise, sample_rate, steps * trainings)]
        spent = float(accountant.get_epsilon(config.delta))
    return Privacy(spent, config.delta, noise, config.max_grad_norm, sample_rate, steps, trainings)


def first_of_each_row(features: Sequence[Feature]) -> list[Feature]:
    """The first feature of each record, because a row with several windows would count several times."""
    return list({feature["record"]: feature for feature in reversed(features)}.values())[::-1]


def train_privately(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    features: Sequence[Feature],
    config: FinetuneConfig,
    evaluate: Callable[[], dict[str, float]],
    title: str,
    tracker: Tracker | None = None,
    *,
    privacy: Privacy,
) -> History:
    """Train `model` in place, except its token embeddings.

    These have so many parameters that the gradients of a few rows would fill the memory, and a row uses few of them.

    Arguments, result and errors are those of `train`, except that there is no `seed`, that `features` has one feature
    for each row, and that `privacy` is the result of `calibrate_noise` for this number of rows.
    """
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    assert config.micro_batch_size is not None
    accelerator = Accelerator.choose(config.precision)
    embeddings = model.get_input_embeddings().requires_grad_(False)
    network = GradSampleModule(model, loss_reduction="sum")
    base = make_optimizer(model, config)
    optimizer = DPOptimizer(
        base,
        noise_multiplier=privacy.noise_multiplier,
        max_grad_norm=privacy.max_grad_norm,
        expected_batch_size=privacy.sample_rate * len(features),
        generator=system_seeded_generator(accelerator.device),
    )
    schedule = get_linear_schedule_with_warmup(base, round(config.warmup * privacy.steps), privacy.steps)
    sampler = UniformWithReplacementSampler(
        num_samples=len(features),
        sample_rate=privacy.sample_rate,
        generator=system_seeded_generator(torch.device("cpu")),
        steps=privacy.steps,
    )
    steps_in_epoch = round(1 / privacy.sample_rate)
    with Progress(title, privacy.steps, "steps") as bar, warnings.catch_warnings():
        # The input of embeddings is token ids, which have no gradient.
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        monitor = Monitor(config, task.metric, evaluate, bar, tracker)
        model.train()
        for step, rows in enumerate(sampler, start=1):
            rows.sort(key=lambda row: task.size(features[row]))
            micro_batches = list(torch.tensor(rows).split(config.micro_batch_size))
            for number, micro_batch in enumerate(micro_batches, start=1):
                if len(micro_batch):
                    batch = task.collate([features[row] for row in micro_batch.tolist()], tokenizer)
                    batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
                    losses = row_losses(model, batch, config.label_smoothing or 0.0)
                    if not losses.isfinite().all():
                        raise not_finite(step * privacy.sample_rate)
                    losses.sum().backward()
                else:  # no row was drawn: the step consists of noise alone
                    for parameter in optimizer.params:
                        parameter.grad_sample = parameter.new_empty(0, *parameter.shape)
                optimizer.signal_skip_step(number < len(micro_batches))
                optimizer.step()
                optimizer.zero_grad()
            schedule.step()
            bar.update(step)
            epoch_ends = step % steps_in_epoch == 0 or step == privacy.steps
            if epoch_ends and monitor.after_epoch(model, step * privacy.sample_rate, step, loss=None):
                break
    network.remove_hooks()
    embeddings.requires_grad_(True)
    return monitor.finish(model)


def row_losses(model: PreTrainedModel, batch: Batch, smoothing: float) -> Tensor:
    """The loss of each row as if it were alone in its batch: `(rows,)`.

    A mean over the batch's tokens would let one row change the gradients of others.
    """
    labels, ids = batch["labels"], batch["input_ids"]
    # One row of positions per input: a tensor that is broadcast over the batch has no per-row gradients.
    positions = torch.arange(ids.shape[1], device=ids.device).repeat(len(ids), 1)
    inputs = {"token_type_ids": torch.zeros_like(ids), "position_ids": positions} | batch
    logits = model(**{name: inputs[name] for name in inputs if name != "labels"}).logits
    problem_type = model.config.problem_type
    if problem_type == "regression":
        return F.mse_loss(logits.squeeze(-1), labels, reduction="none")
    if problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1)
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none", label_smoothing=smoothing)
    return losses.sum(-1) / (labels != IGNORED_LABEL).sum(-1).clamp(min=1)


def system_seeded_generator(device: torch.device) -> torch.Generator:
    """A generator seeded by the operating system."""
    generator = torch.Generator(device)
    generator.seed()
    return generator
