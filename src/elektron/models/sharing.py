"""Weight sharing between the generator and the discriminator.

`none`: nothing. `tokens`: the token embeddings. `embeddings`, the paper's choice: all embeddings (for `electra` also
positions, types and their norm; `elektron` has token embeddings only). `all`: the whole encoder; only the heads differ.
`gdes`, gradient-disentangled embedding sharing (DeBERTaV3, He et al. 2021b): the discriminator reads

    E_D = stop_gradient(E_G) + Δ,    Δ = 0 at first.

Replaced-token detection and language modelling give token embeddings conflicting gradients. With `gdes` the
discriminator uses the generator's embeddings, and its gradient updates Δ alone. The exported table is E_G + Δ.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedModel

Sharing = Literal["none", "tokens", "embeddings", "gdes", "all"]


class GdesEmbedding(nn.Embedding):
    """Token embeddings that add their own `weight` (Δ) to the detached weight of another embedding."""

    def __init__(self, base: nn.Embedding) -> None:
        super().__init__(base.num_embeddings, base.embedding_dim, base.padding_idx)
        nn.init.zeros_(self.weight)
        self._base = (base,)  # in a tuple, so that the generator's module is not registered as a submodule

    def forward(self, input: Tensor) -> Tensor:
        """`(…)` token ids to `(…, width)`."""
        base = F.embedding(input, self._base[0].weight.detach(), self.padding_idx)
        return base + super().forward(input)

    @torch.no_grad()
    def merged(self) -> Tensor:
        """`(vocabulary, width)`: the sum of both tables."""
        return self._base[0].weight + self.weight


def share(generator: PreTrainedModel, discriminator: PreTrainedModel, sharing: Sharing, released: bool = False) -> None:
    """Share weights as `sharing` says, and tie the generator's output matrix to its token embeddings.

    For a `released` discriminator, Δ of GDES starts as the difference of the two tables instead of 0.
    """
    match sharing:
        case "none":
            pass
        case "tokens":
            generator.set_input_embeddings(discriminator.get_input_embeddings())
        case "embeddings":
            generator.base_model.embeddings = discriminator.base_model.embeddings
        case "gdes":
            embeddings = discriminator.get_input_embeddings().weight.detach()
            disentangled = GdesEmbedding(generator.get_input_embeddings())
            if released:
                disentangled.weight.data = embeddings - disentangled.merged()  # Δ was 0
            discriminator.set_input_embeddings(disentangled)
        case "all":
            setattr(generator, generator.base_model_prefix, discriminator.base_model)
    generator.tie_weights()
