"""Load configurations and tokenizers from a folder or the hub, without executing code that comes with them.

The class is looked up by `model_type` among those of transformers and Elektron. `auto_map`, attention kernels of
the hub, and keys that begin with an underscore or have the name of a method are ignored and logged.
`NAME@REVISION` pins a branch, a tag or a commit. Weights are loaded in `models/loading.py`.
"""

from __future__ import annotations

import copy
import logging
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import (
    CONFIG_MAPPING,
    AutoTokenizer,
    BertTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils.hub import cached_file

from elektron.errors import ElektronError, first_line, suggest_path
from elektron.io.datasets import Repo, hub_is_reachable, parse_repo, refuse_missing_folder
from elektron.io.files import read_json, read_text

log = logging.getLogger(__name__)

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
UNASSIGNED = "\u0378"
"""A character that Unicode has not assigned."""
MAX_BYTES = 1 << 26
"""Size limit of a tokenizer file; the files of the largest vocabularies are half as large."""
LOADS_CODE = frozenset({"auto_map", "attn_implementation", "experts_implementation", "quantization_config"})
"""Keys of a configuration that name code, or kernels and quantizers to be fetched. They are ignored and logged."""
OUTPUT_OPTIONS = frozenset({"return_dict", "output_attentions", "output_hidden_states"})
"""Keys of a configuration that change what `forward` returns. They are ignored: each caller asks for what it needs."""
OUR_FAMILY = "elektron"
"""Elektron's `model_type`. Its `auto_map` is for users without this package, and is ignored here without a log line."""
MAX_LAYERS = 1000
"""A configuration with more would take hours to build before it is compared with the weights."""

# The second line is raised for sizes that have a wrong type, are impossible, differ from the weights or exceed memory.
LOAD_ERRORS = (
    *(OSError, SafetensorError, ValueError, LookupError, AttributeError),
    *(TypeError, ArithmeticError, AssertionError, RuntimeError, MemoryError),
)


def load_configuration(name: str) -> PreTrainedConfig:
    """The configuration of a folder or hub model, without the ignored keys.

    Raises:
        ElektronError: there is none, its `model_type` is unknown to transformers and elektron, or it is not valid.
    """
    refuse_missing_folder(name)
    try:
        values = _json_file(parse_repo(name), CONFIG)
    except (OSError, ValueError) as error:
        folder = Path(parse_repo(name).name)
        near = "" if folder.exists() else suggest_path(folder)
        if (folder / "manifest.json").is_file():
            near = ": these are prepared blocks; `elektron pretrain` trains a model on them"
        raise ElektronError(
            f"no model can be read from {name!r} (a folder or hub name is expected): "
            f"{first_line(error).rstrip('.')}{near}"
        ) from error
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ElektronError(
            f"no model can be read from {name!r}: its model_type {kind!r} is unknown to transformers and elektron, "
            "and code that comes with a model is not run"
        )
    try:
        kept, dropped = _without_ignored_keys(values)
        config: PreTrainedConfig = CONFIG_MAPPING[kind](**kept)
        layers = getattr(config, "num_hidden_layers", 0)
    except (StrictDataclassError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ElektronError(
            f"{name!r}: its {CONFIG} is not a valid configuration of {kind} ({on_one_line(error)})"
        ) from error
    if isinstance(layers, int) and layers > MAX_LAYERS:
        raise ElektronError(f"{name!r}: its {CONFIG} has num_hidden_layers {layers:,}: is it damaged?")
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and not (isinstance(positions, int) and positions >= -1):
        raise ElektronError(f"{name!r}: max_position_embeddings in its {CONFIG} must be a number")
    architectures = config.architectures or []
    if not isinstance(architectures, list) or not all(isinstance(a, str) for a in architectures):
        raise ElektronError(f"{name!r}: architectures in its {CONFIG} must be a list of names")
    if dropped:
        _log_once(f"{name}: ignored keys of its {CONFIG}: {', '.join(dropped)}")
    return config


def load_tokenizer_files(name: str, subfolder: str = "") -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder or hub model with a class of transformers.

    Raises:
        ElektronError: there is none, or it cannot be used.
    """
    try:
        tokenizer = _tokenizer_files(name, subfolder)
        # A setting of a wrong type raises an error only when it is used.
        tokenizer(["a"], ["a"], truncation=True, max_length=8, return_attention_mask=False)
        tokenizer.decode(tokenizer("a")["input_ids"], skip_special_tokens=True)
    except LOAD_ERRORS as error:
        what = "cannot be loaded" if Path(name).exists() else "found neither as a folder nor on the hub"
        raise ElektronError(f"{Path(name) / subfolder}: {what} ({on_one_line(error)})") from error
    return tokenizer


def _tokenizer_files(name: str, subfolder: str) -> PreTrainedTokenizerBase:
    repo = parse_repo(name)
    try:
        path = cached_file(repo.name, TOKENIZER, subfolder=subfolder, **hub_options(repo))
    except OSError:
        path = None  # transformers builds it from other files
    if path is not None:
        _try_tokenizer(Path(path))
    try:
        settings = _json_file(repo, TOKENIZER_CONFIG, subfolder)
    except OSError:
        settings = {}  # old tokenizers have none
    try:
        config = load_configuration(name)
    except ElektronError:
        config = PreTrainedConfig()  # no model beside it, or one of an unknown kind
    case_options = {} if "do_lower_case" in settings else _case_options(name, subfolder)
    tokenizer_class: Any = AutoTokenizer
    options: dict[str, Any] = {"config": config, **case_options}
    if "auto_map" in settings:
        _log_once(f"{name}: the auto_map of its {TOKENIZER_CONFIG} is ignored")
        tokenizer_class, options = PreTrainedTokenizerFast, {}
    elif case_options and not config.model_type and "tokenizer_class" not in settings:
        tokenizer_class, options = BertTokenizer, case_options
    tokenizer = tokenizer_class.from_pretrained(repo.name, subfolder=subfolder, **hub_options(repo), **options)
    return without_unused_token_types(tokenizer, config)


def without_unused_token_types(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer, or a copy that returns no `token_type_ids` if the model has only one token type.

    BERT's tokenizer would give the second text of a pair the token type 1, which RoBERTa lacks.
    """
    if getattr(config, "type_vocab_size", None) == 1:
        tokenizer = copy.copy(tokenizer)
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return tokenizer


def _try_tokenizer(path: Path) -> None:
    """Raise ElektronError for a tokenizer.json that the tokenizers library cannot load and use."""
    read_text(path, MAX_BYTES)  # checks the size, which the library does not
    try:
        Tokenizer.from_file(str(path)).encode(f"a{UNASSIGNED}", UNASSIGNED)
    except BaseException as error:
        # Errors of the library are plain `Exception`, and its panics are `BaseException`.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ElektronError(f"{path}: damaged ({on_one_line(error)}): make or fetch it again") from error


def _case_options(name: str, subfolder: str) -> dict[str, bool]:
    """Options for case and accents of a BERT tokenizer whose configuration has none; empty for other tokenizers.

    Without them transformers lowercases even if `tokenizer.json` does not. With a `vocab.txt` alone, they are
    inferred from the vocabulary.
    """
    if (written := optional_file(name, TOKENIZER, subfolder)) is not None:
        normalizer = read_json(written).get("normalizer")
        if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
            return {}
        return {
            "do_lower_case": normalizer["lowercase"],
            "strip_accents": normalizer["strip_accents"],
            "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
        }
    if (vocabulary := optional_file(name, "vocab.txt", subfolder)) is None:
        return {}
    pieces = [piece for piece in read_text(vocabulary).splitlines() if not piece.startswith("[")]
    lowercase = not any(map(has_capitals, pieces))
    decomposed = unicodedata.normalize("NFD", "".join(pieces))
    strip_accents = lowercase and not any(unicodedata.category(character) == "Mn" for character in decomposed)
    _log_once(
        f"{name}: a vocab.txt without settings: text is {'lowercased' if lowercase else 'not lowercased'} and accents "
        f"are {'removed' if strip_accents else 'kept'}, as in the vocabulary"
    )
    return {"do_lower_case": lowercase, "strip_accents": strip_accents}


def has_capitals(piece: str) -> bool:
    """Whether lowercasing changes a piece of a vocabulary."""
    return piece != piece.lower()


def hub_options(repo: Repo) -> dict[str, Any]:
    """Options of `from_pretrained`: the revision, and no requests if the hub is not needed or not reachable."""
    local = Path(repo.name).is_dir() or not hub_is_reachable()
    return {"revision": repo.revision, "local_files_only": local}


def optional_file(name: str, file: str, subfolder: str = "") -> Path | None:
    """Path of a file of a folder or hub model; None if it does not exist."""
    repo = parse_repo(name)
    options = hub_options(repo) | {"_raise_exceptions_for_missing_entries": False}
    try:
        path = cached_file(repo.name, file, subfolder=subfolder, **options)
    except OSError as error:
        raise ElektronError(f"{name}: its {file} cannot be read ({first_line(error)})") from error
    return None if path is None else Path(path)


def _json_file(repo: Repo, file: str, subfolder: str = "") -> dict[str, Any]:
    """The object in a JSON file of a folder, the hub or its cache."""
    path = cached_file(repo.name, file, subfolder=subfolder, **hub_options(repo))
    if path is None:
        raise FileNotFoundError(f"no {file} there")
    return read_json(Path(path))


def _without_ignored_keys(values: dict[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """A configuration without the ignored keys, also in nested configurations, and the names of those keys."""
    config_class = CONFIG_MAPPING[values["model_type"]]
    dropped: list[str] = []
    kept: dict[str, Any] = {}
    for key, value in values.items():
        # A value must not replace a method.
        if key in OUTPUT_OPTIONS:
            continue
        if key.startswith("_") or key in LOADS_CODE or callable(getattr(config_class, key, None)):
            ours = key == "auto_map" and values["model_type"] == OUR_FAMILY
            if not ours and key != "_name_or_path":  # every configuration of the hub has one
                dropped.append(prefix + key)
        elif isinstance(value, dict) and value.get("model_type") in CONFIG_MAPPING:
            kept[key], inner = _without_ignored_keys(value, f"{prefix}{key}.")
            dropped += inner
        else:
            kept[key] = value
    return kept, dropped


@cache
def _log_once(message: str) -> None:
    """Log once: a configuration is read for the tokenizer and again for the weights."""
    log.info("%s", message)


def on_one_line(error: BaseException) -> str:
    """The message of an error on one line, shortened."""
    return " ".join(str(error).split())[:200] or type(error).__name__
