"""Loss spikes: steps whose loss is far above those before it.

A step is a spike if the loss of a network that is trained in it is more than `SIGMAS` standard deviations above the
mean of the last `WINDOW` losses of steps that updated the network. Losses and results stay on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMAS = 6.0
WINDOW = 100
# So many spikes in a row are a new level of the loss, as after a change of the data: more than one bad batch
# causes, and half of what rolls a run back.
NEW_LEVEL = 5
NETWORKS = 2


class LossSpikes:
    """The last losses of generator and discriminator."""

    def __init__(self, device: torch.device) -> None:
        self.losses = torch.zeros(NETWORKS, WINDOW, dtype=torch.float64, device=device)
        self.counts = torch.zeros(NETWORKS, dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros(NETWORKS, dtype=torch.int64, device=device)

    def detect(self, losses: Tensor, trained: Tensor) -> Tensor:
        """Which of the `losses` `(2,)` are spikes, among those that were `trained` `(2,)`.

        There are none before the window is filled. A non-finite loss is none.
        """
        mean = self.losses.mean(1)
        limit = mean + SIGMAS * self.losses.std(1, correction=0)
        filled = self.counts >= WINDOW
        return trained & filled & torch.isfinite(losses) & (losses > limit)

    def add(self, losses: Tensor, trained: Tensor, updated: Tensor, spikes: Tensor) -> None:
        """Add the losses of a step to the window, if it has `updated` the weights, `()`.

        Where a network's `spikes` `(2,)` continue, its window is cleared. Steps that do not train a network neither
        end nor continue its spikes.
        """
        taken = trained & updated & torch.isfinite(losses)
        here = torch.arange(WINDOW, device=losses.device) == (self.counts % WINDOW)[:, None]
        self.losses = torch.where(here & taken[:, None], losses[:, None], self.losses)
        self.counts += taken
        self.in_a_row = torch.where(trained, (self.in_a_row + 1) * spikes, self.in_a_row)
        lasting = self.in_a_row >= NEW_LEVEL
        self.counts.masked_fill_(lasting, 0)
        self.in_a_row.masked_fill_(lasting, 0)

    def reset(self) -> None:
        """Clear the window, where later losses are not comparable."""
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
