"""How many floating-point operations a training step costs, counted from sizes.

Only matrix products count, two operations for each multiplication and addition, as
`torch.utils.flop_counter` counts them and as the papers report compute:

    encoder = tokens · (2 · embedding · hidden  (where the widths differ)
                        + layers · (8 · hidden² + 4 · hidden · feed_forward + 4 · length · hidden))
    generator head = masked positions · (2 · hidden · embedding + 2 · embedding · vocabulary)
    discriminator head = tokens · (2 · hidden² + 2 · hidden)

A backward pass costs twice the forward pass. Normalisation, activations, attention's softmax,
embedding look-ups and the optimizer are left out. Attention is counted over the whole row, as
it is computed, though a packed row only uses the blocks on its diagonal.
"""

from __future__ import annotations

from elektron.models.pair import Pair, Sizes, sizes_of


def encoder_flops(sizes: Sizes, rows: int, length: int) -> int:
    """Forward pass of one encoder over `rows` rows of `length` tokens."""
    projection = 2 * sizes.embedding * sizes.hidden if sizes.embedding != sizes.hidden else 0
    layer = 8 * sizes.hidden**2 + 4 * sizes.hidden * sizes.feed_forward + 4 * length * sizes.hidden
    return rows * length * (projection + sizes.layers * layer)


def step_flops(pair: Pair, rows: int, length: int, slots: int) -> int:
    """Forward and backward passes of a joint replaced-token-detection step.

    Args:
        pair: the two networks.
        rows: rows in the step.
        length: tokens in a row.
        slots: mask slots in a row.
    """
    generator, discriminator = sizes_of(pair.generator.config), sizes_of(pair.discriminator.config)
    vocabulary = pair.generator.config.vocab_size
    generator_head = 2 * generator.embedding * (generator.hidden + vocabulary)
    discriminator_head = 2 * discriminator.hidden**2 + 2 * discriminator.hidden
    forward = (
        encoder_flops(generator, rows, length)
        + encoder_flops(discriminator, rows, length)
        + rows * slots * generator_head
        + rows * length * discriminator_head
    )
    return 3 * forward
