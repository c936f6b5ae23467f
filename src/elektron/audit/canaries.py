"""Canaries: random secrets in a corpus, and how a model ranks them among random candidates (Carlini et al. 2019).

If a model knows nothing of a secret, all ranks of its score among the scores of random candidates are equally likely.
`rank / (candidates + 1)` is therefore a p-value, whatever the score is. The exposure is the negative base-2 logarithm
of this p-value: 1.4 bits on average by chance.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import random
import secrets as system_random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from elektron.audit.config import CanariesConfig
from elektron.errors import ElektronError
from elektron.inference.minimal_pairs import Sentence
from elektron.io.files import from_json, read_json, to_json
from elektron.io.folders import atomic_folder

log = logging.getLogger(__name__)

TEXT = "canaries.txt"
SECRETS = "secrets.json"
ALPHABETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
"""`Secret.with_other` replaces each character by a random one of its alphabet; other characters stay."""


@dataclass(frozen=True)
class Secret:
    """A sentence of the corpus with a random part."""

    text: str
    """The sentence as the model has read it."""
    secret: str
    """Its random part."""
    copies: int | None = None
    """How often it was planted, if that is known."""

    def __post_init__(self) -> None:
        if self.secret not in self.text:
            raise ValueError("text does not contain secret")
        if not set(self.secret) & set("".join(ALPHABETS)):
            raise ValueError("secret has neither digits nor letters from a to z")

    @property
    def start(self) -> int:
        """Index of the first character of the random part in `text`."""
        return self.text.rindex(self.secret)

    def with_other(self, rng: random.Random) -> str:
        """The sentence with another random part."""
        other = "".join(
            next((rng.choice(letters) for letters in ALPHABETS if character in letters), character)
            for character in self.secret
        )
        return self.text[: self.start] + other + self.text[self.start + len(self.secret) :]


def make_canaries(config: CanariesConfig) -> list[Secret]:
    """Write the sentences to plant and the file of secrets for `elektron audit`; returns the secrets.

    Each copy is a document that begins with its own number, since `elektron prepare` drops exact duplicates.

    Raises:
        ElektronError: the template or the numbers of copies are invalid, or the folder is not empty.
    """
    if "#" not in config.template:
        raise ElektronError(f"--template {config.template!r} needs at least one #, which becomes a random digit")
    secret = config.template[config.template.index("#") : config.template.rindex("#")]
    if any(character.isalnum() or character == "@" for character in secret):
        raise ElektronError(
            f"--template {config.template!r}: between the first and the last # may be spaces and marks only, since all "
            "of it is the secret"
        )
    if not any(config.copies) or min(config.copies) < 0:
        raise ElektronError("--copies must be numbers of 0 or more, with one above 0")
    made = [canary(config.template, copies) for copies in config.copies for _ in range(config.secrets)]
    documents = [
        f"{number}. {secret.text.partition('. ')[2]}"
        for secret in made
        for number in range(1, (secret.copies or 0) + 1)
    ]
    random.Random(0).shuffle(documents)
    with atomic_folder(config.out) as folder:
        (folder / TEXT).write_text("\n\n".join(documents) + "\n", encoding="utf-8")
        content = {"secrets": [dataclasses.asdict(secret) for secret in made]}
        (folder / SECRETS).write_text(to_json(content, indent=1) + "\n", encoding="utf-8")
    log.info(
        "%d secrets in %d documents: elektron prepare CORPUS %s --tokenizer TOKENIZER --out blocks, and after "
        "pre-training elektron audit run --canaries %s",
        *(len(made), len(documents), config.out / TEXT, config.out),
    )
    return made


def canary(template: str, copies: int) -> Secret:
    """Fill the template with digits from the system's random generator; the text is that of the first copy."""
    text = "".join(str(system_random.randbelow(10)) if character in "@#" else character for character in template)
    first, last = template.index("#"), template.rindex("#")
    return Secret(f"1. {text}", text[first : last + 1], copies)


def read_secrets(path: Path) -> list[Secret]:
    """Read secrets from a folder that `elektron canaries` wrote, or from a JSON file of the same format.

    Raises:
        ElektronError: the file is missing, is malformed, or has no secrets.
    """
    path = path / SECRETS if path.is_dir() else path
    if not path.is_file():
        raise ElektronError(f"{path}: no such file: `elektron canaries` writes it")
    try:
        secrets: list[Secret] = from_json(read_json(path).get("secrets"), list[Secret], "secrets")
    except (OSError, ValueError) as error:
        raise ElektronError(
            f"{path}: {error}: it must have secrets, a list of objects with text, secret and copies"
        ) from error
    if not secrets:
        raise ElektronError(f"{path}: no secrets")
    return secrets


def as_sentence(text: str, secret: Secret, tokenizer: PreTrainedTokenizerBase) -> Sentence:
    """Tokenize a sentence; only the tokens of its random part are scored.

    Raises:
        ElektronError: a token of the random part is [UNK].
    """
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, end = encoded["input_ids"], secret.start + len(secret.secret)
    scored = tuple(a < end and b > secret.start for a, b in encoded["offset_mapping"])
    if tokenizer.unk_token_id in [id_ for id_, inside in zip(ids, scored, strict=True) if inside]:
        raise ElektronError("the tokenizer replaces secrets by [UNK]: use characters of its vocabulary")
    return Sentence(tuple(ids), scored)


def rank(score: float, of_candidates: Sequence[float]) -> int:
    """Rank of a secret's score, 1 for the highest; candidates with the same score rank above the secret."""
    return 1 + sum(other >= score for other in of_candidates)


def exposure(place: int, candidates: int) -> float:
    """Exposure in bits of a secret with this rank: how much easier it is to guess than by chance."""
    return math.log2((candidates + 1) / place)
