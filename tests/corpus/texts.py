"""Made-up text for tests that need more variety than the shared corpus has."""

import os
import random

SYLLABLES = ["ka", "lo", "mi", "ser", "tan", "du", "vel", "or", "ith", "gra"]


def make_text(documents: int, seed: int = 0) -> str:
    """Documents of a few lines, a blank line between them."""
    chooser = random.Random(seed)

    def word() -> str:
        return "".join(chooser.choices(SYLLABLES, k=chooser.randint(1, 4)))

    def line() -> str:
        return " ".join(word() for _ in range(chooser.randint(3, 25))) + "."

    return "\n\n".join(
        "\n".join(line() for _ in range(chooser.randint(1, 6))) for _ in range(documents)
    )


def die(texts: list[str], chunk: int) -> None:
    """What a worker does that is killed. It stands here, where a new process imports little."""
    os._exit(1)
