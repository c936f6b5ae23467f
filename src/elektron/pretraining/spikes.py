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
# So many in a row are no spike but a new level, as after a change of the data or of a weight. Half of what
# sends a run back that skips them.
LASTING = 5
NETWORKS = 2


class Spikes:
    """The last losses of generator and discriminator."""

    def __init__(self, device: torch.device) -> None:
        self.losses = torch.zeros(NETWORKS, WINDOW, dtype=torch.float64, device=device)
        self.counts = torch.zeros(NETWORKS, dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)

    def found(self, losses: Tensor, asked: Tensor) -> Tensor:
        """Whether one of the `losses` `(2,)` is a spike, of those that were `asked` for `(2,)`.

        None is before the window has been filled, and what is no finite number is none.
        """
        mean = self.losses.mean(1)
        limit = mean + SIGMAS * self.losses.std(1, correction=0)
        filled = self.counts >= WINDOW
        return (asked & filled & torch.isfinite(losses) & (losses > limit)).any()

    def take(self, losses: Tensor, asked: Tensor, moved: Tensor, spike: Tensor) -> None:
        """Remember the losses of a step, if it has `moved` the weights; it is true or false, `()`.

        Of spikes that do not end, the last empties the window.
        """
        taken = asked & moved & torch.isfinite(losses)
        here = torch.arange(WINDOW, device=losses.device) == (self.counts % WINDOW)[:, None]
        self.losses = torch.where(here & taken[:, None], losses[:, None], self.losses)
        self.counts += taken
        self.in_a_row = torch.where(spike, self.in_a_row + 1, 0)
        self.counts *= self.in_a_row < LASTING

    def forget(self) -> None:
        """Begin anew, where losses mean something else from now on."""
        self.counts.zero_()

    def state(self) -> Tensor:
        """`(2, 2 + WINDOW)`: spikes in a row, counts and losses, for a checkpoint."""
        in_a_row = self.in_a_row.double().expand(NETWORKS, 1)
        return torch.cat([in_a_row, self.counts[:, None].double(), self.losses], 1)

    def take_over(self, state: Tensor) -> None:
        """Go on with a state."""
        self.in_a_row.copy_(state[0, 0].long())
        self.counts.copy_(state[:, 1].long())
        self.losses.copy_(state[:, 2:])
