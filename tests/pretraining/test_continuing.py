"""Runs that continue from a released encoder: generators, other tokenizers, longer rows, rejected options."""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    PreTrainedTokenizerBase,
    RobertaModel,
)

from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import load_tokenizer, train_tokenizer
from elektron.errors import ElektronError
from elektron.models.families import FAMILIES, RELEASED_FAMILIES
from elektron.models.loading import load_network
from elektron.pretraining.batches import BatchMaker
from elektron.pretraining.config import NetworkConfig, OptimizerConfig, PlanOptions, PretrainConfig, resolve
from elektron.pretraining.distributed import World
from elektron.pretraining.objectives.base import packed_positions
from elektron.pretraining.pretrain import pretrain
from elektron.pretraining.setup import continued_networks, pair_for, with_released_sizes
from elektron.pretraining.start_and_end import start_and_end
from elektron.terminal import output_enabled
from tests.conftest import prepare_blocks
from tests.host_sync import NoHostSync
from tests.models.test_adaptation import byte_level
from tests.models.test_released import make
from tests.pretraining.conftest import killed_before, steps_inside, tiny_config

KIN = [name for name in RELEASED_FAMILIES if name not in FAMILIES]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
STILL = OptimizerConfig(learning_rate=1e-12, muon_learning_rate=1e-12)


@pytest.fixture(scope="module")
def bert(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`BertForMaskedLM` with the tokenizer of the blocks."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = load_tokenizer(str(tokenizer_folder))
    torch.manual_seed(2)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def continued(data: Path, out: Path, start: Path | str, **changes: Any) -> dict[str, Any]:
    settings = {"network": NetworkConfig(), "steps": 2, "optimizer": STILL} | changes
    return pretrain(tiny_config(data, out, init_from=str(start), **settings))


def assert_encoder_is(folder: Path, start: Path) -> None:
    ids = torch.tensor([[2, 9, 10, 11, 3]])
    with torch.no_grad():
        states = [AutoModel.from_pretrained(f).eval()(ids).last_hidden_state for f in (folder, start)]
    torch.testing.assert_close(*states, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", KIN)
def test_every_family_is_continued_without_host_sync(
    family: str, blocks: Path, tokenizer_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tokenizer = load_tokenizer(str(tokenizer_folder))
    start = make(
        family, "", tmp_path / "start", vocab_size=len(tokenizer), max_position_embeddings=66,
        pad_token_id=0,
    )  # fmt: skip
    tokenizer.save_pretrained(start)
    with steps_inside(NoHostSync, monkeypatch):
        summary = continued(blocks, tmp_path / "run", start, steps=3, optimizer=OptimizerConfig())
    assert summary["discriminator_auc"] is not None
    written = json.loads((tmp_path / "run/discriminator/config.json").read_text())
    assert written["model_type"] == family
    AutoModelForMaskedLM.from_pretrained(tmp_path / "run/generator")
    assert continued(blocks, tmp_path / "more", tmp_path / "run")["steps"] == 2


@pytest.mark.parametrize("source", ["same", "small"])
def test_encoder_is_unchanged_at_negligible_learning_rate(
    source: str, bert: Path, blocks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "elektron"):
        continued(blocks, tmp_path / "run", bert, generator=source)
    assert "newly initialized: the replaced-token-detection head" in caplog.text
    assert_encoder_is(tmp_path / "run/discriminator", bert)
    if source == "same":
        assert_encoder_is(tmp_path / "run/generator", bert)


def test_frozen_generator_equals_checkpoint(bert: Path, blocks: Path, tmp_path: Path) -> None:
    continued(blocks, tmp_path / "run", bert, plan="frozen_generator", optimizer=OptimizerConfig())
    before, after = (load_file(folder / "model.safetensors") for folder in (bert, tmp_path / "run/generator"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_another_dropout_is_saved_with_the_encoder(bert: Path, blocks: Path, tmp_path: Path) -> None:
    continued(blocks, tmp_path / "run", bert, network=NetworkConfig(dropout=0.0))
    assert_encoder_is(tmp_path / "run/discriminator", bert)
    config = AutoConfig.from_pretrained(tmp_path / "run/discriminator")
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0, 0)
    continued(blocks, tmp_path / "more", tmp_path / "run", network=NetworkConfig(dropout=0.2))
    assert AutoConfig.from_pretrained(tmp_path / "more/discriminator").hidden_dropout_prob == 0.2


def test_mlm_continues_lm_head(bert: Path, blocks: Path, tmp_path: Path) -> None:
    continued(blocks, tmp_path / "run", bert, objective="mlm")
    ids = torch.tensor([[2, 9, 10, 4, 3]])
    with torch.no_grad():
        logits = [
            BertForMaskedLM.from_pretrained(folder).eval()(ids).logits
            for folder in (bert, tmp_path / "run/discriminator")
        ]
    torch.testing.assert_close(*logits, atol=1e-6, rtol=1e-6)


def test_mlm_from_encoder_without_heads_gets_new_lm_head(
    bert: Path, blocks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    BertModel.from_pretrained(bert).save_pretrained(tmp_path / "bare")
    load_tokenizer(str(bert)).save_pretrained(tmp_path / "bare")
    with caplog.at_level(logging.INFO, "elektron"):
        continued(blocks, tmp_path / "run", tmp_path / "bare", objective="mlm")
    assert "the masked-language-model head is newly initialized" in caplog.text
    assert "replaced-token" not in caplog.text
    assert_encoder_is(tmp_path / "run/discriminator", bert)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "released"}, "has no generator: give one"),
        ({"network": NetworkConfig(hidden_size=64)}, "--network.hidden-size 64 contradicts"),
        ({"network": NetworkConfig(hidden_size=256)}, "--network.hidden-size 256 contradicts"),
        ({"network": NetworkConfig(max_position_embeddings=48)}, "embeddings 48 contradicts"),
        (
            {"generator": "same", "network": NetworkConfig(generator_layers=1)},
            "--network.generator-layers 1 contradicts",
        ),
        ({"network": NetworkConfig(generator_layers=3)}, "--network.generator-layers 3 is too large: .* has 2"),
        ({"network": NetworkConfig(generator_width=0.5)}, "use --network.generator-layers"),
    ],
)
def test_options_that_cannot_apply_raise(
    changes: dict[str, Any], message: str, bert: Path, blocks: Path, tmp_path: Path
) -> None:
    with pytest.raises(ElektronError, match=message):
        continued(blocks, tmp_path / "run", bert, **changes)
    assert not (tmp_path / "run").exists()


def test_generator_in_init_from_with_generator_option_raises(bert: Path, blocks: Path, tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match="cannot be used together"):
        continued(blocks, tmp_path / "run", f"{bert},{bert}", generator="small")


def test_sizes_equal_to_checkpoint_are_accepted(bert: Path, blocks: Path, tmp_path: Path) -> None:
    network = NetworkConfig(hidden_size=32, num_hidden_layers=2, generator_layers=1)
    summary = continued(blocks, tmp_path / "run", bert, network=network)
    assert summary["parameters"]["generator"] < summary["parameters"]["discriminator"] * 1.1


def test_longer_rows_interpolate_position_embeddings(
    bert: Path, corpus_file: Path, tokenizer_folder: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    rows = prepare_blocks(corpus_file, tokenizer_folder, tmp_path / "long", seq_len=96)
    with caplog.at_level(logging.INFO, "elektron"):
        continued(rows, tmp_path / "run", bert)
    assert "extended from 64 to 96 positions: learned position embeddings are interpolated" in caplog.text
    encoder = BertModel.from_pretrained(tmp_path / "run/discriminator")
    assert encoder.config.max_position_embeddings == 96
    assert load_tokenizer(str(tmp_path / "run/discriminator")).model_max_length >= 96


def padded_bert(folder: Path, tokenizer: PreTrainedTokenizerBase, entries: int) -> Path:
    """`BertForMaskedLM` with `entries` embeddings; those that belong to no token are the most probable ones."""
    model = BertForMaskedLM(BertConfig(vocab_size=entries, **SIZES))
    torch.nn.init.constant_(model.cls.predictions.bias[len(tokenizer) :], 50.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("objective", ["rtd", "mlm"])
def test_embeddings_without_token_are_never_predicted(objective: str, bert: Path, blocks: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(bert))
    entries = len(tokenizer) + 40
    start = padded_bert(tmp_path / "start", tokenizer, entries)
    summary = continued(
        blocks, tmp_path / "run", start, objective=objective, generator="same" if objective == "rtd" else None
    )
    loss = summary["generator_loss"] if objective == "rtd" else summary["lm_loss"]
    assert loss < 2 * math.log(len(tokenizer))  # over all embeddings it would be about 50
    if objective == "rtd":
        examples = json.loads((tmp_path / "run/examples.json").read_text())
        assert all(token in tokenizer.get_vocab() for example in examples for token in example["tokens"])
    network = BertForMaskedLM.from_pretrained(
        tmp_path / "run" / ("generator" if objective == "rtd" else "discriminator")
    )
    assert network.config.vocab_size == entries


def test_generator_with_more_embeddings_keeps_its_own(
    bert: Path, blocks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = load_tokenizer(str(bert))
    start = padded_bert(tmp_path / "start", tokenizer, len(tokenizer) + 8)
    with caplog.at_level(logging.INFO, "elektron"):
        continued(blocks, tmp_path / "run", f"{bert},{start}")
    assert "each keeps its own (--sharing none)" in caplog.text
    with pytest.raises(ElektronError, match="with --sharing embeddings: its vocab_size is"):
        continued(blocks, tmp_path / "shared", f"{bert},{start}", sharing="embeddings")
    frozen = PlanOptions(generator=str(start))
    summary = pretrain(tiny_config(blocks, tmp_path / "new", plan="frozen_generator", plan_options=frozen))
    assert summary["discriminator_auc"] is not None


def test_tokens_without_embedding_get_one_by_replace_tokenizer(bert: Path, corpus_file: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(bert, tmp_path / "start"))
    tokenizer = load_tokenizer(str(start))
    entries = len(tokenizer)
    tokenizer.add_tokens(["zyzzyva"])
    tokenizer.save_pretrained(start)
    rows = prepare_blocks(corpus_file, start, tmp_path / "blocks")
    message = f"has {entries} embeddings, but its tokenizer has {entries + 1} tokens: .*--replace-tokenizer true"
    with pytest.raises(ElektronError, match=message):
        continued(rows, tmp_path / "run", start)
    continued(rows, tmp_path / "run", start, replace_tokenizer=True)
    before, after = (
        BertModel.from_pretrained(f).embeddings.word_embeddings.weight for f in (bert, tmp_path / "run/discriminator")
    )
    torch.testing.assert_close(after[:-1], before, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(after[-1], before.mean(0), atol=1e-6, rtol=1e-6)


def test_output_options_of_checkpoint_are_ignored(bert: Path, blocks: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(bert, tmp_path / "start"))
    config = json.loads((start / "config.json").read_text())
    options = {"return_dict": False, "output_attentions": True, "output_hidden_states": True}
    (start / "config.json").write_text(json.dumps(config | options))
    continued(blocks, tmp_path / "run", start)
    assert_encoder_is(tmp_path / "run/discriminator", bert)


def test_tokenizer_of_roberta_is_saved_without_token_types(corpus_file: Path, tmp_path: Path) -> None:
    tokenizer = byte_level(("t", "h"), ("th", "e"), ("Ġ", "the"))
    make("roberta", "ForMaskedLM", tmp_path / "start", vocab_size=len(tokenizer), max_position_embeddings=66)
    tokenizer.save_pretrained(tmp_path / "start")
    train_tokenizer(TokenizerConfig(corpus=[str(corpus_file)], out=tmp_path / "tokenizer", vocab_size=70))
    rows = prepare_blocks(corpus_file, tmp_path / "tokenizer", tmp_path / "blocks")
    continued(rows, tmp_path / "run", tmp_path / "start", replace_tokenizer=True)
    model, tokenizer = (auto.from_pretrained(tmp_path / "run/discriminator") for auto in (AutoModel, AutoTokenizer))
    assert model(**tokenizer("the cat", "the dog", return_tensors="pt")).last_hidden_state.isfinite().all()


def test_convolution_with_packed_rows_raises(
    blocks: Path, paper_blocks: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    config = DebertaV2Config(vocab_size=len(tokenizer), conv_kernel_size=3, conv_act="gelu", **SIZES)
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    with pytest.raises(ElektronError, match="--packing paper"):
        continued(blocks, tmp_path / "run", tmp_path / "start")
    with pytest.raises(ElektronError, match="--packing paper"):
        frozen = PlanOptions(generator=str(tmp_path / "start"))
        pretrain(tiny_config(blocks, tmp_path / "run", plan="frozen_generator", plan_options=frozen))
    assert continued(paper_blocks, tmp_path / "run", tmp_path / "start")["steps"] == 2


def test_another_tokenizer_raises_without_replace_tokenizer(
    bert: Path, corpus_file: Path, blocks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "tokenizer"
    train_tokenizer(TokenizerConfig(corpus=[str(corpus_file)], out=other, vocab_size=70))
    rows = prepare_blocks(corpus_file, other, tmp_path / "blocks")
    with pytest.raises(ElektronError, match=r"another tokenizer .* --replace-tokenizer true"):
        continued(rows, tmp_path / "run", bert)
    with caplog.at_level(logging.INFO, "elektron"):
        continued(rows, tmp_path / "run", bert, replace_tokenizer=True)
    assert "vocabulary of 70 tokens: 70 keep their embedding, 0 start from" in caplog.text
    encoder = BertModel.from_pretrained(tmp_path / "run/discriminator")
    before = BertModel.from_pretrained(bert).embeddings.word_embeddings.weight
    after = encoder.embeddings.word_embeddings.weight
    old, new = load_tokenizer(str(bert)).get_vocab(), load_tokenizer(str(other)).get_vocab()
    for token, token_id in new.items():
        torch.testing.assert_close(after[token_id], before[old[token]], atol=1e-6, rtol=1e-6)


def test_replace_tokenizer_of_deberta_with_non_legacy_head(
    corpus_file: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    config = DebertaV2Config(vocab_size=len(tokenizer), legacy=False, **SIZES)
    model = DebertaV2ForMaskedLM(config)
    model.save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    ids = torch.tensor([[2, 9, 10, 4, 3]])
    with torch.no_grad():
        network = load_network(DebertaV2ForMaskedLM, str(tmp_path / "start"))
        torch.testing.assert_close(network.eval()(ids).logits, model.eval()(ids).logits)
    train_tokenizer(TokenizerConfig(corpus=[str(corpus_file)], out=tmp_path / "tokenizer", vocab_size=70))
    rows = prepare_blocks(corpus_file, tmp_path / "tokenizer", tmp_path / "blocks")
    assert continued(rows, tmp_path / "run", tmp_path / "start", replace_tokenizer=True)["steps"] == 2


def test_tokenizer_with_swapped_tokens_raises(bert: Path, blocks: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bert, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["the"], vocabulary["cat"] = vocabulary["cat"], vocabulary["the"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ElektronError, match="another tokenizer"):
        continued(blocks, tmp_path / "run", other)


def test_packed_roberta_documents_equal_plain_transformers(corpus_file: Path, tmp_path: Path) -> None:
    """RoBERTa counts positions from after its padding id, which is 1, and its blocks contain byte-level BPE tokens."""
    start = tmp_path / "start"
    tokenizer = byte_level(("t", "h"), ("th", "e"), ("Ġ", "the"))
    make("roberta", "ForMaskedLM", start, vocab_size=len(tokenizer), max_position_embeddings=66)
    tokenizer.save_pretrained(start)
    rows = prepare_blocks(corpus_file, start, tmp_path / "blocks", seq_len=64)
    continued(rows, tmp_path / "run", start)
    config = resolve(with_released_sizes(tiny_config(rows, tmp_path, init_from=str(start), network=NetworkConfig())))
    store = BlockStore.open(rows)
    pair = pair_for(config, store.manifest).eval()
    batch = BatchMaker(store, config, torch.device("cpu")).training(0).micro_batches[0]
    encoder = RobertaModel.from_pretrained(tmp_path / "run/discriminator").eval()
    assert batch.document_ids.max() >= 1
    assert (batch.input_ids[:, 0] == tokenizer.cls_token_id).all()
    with torch.no_grad():
        states = pair.discriminator_states(batch.input_ids, packed_positions(batch))
        for row, documents in enumerate(batch.document_ids):
            for number in range(int(documents.max()) + 1):
                here = documents == number
                text = batch.input_ids[row : row + 1, here]
                plain = encoder(text, attention_mask=torch.ones_like(text)).last_hidden_state[0]
                torch.testing.assert_close(states[row, here], plain, atol=1e-5, rtol=1e-5)


def lines_of(run: Path, kind: str = "evaluation") -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_start_is_evaluated_and_compared_with_end(
    bert: Path, blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with output_enabled():
        summary = continued(blocks, tmp_path / "run", bert)
    start, end = lines_of(tmp_path / "run")
    assert (start["step"], start["tokens"], start["seconds"]) == (0, 0, 0)
    assert (start["new_parts"], end["step"]) == (["discriminator"], 2)
    # Nothing is learned at this rate.
    for name in ("generator_loss", "discriminator_loss", "discriminator_auc"):
        assert start[name] == pytest.approx(end[name], abs=1e-4)
    rows, remark = start_and_end([start, end], summary) or ([], "")
    loss, auc = start["generator_loss"], start["discriminator_auc"]
    assert rows[1][:2] == ["all", f"{loss:.3f} → {loss:.3f}"]
    assert rows[1][3] == f"{auc:.3f} → {auc:.3f}"
    assert "discriminator loss, AUC" in remark and "generator" not in remark
    said = capsys.readouterr().out
    assert rows[1][1] in said and remark in said
    continued(blocks, tmp_path / "next", tmp_path / "run")
    start, _ = lines_of(tmp_path / "next")
    assert start["new_parts"] == []


def test_start_of_run_without_generator_is_evaluated(
    bert: Path, blocks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BertModel.from_pretrained(bert).save_pretrained(tmp_path / "bare")
    load_tokenizer(str(bert)).save_pretrained(tmp_path / "bare")
    first_losses = {}
    for start, new in ((bert, []), (tmp_path / "bare", ["lm"])):
        out = tmp_path / f"of-{start.name}"
        with output_enabled():
            summary = continued(blocks, out, start, objective="mlm")
        assert lines_of(out)[0]["new_parts"] == new
        first_losses[start.name] = lines_of(out)[0]["lm_loss"]
        rows, remark = start_and_end(lines_of(out), summary) or ([], "")
        assert bool(remark) == bool(new)
        assert rows == [] if new else rows[0][1:] == ["LM loss"]
        said = capsys.readouterr().out
        assert (f"--model {start} --train" in said) == (f"--model {out}/discriminator --train FILE --test" in said)
        assert (f"--model {start} --train" in said) == bool(new)
    # The new head starts from token frequencies, and the head of the checkpoint was never trained.
    assert first_losses["bare"] < first_losses[bert.name] - 0.3


def test_generator_of_another_width_is_new_part(blocks: Path, finished: Path, tmp_path: Path) -> None:
    continued(blocks, tmp_path / "run", finished / "discriminator", generator="small")
    assert lines_of(tmp_path / "run")[0]["new_parts"] == ["generator"]


def test_a_resumed_run_does_not_evaluate_its_start_again(
    bert: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"steps": 12, "optimizer": OptimizerConfig()}
    continued(blocks, tmp_path / "whole", bert, **settings)
    for step in (3, 9):  # before the first checkpoint and after it
        out = tmp_path / f"killed before {step}"
        with killed_before(step, monkeypatch):
            continued(blocks, out, bert, **settings)
        continued(blocks, out, bert, **settings)
        whole = [(line["step"], line["generator_loss"]) for line in lines_of(tmp_path / "whole")]
        assert [(line["step"], line["generator_loss"]) for line in lines_of(out)] == whole
        assert [step for step, _ in whole] == [0, 6, 12]
        weights = [(run / "discriminator/model.safetensors").read_bytes() for run in (tmp_path / "whole", out)]
        assert weights[0] == weights[1]


def test_run_stopped_before_first_step_logs_start_once(
    bert: Path, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(World, "stop_requested", lambda *_: True)
        continued(blocks, tmp_path / "run", bert)
    continued(blocks, tmp_path / "run", bert)
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [0, 2]


def test_run_from_random_weights_does_not_evaluate_start(finished: Path) -> None:
    assert [line["step"] for line in lines_of(finished)] == [6, 12]
    assert start_and_end(lines_of(finished), lines_of(finished)[-1]) is None


def test_continued_networks_are_both_networks_of_run(finished: Path, bert: Path) -> None:
    discriminator, generator = (str(finished / name) for name in ("discriminator", "generator"))
    for init_from, networks in (
        (str(finished), (discriminator, "released", generator)),
        (f"{finished},{bert}", (discriminator, "released", str(bert))),
        (discriminator, (discriminator, "small", None)),
    ):
        assert continued_networks(PretrainConfig(init_from=init_from)) == networks
