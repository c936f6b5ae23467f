"""Settings of `elektron finetune` and `elektron evaluate`: one dataclass per command.

The settings for reading files and for generating text are separate classes, because other commands have them too.
`None` means that the default depends on the file, the task or the model; `recipe.resolve` fills in the defaults for
training. This module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from elektron.configuration import (
    AboveZero,
    Aliases,
    EquivalentOptions,
    Fraction,
    Layers,
    LearningRate,
    NotNegative,
    Positional,
    PositiveFraction,
    Size,
    ValidatedConfig,
    VocabSize,
    Within,
)
from elektron.finetuning.in_memory import as_source, as_texts
from elektron.tracking import TrackerName

MIN_LENGTH = 8
"""Smallest `max_length`: the special tokens and a few tokens of text."""
TaskName = Annotated[
    Literal[
        "classification",
        "regression",
        "token-classification",
        "question-answering",
        "multiple-choice",
        "translation",
        "summarization",
        "generation",
        "embedding",
    ],
    Aliases((("ner", "token-classification"), ("qa", "question-answering"), ("mt", "translation"))),
]
Truncation = Literal["head", "head-tail", "windows"]
MaxLength = Annotated[int, Within(least=MIN_LENGTH, most=1 << 20)]


@dataclass(kw_only=True)
class TextFilesConfig(ValidatedConfig):
    """How files are read: columns are given by name, or by number from 1; `data.text` is `text` inside an object."""

    text: str | None = None
    """Column of the text."""
    delimiter: str | None = None
    """Separator of columns (default: detected)."""
    quoting: bool | None = None
    """Whether quotation marks enclose fields (default: yes in csv, no in tab-separated files)."""
    header: bool | None = None
    """Whether the first line names the columns (default: yes, unless columns are given by number)."""
    encoding: str | None = None
    """Encoding of text files, such as cp1252 (default: UTF-8, or the encoding of a byte order mark)."""
    allow_unknown: bool = False
    """Continue if more than 5 % of the text's characters become [UNK]."""

    def __post_init__(self) -> None:
        for name in ("train", "eval", "test", "data", "input"):
            if hasattr(self, name):
                convert = as_texts if name == "input" else as_source
                setattr(self, name, convert(getattr(self, name)))
        super().__post_init__()


@dataclass(kw_only=True)
class InputFilesConfig(TextFilesConfig):
    """How files are read: columns are given by name, or by number from 1; `data.text` is `text` inside an object."""

    pair: str | None = None
    """Column of the second text of a pair."""
    tokens: str | None = None
    """Column of the tokens to be tagged."""
    sentence: str | None = None
    """Column of the sentence's number or id, where each row has one token."""
    question: str | None = None
    """Column of the question."""
    context: str | None = None
    """Column of the passage that holds the answer, or that a choice is about."""


@dataclass(kw_only=True)
class FilesConfig(InputFilesConfig):
    """How files are read: columns are given by name, or by number from 1; `data.text` is `text` inside an object."""

    negative: str | None = None
    """Column of the negative text of a triplet for embeddings: a text that does not belong to the first."""
    label: str | None = None
    """Column of the label or number; or columns of zeros and ones, separated by commas, one for each label."""
    tags: str | None = None
    """Column of the tags of the tokens, or of entities as character spans."""
    answers: str | None = None
    """Column of the answers: text, or objects as in SQuAD."""
    choices: str | None = None
    """Column with a list of choices, or columns separated by commas, one for each choice."""
    source: str | None = None
    """Column of the text to translate, summarize or answer."""
    target: str | None = None
    """Column of the target text, or columns separated by commas, each with a correct text."""
    label_separator: str | None = None
    """Separator between the labels of a text that has several; JSON lines may have lists instead."""


@dataclass
class DecodingConfig:
    """How text is generated; the default of each setting depends on the task, or is saved with the model."""

    beams: Annotated[int, Within(least=1, most=1000)] | None = None
    """Number of beams; 1 is greedy search, or sampling with `sample`."""
    length_penalty: float | None = None
    """Length penalty of beam search: above 0 favours longer output, below 0 shorter output."""
    no_repeat_ngram: NotNegative[int] | None = None
    """Sequences of this many tokens occur at most once in the output; 0 for no such limit."""
    sample: bool | None = None
    """Sample tokens instead of taking the likeliest."""
    temperature: AboveZero[float] | None = None
    """Temperature of sampling: below 1 favours likely tokens."""
    top_p: PositiveFraction | None = None
    """Sample from the likeliest tokens that together have this probability."""
    max_length: Size | None = None
    """Longest output in tokens."""


@dataclass(kw_only=True)
class FinetuneConfig(FilesConfig):
    """Train a pretrained encoder on labelled data and measure how good it is."""

    task: Positional[TaskName]
    """Task; `ner`, `qa` and `mt` are short for token-classification, question-answering and translation."""
    model: str
    """Pretrained discriminator: a folder or hub name (NAME@REVISION pins it); scratch:RECIPE for random weights."""
    train: Annotated[list[str], EquivalentOptions(("data", "input"))]
    """Labelled files, or hf:NAME[@REVISION][:config][:split]; for translation SOURCE_FILE TARGET_FILE."""
    eval: list[str] = field(default_factory=lambda: ["0.1"])
    """Files on which the best model is chosen, or the fraction of the training rows that is held out for this."""
    test: list[str] = field(default_factory=list)
    """Files for the final metrics, which are not used to choose anything, or the fraction of the training rows that is
    held out for this; a fraction for --eval is then of the remaining rows."""
    eval_columns: list[str] = field(default_factory=list)
    """Columns of --eval, if their names differ from those of --train: text=NAME label=NAME …"""
    test_columns: list[str] = field(default_factory=list)
    """Columns of --test, if their names differ from those of --train: text=NAME label=NAME …"""
    out: Path
    """Folder for the model, its metrics and predictions."""
    baseline: Literal["scratch"] | None = None
    """Train the same network from random weights too, for comparison."""
    sweep: list[str] = field(default_factory=list)
    """Settings to try; the best on eval is chosen: NAME=VALUE,VALUE …"""
    seeds: Annotated[int, Within(least=1, most=1000)] = 1
    """Number of runs with different seeds; the best on eval is kept, median and spread are reported."""
    seed: Annotated[int, Within(least=0, below=1 << 31)] = 1
    """Random seed of the first run, for new weights, the order of rows, dropout and the choice of held-out rows."""
    tokenizer: str | None = None
    """With scratch:RECIPE: folder of the tokenizer (default: trained on the training texts)."""
    max_train: AboveZero[int] | None = None
    """Train on at most this many rows, drawn at random by the seed."""
    optimizer: Literal["adamw", "muon"] | None = None
    """`adamw`, or `muon`: Muon on the matrices inside the layers and AdamW on the rest (default: muon for family
    elektron, else adamw)."""
    muon_learning_rate: LearningRate | None = None
    """Peak learning rate of Muon in the top layer (default: 0.02); has no effect under `adamw`."""
    learning_rate: LearningRate | None = None
    """Peak learning rate of the top layer (default: 3e-4 for encoders up to 256 wide, 1e-4 up to 768, else 5e-5; family
    elektron 1e-3, 3e-4 and 1e-4; 1e-3 for generated text, 0.03 with --private)."""
    layer_decay: Annotated[float, Within(least=0, most=1)] | None = None
    """Learning rate of each layer as a fraction of that of the layer above it; 0 trains the head alone, the default
    with --private."""
    epochs: Annotated[AboveZero[float], EquivalentOptions(("steps", "minutes"))] | None = None
    """Passes over the training rows (default: by task and rows, such as 10 below 3,000 rows and 3 above; three times as
    many from random weights)."""
    batch_size: Size | None = None
    """Rows per optimizer step (default: 32; translation and generation 64, summarization 16)."""
    micro_batch_size: Size | None = None
    """Rows that pass through the network at once (default: all of the batch)."""
    warmup: Fraction = 0.1
    """Fraction of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Within(least=0, most=10)] | None = None
    """Weight decay on matrices (default: 0; from random weights 0.01)."""
    max_grad_norm: AboveZero[float] | None = None
    """Norm to which the gradient of a batch is clipped; with --private that of each row (default: 1.0)."""
    dropout: Fraction | None = None
    """Dropout in the encoder and before the head (default: 0.1; for embedding the encoder's own; with
    --private 0)."""
    label_smoothing: Fraction | None = None
    """Fraction of the target's probability that is spread over all classes or tokens."""
    max_length: MaxLength | None = None
    """Longest input in tokens; longer inputs are shortened, see --truncation (default: 512, or 256 for generated text,
    but at most what the encoder can read)."""
    truncation: Truncation | None = None
    """Which part of longer texts is read: the beginning, beginning and end, or all of it in overlapping windows
    (default: head)."""
    stride: NotNegative[int] | None = None
    """Tokens by which windows overlap."""
    keep: Literal["best", "last"] | None = None
    """Which epoch is kept: the best on eval or the last (default: best, but last for generated text)."""
    patience: AboveZero[int] | None = None
    """Stop after this many epochs in a row without a new best metric on eval (default: train all epochs)."""
    null_threshold: float | None = None
    """Predict "no answer" if it scores higher than the best answer by more than this (default: the threshold with the
    highest F1 on eval)."""
    private: bool = False
    """Differentially private training (DP-SGD) on the rows of --train; those of --eval and --test are not
    protected, and must be files."""
    epsilon: AboveZero[float] | None = None
    """With --private: bound on what all training runs of the command together reveal about one training row."""
    delta: Annotated[float, Within(above=0, below=1)] | None = None
    """With --private: probability that the bound does not hold (default: number of rows to the power of -1.1)."""
    target_tokenizer: str | None = None
    """Tokenizer of the output (default: trained on the training targets)."""
    target_vocab_size: VocabSize = 8000
    """Size of a vocabulary that is trained on the targets."""
    decoder_layers: Layers | None = None
    """Number of layers of the decoder."""
    max_target_length: Size | None = None
    """Longest target in tokens."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: bf16 where the processor is fast at it, else fp32)."""
    track: TrackerName | None = None
    """Send metrics after each epoch to a tracker too; TensorBoard's files are in the model's folder `tracking`."""


@dataclass(kw_only=True)
class EvaluateConfig(FilesConfig):
    """Evaluate a fine-tuned model on labelled data, or a pre-trained one on minimal pairs."""

    model: Positional[str]
    """Folder or hub name of the fine-tuned model; with --blimp of a pre-training run or a pre-trained model."""
    data: Annotated[Positional[list[str]], EquivalentOptions(("input", "test"))] = field(default_factory=list)
    """Labelled files, or hf:NAME[@REVISION][:config][:split]."""
    blimp: str | None = None
    """Minimal pairs, instead of labelled files: columns good and bad, and optionally phenomenon, paradigm, field."""
    task: TaskName | None = None
    """Task of a model that was saved by transformers (default: by its class)."""
    out: Annotated[Path, EquivalentOptions(("output",))] | None = None
    """Folder for metrics.json, predictions.jsonl and report.html; with --blimp for blimp.json."""
    batch_size: Size | None = None
    """Most rows that pass through the network at once (default: as many as their length allows)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision of matrix products (default: that of fine-tuning if known, else bf16 where the processor is fast at it,
    else fp32; with --blimp fp32)."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
