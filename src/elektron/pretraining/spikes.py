"""Steps whose loss lies far above those before it.

A step is a spike where the loss of a network that learns in it is more than `SIGMAS` standard deviations
above the mean of the last `WINDOW` losses of steps that have moved that network. The losses stay on the device,
and so does the answer: nothing waits for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMAS = 6.0
WINDOW = 100
# So many in a row are no spikes but a new level, as after a change of the data or of a weight: enough that one
# bad batch is none, and half of what sends a run back, so that coming to it does not.
LASTING = 5
NETWORKS = 2


class Spikes:
    """The last losses of generator and discriminator."""

    def __init__(self, device: torch.device) -> None:
        self.losses = torch.zeros(NETWORKS, WINDOW, dtype=torch.float64, device=device)
        self.counts = torch.zeros(NETWORKS, dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros(NETWORKS, dtype=torch.int64, device=device)

    def found(self, losses: Tensor, asked: Tensor) -> Tensor:
        """Which of the `losses` `(2,)` are spikes, of those that were `asked` for `(2,)`.

        None is before the window has been filled, and what is no finite number is none.
        """
        mean = self.losses.mean(1)
        limit = mean + SIGMAS * self.losses.std(1, correction=0)
        filled = self.counts >= WINDOW
        return asked & filled & torch.isfinite(losses) & (losses > limit)

    def take(self, losses: Tensor, asked: Tensor, moved: Tensor, spikes: Tensor) -> None:
        """Remember the losses of a step, if it has `moved` the weights; it is true or false, `()`.

        Where a network's `spikes` `(2,)` do not end, its window begins anew. Steps that are another's turn neither
        end nor prolong them.
        """
        taken = asked & moved & torch.isfinite(losses)
        here = torch.arange(WINDOW, device=losses.device) == (self.counts % WINDOW)[:, None]
        self.losses = torch.where(here & taken[:, None], losses[:, None], self.losses)
        self.counts += taken
        self.in_a_row = torch.where(asked, (self.in_a_row + 1) * spikes, self.in_a_row)
        lasting = self.in_a_row >= LASTING
        self.counts.masked_fill_(lasting, 0)
        self.in_a_row.masked_fill_(lasting, 0)

    def forget(self) -> None:
        """Begin anew, where losses mean something else from now on."""
        self.counts.zero_()
        self.in_a_row.zero_()

    def state(self) -> Tensor:
        """`(2, 2 + WINDOW)`: spikes in a row, counts and losses, for a checkpoint."""
        return torch.cat([torch.stack([self.in_a_row, self.counts], 1).double(), self.losses], 1)

    def take_over(self, state: Tensor) -> None:
        """Go on with a state."""
        self.in_a_row.copy_(state[:, 0].long())
        self.counts.copy_(state[:, 1].long())
        self.losses.copy_(state[:, 2:])
