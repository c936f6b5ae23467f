"""Readers given arbitrary bytes and settings given arbitrary values succeed or raise ElektronError."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from elektron.configuration import from_dict, read_yaml, settings, to_flat_dict, to_yaml, validate
from elektron.corpus.blocks import BlockStore
from elektron.corpus.config import InspectConfig, PrepareConfig, TokenizerConfig
from elektron.corpus.documents import Corpus
from elektron.corpus.manifest import SPLITS, Manifest
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError
from elektron.finetuning import recipe
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.tasks.registry import load_task
from elektron.hub import load_configuration
from elektron.models import ElektronConfig
from elektron.pretraining.compatibility import check_compatibility
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.recipes import pretrain_config
from elektron.reporting.pretraining_run import read_run
from elektron.verify import checkpoint_faults, kind_of, model_faults, run_faults
from tests.corpus.test_blocks import make_rows, write
from tests.finetuning.readers.layouts import CHOICES, PARALLEL, SQUAD, TAGGED, lazily
from tests.finetuning.readers.layouts import TEXTS as LABELLED_TEXTS
from tests.fuzzing import BYTES, CASES, TEXTS, damaged, fuzz


def answered(work: Callable[[], Any]) -> None:
    """Run `work`, which may raise ElektronError with a one-line message; other exceptions propagate."""
    try:
        result = work()
        if isinstance(result, Iterator):
            for _ in result:
                pass
    except ElektronError as error:
        assert str(error).strip() and "\n" not in str(error)


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", None, "three"], "label": [1, 2, 3]}), file)
    return file.getvalue()


WHOLE = {
    ".txt": b"one\ntwo\n\nthree",
    ".jsonl": b'{"text": "one", "label": 1}\n{"text": "two", "label": 2}\n',
    ".json": b'{"data": [{"paragraphs": [{"context": "a b", "qas": [{"question": "q", "id": "1",'
    b' "answers": [{"text": "b", "answer_start": 2}]}]}]}]}',
    ".csv": b'text,label\n"one, ""two""",1\nthree,2\n',
    ".tsv": b"text\tlabel\none\t1\n",
    ".conll": b"EU B-ORG\nrejects O\n\nPeter B-PER\n",
    ".parquet": parquet(),
    ".txt.gz": gzip.compress(b"one\ntwo"),
    ".jsonl.zst": b"\x28\xb5\x2f\xfd\x00\x58\x41\x00\x00one\ntwo\n",
    "": b"plain",
}


def contents(suffix: str) -> st.SearchStrategy[bytes]:
    return BYTES | damaged(WHOLE[suffix])


FILES = st.sampled_from(sorted(WHOLE)).flatmap(lambda suffix: st.tuples(st.just(suffix), contents(suffix)))


@CASES
def test_corpus_files_load_or_raise_elektron_error(cases: int, tmp_path: Path) -> None:
    def check(file: tuple[str, bytes], column: str | None) -> None:
        path = tmp_path / f"x{file[0]}"
        path.write_bytes(file[1])
        answered(lambda: iter(Corpus([str(path)], column)))

    fuzz(cases, check, file=FILES, column=st.none() | st.just("text") | TEXTS)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["text", "1", "9", "x"]),
        "label": st.sampled_from(["label", "2", "0"]),
        "label_separator": st.sampled_from([",", "", "|"]),
        "delimiter": st.sampled_from([",", "\t", "", "ab", "\n", '"']),
        "quoting": st.booleans(),
        "header": st.booleans(),
    },
)


@CASES
@pytest.mark.parametrize("by", ["file", "standard input"])
def test_labelled_files_load_or_raise_elektron_error(cases: int, by: str, tmp_path: Path) -> None:
    def check(file: tuple[str, bytes], layout: Any, labelled: bool, options: Any) -> None:
        source, stdin = tmp_path / f"x{file[0]}", b""
        if by == "file":
            source.write_bytes(file[1])
        else:
            source, stdin = "-", file[1]
        answered(lambda: lazily(source, layout=layout, labelled=labelled, stdin=stdin, **options))

    layouts = st.sampled_from([LABELLED_TEXTS, CHOICES, TAGGED, SQUAD, PARALLEL])
    fuzz(cases, check, file=FILES, layout=layouts, labelled=st.booleans(), options=OPTIONS)


MANIFEST = json.dumps({"seq_len": 8, "vocab_size": 9, "splits": {}, "format": 1, "sha256": "0" * 64}).encode()
MODEL = ElektronConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1).to_json_string().encode()
TASK = b'{"task": "classification", "format": 1, "labels": ["a", "b"], "max_length": 16}'
TOKENIZER = b"""{"version": "1.0", "added_tokens": [{"id": 0, "content": "[PAD]", "special": true,
"single_word": false, "lstrip": false, "rstrip": false, "normalized": false}], "normalizer": null,
"pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null, "model":
{"type": "WordLevel", "vocab": {"[PAD]": 0, "a": 1}, "unk_token": "[PAD]"}}"""
CHECKPOINT = b'{"step": 3, "seconds": 1.5, "held_out_loss": null}'
TENSORS = b"@\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(64)
TENSORS += b"12345678"


@CASES
@pytest.mark.parametrize(
    ("name", "whole", "read"),
    [
        ("manifest.json", MANIFEST, lambda folder: Manifest.load(folder / "manifest.json")),
        ("manifest.json", MANIFEST, lambda folder: kind_of(folder)[1](folder)),
        ("config.json", MODEL, lambda folder: load_configuration(str(folder))),
        ("config.json", MODEL, model_faults),
        ("config.yaml", b"steps: 3\nnetwork:\n  layers: 2\n", run_faults),
        ("config.yaml", b"steps: 3\nnetwork:\n  layers: 2\n", read_run),
        ("metrics.jsonl", b'{"kind": "train", "step": 1, "loss": 2.5}\n' * 2, read_run),
        ("recipe.yaml", b"steps: 3\nfamily: electra\n", lambda f: read_yaml(f / "recipe.yaml")),
        ("recipe.yaml", b"a: &a [x]\nb: [*a, *a]", lambda f: pretrain_config(f / "recipe.yaml")),
        ("task.json", TASK, lambda folder: load_task(str(folder))),
        ("tokenizer.json", TOKENIZER, lambda folder: load_tokenizer(str(folder))),
        ("progress.json", CHECKPOINT, checkpoint_faults),
        ("weights.safetensors", TENSORS, checkpoint_faults),
        ("model.safetensors", TENSORS, model_faults),
    ],
)
def test_own_file_formats_load_or_raise_elektron_error(
    cases: int, name: str, whole: bytes, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    def check(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        answered(lambda: read(tmp_path))

    fuzz(cases, check, content=BYTES | damaged(whole))


@CASES
def test_damaged_unverified_blocks_load_or_raise_elektron_error(cases: int, tmp_path: Path) -> None:
    """A file may become damaged after a run has begun."""
    folder = write(tmp_path / "b", make_rows(10), make_rows(4))
    path = folder / "train-00000.arrow"
    whole = path.read_bytes()
    store = BlockStore.open(folder)

    def check(content: bytes) -> None:
        path.unlink()  # files that are open already keep their content
        path.write_bytes(content)

        def read() -> None:
            for split in SPLITS:
                rows = store.rows(split)
                for number in range(len(rows.batches)):
                    rows._check(number)

        answered(read)

    fuzz(cases, check, content=BYTES | damaged(whole))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70)
    | st.integers()
    | st.floats()
    | st.sampled_from(["null", "true", "3", "0.1", "1e-3", "nan", "inf", "", "electra", "rtd", "muon"])
    | st.sampled_from([[], {}, ["a"], {"a": 1}, [[]], "two_stage", "gdes", "paper", Path("x")])
    | TEXTS
)


def overrides(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    """Some settings of a class, with values that are often but not always of the right type."""
    found = settings(cls)

    def value(name: str) -> st.SearchStrategy[Any]:
        setting = next(setting for setting in found if setting.name == name)
        likely = {
            bool: st.booleans(),
            int: st.integers(0, 64),
            float: st.floats(0, 1),
        }.get(setting.type, st.sampled_from(setting.choices or ["x"]))
        return likely | VALUES

    names = st.lists(st.sampled_from([setting.name for setting in found]), max_size=6, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({n: value(n) for n in chosen}))


def one_line(work: Callable[[], None]) -> None:
    try:
        work()
    except ElektronError as error:
        assert str(error) and "\n" not in str(error)


@CASES
def test_pretraining_settings_resolve_or_raise_one_line_error(cases: int) -> None:
    def check(values: dict[str, Any], name: str) -> None:
        def work() -> None:
            config = resolve(pretrain_config(name, values))
            check_compatibility(config)
            assert to_flat_dict(config).keys() == {s.name for s in settings(PretrainConfig)}
            assert to_yaml(config)

        one_line(work)

    recipes = st.sampled_from(["quickstart", "electra-small", "elektron-base", "extreme"])
    fuzz(cases, check, values=overrides(PretrainConfig), name=recipes)


@CASES
def test_finetuning_settings_validate_or_raise_one_line_error(cases: int) -> None:
    needed = {"task": "classification", "train": ["x"], "model": "m", "out": "o"}

    def check(values: dict[str, Any], complete: bool) -> None:
        def work() -> None:
            config = from_dict(FinetuneConfig, needed | values if complete else values)
            recipe.check(config)
            assert to_yaml(config)

        one_line(work)

    fuzz(cases, check, values=overrides(FinetuneConfig), complete=st.booleans())


@CASES
@pytest.mark.parametrize("cls", [TokenizerConfig, PrepareConfig, InspectConfig])
def test_corpus_settings_validate_or_raise_one_line_error(cases: int, cls: type) -> None:
    def check(values: dict[str, Any]) -> None:
        def work() -> None:
            validate(cls, values)

        one_line(work)

    fuzz(cases, check, values=overrides(cls) | st.dictionaries(TEXTS, VALUES, max_size=3))
