"""Recovery: detecting loss spikes, and runs that have diverged.

A step is a spike if the loss of a network that is trained in it is more than `SIGMAS` standard deviations above the
mean of the last `WINDOW` losses of steps that updated the network. Steps with non-finite gradients, and spikes under
`optimizer.skip_spikes`, are skipped. After too many of them, `Trainer.roll_back` returns to the last checkpoint and
skips the rows since (`MAX_SKIPPED_STEPS`, `MAX_ROLLBACKS`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from elektron.pretraining.schedules import Progress

SIGMAS = 6.0
WINDOW = 100
# This many spikes in a row are treated as a new level of the loss, as after a change of the data: it is more than one
# bad batch causes, and half of the number of skipped steps after which a run rolls back.
MAX_CONSECUTIVE_SPIKES = 5
MAX_SKIPPED_STEPS = 10
"""After more skipped steps than this, with some in every line of training metrics, the run rolls back."""
MAX_ROLLBACKS = 2
"""Maximum number of consecutive rollbacks; a checkpoint after the step of the last rollback restarts the count."""


def has_diverged(progress: Progress, complete: bool) -> bool:
    """Whether more than MAX_SKIPPED_STEPS steps were skipped, with some in every line of metrics since the first.

    If the run is `complete`, also whether all steps since the start of the run, of its stage, or since the last
    rollback were skipped.
    """
    began = max(progress.stage_step, *(step for step, _ in progress.skipped_rows), 0)
    never_updated = complete and progress.skipped >= progress.step - began
    return progress.skipped > MAX_SKIPPED_STEPS or never_updated


class LossSpikes:
    """Detects loss spikes of generator and discriminator from their last losses."""

    def __init__(self, device: torch.device) -> None:
        self.losses = torch.zeros(2, WINDOW, dtype=torch.float64, device=device)
        self.counts = torch.zeros(2, dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros(2, dtype=torch.int64, device=device)

    def detect(self, losses: Tensor, trained: Tensor) -> Tensor:
        """Which of the `losses` `(2,)` are spikes, among those of networks that were `trained` `(2,)`.

        A loss is no spike if it is non-finite or if the window is not full yet.
        """
        mean = self.losses.mean(1)
        limit = mean + SIGMAS * self.losses.std(1, correction=0)
        filled = self.counts >= WINDOW
        return trained & filled & torch.isfinite(losses) & (losses > limit)

    def add(self, losses: Tensor, trained: Tensor, updated: Tensor, spikes: Tensor) -> None:
        """Add the losses of a step to the window, if it has `updated` the weights, `()`.

        MAX_CONSECUTIVE_SPIKES `spikes` `(2,)` of a network in a row clear its window. Steps that do not train a
        network neither interrupt nor continue the sequence.
        """
        added = trained & updated & torch.isfinite(losses)
        position = torch.arange(WINDOW, device=losses.device) == (self.counts % WINDOW)[:, None]
        self.losses = torch.where(position & added[:, None], losses[:, None], self.losses)
        self.counts += added
        self.in_a_row = torch.where(trained, (self.in_a_row + 1) * spikes, self.in_a_row)
        lasting = self.in_a_row >= MAX_CONSECUTIVE_SPIKES
        self.counts.masked_fill_(lasting, 0)
        self.in_a_row.masked_fill_(lasting, 0)

    def reset(self) -> None:
        """Clear the window, since later losses will not be comparable with it."""
        self.counts.zero_()
        self.in_a_row.zero_()

    def state(self) -> Tensor:
        """`(2, 2 + WINDOW)`: spikes in a row, counts and losses, for a checkpoint."""
        return torch.cat([torch.stack([self.in_a_row, self.counts], 1).double(), self.losses], 1)

    def load_state(self, state: Tensor) -> None:
        """Restore the state of a checkpoint."""
        self.in_a_row.copy_(state[:, 0].long())
        self.counts.copy_(state[:, 1].long())
        self.losses.copy_(state[:, 2:])
