"""Adapt released networks to another vocabulary, to more positions or to another dropout.

Tokens that both tokenizers have keep their embeddings; a new one starts from the mean of the embeddings of the pieces
that the old tokenizer splits it into. Learned positions are interpolated, rotary ones get a larger base (NTK-aware
scaling), and relative ones of `deberta-v2` keep their buckets, the last of which is used for all farther tokens.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers.models import BPE
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.corpus.tokenizer import NEEDED, special_ids
from elektron.corpus.vocabulary import CONTINUATION, in_wordpiece_form
from elektron.errors import ElektronError
from elektron.models.families import set_dropout
from elektron.models.packed import first_position

log = logging.getLogger(__name__)

POSITIONS = "position_embeddings.weight"
OUTPUT_BIASES = ("predictions.bias", "lm_head.bias")
"""Ends of the names of output biases. Untied heads have a second one, which belongs to the output layer."""
MAX_PADDING_ID = 100
"""Maximum padding token id in families whose positions start after it: the position embeddings before stay unused."""


@dataclass(frozen=True)
class VocabularyChange:
    """How the embeddings of a new vocabulary are initialised from the old ones."""

    pieces: list[list[int]]
    """For each new id, the old ids whose mean embedding it starts from; if empty, the mean of all is taken."""
    special_ids: dict[str, int]
    """New ids of `pad`, `unk`, `cls`, `sep` and `mask`."""

    @classmethod
    def between(cls, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> VocabularyChange:
        """The change from a checkpoint's tokenizer to another one."""
        old_texts, new_texts = token_texts(old), token_texts(new)
        old_ids = {text: token_id for token_id, text in old_texts.items()}
        old_vocabulary = old.get_vocab()
        pieces: list[list[int]] = [[] for _ in range(max(new.get_vocab().values()) + 1)]
        split: dict[int, str] = {}
        for token, token_id in new.get_vocab().items():
            text = new_texts.get(token_id)
            if text in old_ids:
                pieces[token_id] = [old_ids[text]]
            elif text is not None:
                split[token_id] = text
            elif token in old_vocabulary:
                pieces[token_id] = [old_vocabulary[token]]
        for kind in NEEDED:
            pieces[special_ids(new)[kind]] = [special_ids(old)[kind]]
        kept = sum(map(bool, pieces))
        space = " " if isinstance(old.backend_tokenizer.model, BPE) else ""
        texts = [t.removeprefix(CONTINUATION) if t.startswith(CONTINUATION) else space + t for t in split.values()]
        encoded = old(texts, add_special_tokens=False)["input_ids"] if texts else []
        for (token_id, text), ids in zip(split.items(), encoded, strict=True):
            # Without unknown tokens, and without prefixes that have no text.
            pieces[token_id] = [i for i in ids if old_texts.get(i, "").removeprefix(CONTINUATION)]
            if pieces[token_id] and text.startswith(CONTINUATION):
                # The text was encoded as the start of a word: take the token that continues one, if there is one.
                first = pieces[token_id][0]
                continued = CONTINUATION + old_texts[first].removeprefix(CONTINUATION)
                pieces[token_id][0] = old_ids.get(continued, first)
        empty = sum(not ids for ids in pieces)
        log.info(
            f"vocabulary of {len(pieces):,} tokens: {kept:,} keep their embedding, {len(pieces) - kept - empty:,} "
            f"start from the mean of their pieces, {empty:,} from the mean of all embeddings"
        )
        return cls(pieces, special_ids(new))

    def applied(self, table: Tensor) -> Tensor:
        """Convert an embedding table or a bias from `(old vocabulary, …)` to `(new vocabulary, …)`."""
        rows = table.detach().reshape(len(table), -1)
        rows = torch.cat([rows, rows.mean(0, keepdim=True)])
        # A tokenizer can have more tokens than its checkpoint has embeddings.
        pieces = [[i for i in ids if i < len(table)] or [len(table)] for ids in self.pieces]
        flat = torch.tensor([token_id for ids in pieces for token_id in ids])
        starts = torch.tensor([0, *(len(ids) for ids in pieces[:-1])]).cumsum(0)
        means = F.embedding_bag(flat, rows, starts, mode="mean")
        return means.reshape(-1, *table.shape[1:])


def token_texts(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Map the id of each token that is not special to its text as WordPiece writes it, `##ing` within a word."""
    special, texts = set(tokenizer.all_special_tokens), {}
    for token, token_id in tokenizer.get_vocab().items():
        if token not in special:
            text = in_wordpiece_form(token, tokenizer.backend_tokenizer)
            # Tokens whose bytes are not valid UTF-8 on their own keep the symbols of byte-level BPE.
            if "\ufffd" in text:
                text = CONTINUATION + token if text.startswith(CONTINUATION) else token
            texts[token_id] = text
    return texts


def adapted(
    network: PreTrainedModel, length: int, vocabulary: VocabularyChange | None = None, dropout: float | None = None
) -> PreTrainedModel:
    """A copy of a network with at least `length` positions and the given vocabulary and dropout; itself if it fits.

    Raises:
        ElektronError: the family needs a padding token with another id.
    """
    config = copy.deepcopy(network.config)
    state: dict[str, Tensor] = network.state_dict(keep_vars=True)
    old_first = first_position(config)
    positions = config.max_position_embeddings - old_first
    if vocabulary is None and length <= positions and dropout is None:
        return network
    if dropout is not None:
        set_dropout(config, dropout)
    if vocabulary is not None:
        change_vocabulary(network, config, state, vocabulary)
    first = first_position(config)
    config.max_position_embeddings = first + max(positions, length)
    for name in [name for name in state if name.endswith(POSITIONS)]:
        table = state[name].detach()
        rows = interpolated(table[old_first:], max(positions, length))
        state[name] = torch.cat([table[:1].expand(first, -1), rows])
    if length > positions:
        stretch(config, length / positions)
    changed = type(network)(config)
    changed.load_state_dict(state)
    changed.tie_weights()
    return changed


def change_vocabulary(
    network: PreTrainedModel, config: Any, state: dict[str, Tensor], vocabulary: VocabularyChange
) -> None:
    """Convert the tensors of `state` that have a row for each token, and the token ids in `config`."""
    padding = vocabulary.special_ids["pad"]
    if config.model_type == "mpnet" and padding != 1:
        raise ElektronError(f"mpnet needs a tokenizer whose padding token has the id 1, but this one's is {padding}")
    if first_position(config) and padding > MAX_PADDING_ID:
        raise ElektronError(
            f"{config.model_type} numbers positions from the padding token's id, which is {padding} in this "
            f"tokenizer: use one whose padding token has an id of at most {MAX_PADDING_ID}"
        )
    output = network.get_output_embeddings()
    rows = {network.get_input_embeddings().weight, *(output.parameters(recurse=False) if output is not None else ())}
    for name, tensor in state.items():
        if tensor in rows or name.endswith(OUTPUT_BIASES):
            state[name] = vocabulary.applied(tensor)
    config.vocab_size = len(vocabulary.pieces)
    for name, kind in (
        ("pad", "pad"), ("cls", "cls"), ("sep", "sep"), ("bos", "cls"), ("eos", "sep"),
    ):  # fmt: skip
        if getattr(config, f"{name}_token_id", None) is not None:
            setattr(config, f"{name}_token_id", vocabulary.special_ids[kind])


def interpolated(rows: Tensor, length: int) -> Tensor:
    """Interpolate position embeddings `(old length, width)` to `(length, width)`; the first and last stay the same."""
    if length == len(rows):
        return rows
    stretched = F.interpolate(rows.T[None], size=length, mode="linear", align_corners=True)
    return stretched[0].T


def stretch(config: Any, factor: float) -> None:
    """Adjust the rotary base or the range of relative positions in a configuration to `factor` times the length."""
    width = config.hidden_size // config.num_attention_heads
    grown = factor ** (width / (width - 2)) if width > 2 else factor
    if hasattr(config, "rope_theta"):
        config.rope_theta *= grown
    elif getattr(config, "rope_parameters", None):
        config.rope_parameters["full_attention"]["rope_theta"] *= grown
    elif getattr(config, "max_relative_positions", 1) < 1:
        config.max_relative_positions = round(config.max_position_embeddings / factor)


def kind_of_positions(network: PreTrainedModel) -> str:
    """A phrase for the log that says how a network's positions are extended."""
    if any(name.endswith(POSITIONS) for name in network.state_dict()):
        return "learned position embeddings are interpolated"
    if hasattr(network.config, "rope_theta") or hasattr(network.config, "rope_parameters"):
        return "the base of the rotary embeddings is increased"
    return "relative-position buckets are unchanged"
