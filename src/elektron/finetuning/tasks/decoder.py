"""A pretrained encoder with a new Transformer decoder that attends to it.

Both are transformers' own: an `EncoderDecoderModel` whose decoder is `ElectraForCausalLM`, as wide
as the encoder. The decoder's output matrix is its embedding. The embedding of a piece that is in the
encoder's vocabulary too starts from the encoder's, also where that is random: words to be copied then
have similar vectors on both sides from the beginning.
"""

from __future__ import annotations

import logging
import warnings

import torch
from transformers import ElectraConfig, EncoderDecoderConfig, EncoderDecoderModel, PreTrainedTokenizerBase

from elektron.finetuning.encoders import Encoder
from elektron.finetuning.tasks.target_vocabulary import end_token_id, shared_pieces, start_token_id
from elektron.models.attention import use_fast_attention

log = logging.getLogger(__name__)

# A note on checkpoints of 2021 that EncoderDecoderModel repeats at every loss.
warnings.filterwarnings("ignore", message="Version v4.12.0 introduces a better way to train")


def new_encoder_decoder(
    encoder: Encoder, target_tokenizer: PreTrainedTokenizerBase, layers: int, positions: int, dropout: float | None
) -> EncoderDecoderModel:
    """The encoder with a decoder of `layers` layers for outputs of up to `positions` tokens.

    `dropout` is for both; None leaves the encoder's unchanged and gives the decoder 0.1.
    """
    width = encoder.config.hidden_size
    decoder = ElectraConfig(
        vocab_size=len(target_tokenizer),
        embedding_size=getattr(encoder.config, "embedding_size", None) or width,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=encoder.config.num_attention_heads,
        intermediate_size=getattr(encoder.config, "intermediate_size", None) or 4 * width,
        max_position_embeddings=positions,
        type_vocab_size=1,
        hidden_dropout_prob=0.1 if dropout is None else dropout,
        attention_probs_dropout_prob=0.1 if dropout is None else dropout,
        pad_token_id=target_tokenizer.pad_token_id,
        bos_token_id=start_token_id(target_tokenizer),
        eos_token_id=end_token_id(target_tokenizer),
        is_decoder=True,
        add_cross_attention=True,
    )
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        encoder.config_for({}, dropout),
        decoder,
        decoder_start_token_id=decoder.bos_token_id,
        eos_token_id=decoder.eos_token_id,
        pad_token_id=decoder.pad_token_id,
    )
    config.vocab_size = decoder.vocab_size
    model = EncoderDecoderModel(config)
    encoder.load_into(model.encoder)
    start_from_encoder(model, target_tokenizer, encoder.tokenizer)
    use_fast_attention(model)
    return model


@torch.no_grad()
def start_from_encoder(
    model: EncoderDecoderModel, target_tokenizer: PreTrainedTokenizerBase, source_tokenizer: PreTrainedTokenizerBase
) -> int:
    """Copy the embeddings of shared pieces into the decoder; the number of pieces.

    They are scaled to the size of the decoder's own: embeddings are normalized in all of these models,
    so that only their direction matters.
    """
    theirs = model.encoder.get_input_embeddings().weight
    ours = model.decoder.get_input_embeddings().weight
    shared = shared_pieces(target_tokenizer, source_tokenizer)
    if not shared or theirs.shape[1] != ours.shape[1]:
        return 0
    here, there = torch.tensor(list(shared)), torch.tensor(list(shared.values()))
    vectors = theirs[there]
    size = model.config.decoder.initializer_range
    ours[here] = vectors * (size / vectors.square().mean().sqrt())
    log.info("%d of %d embeddings of the output start from the encoder's", len(shared), len(ours))
    return len(shared)
