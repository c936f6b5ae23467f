"""Load networks from a folder or the hub, from safetensors files that must contain every weight.

Weights that are missing, of another shape or not finite raise an error that names them. Pickled weights raise an error
with the command that converts them in another process.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import has_file

from elektron.errors import ElektronError
from elektron.hub import CONFIG, LOAD_ERRORS, hub_options, load_configuration, on_one_line
from elektron.io.datasets import Repo, parse_repo
from elektron.io.files import check_readable
from elektron.models.attention import use_fast_attention
from elektron.models.onnx_model import exported_file

PICKLED = "pytorch_model*.bin"
RENAMED = {
    "lm_predictions.lm_head.dense": "cls.predictions.transform.dense",
    "lm_predictions.lm_head.LayerNorm": "cls.predictions.transform.LayerNorm",
    "lm_predictions.lm_head.bias": "cls.predictions.bias",
}
"""Names of the language-model head in the files of DeBERTa-v3, and in transformers with `config.legacy`; both heads
compute the same."""
POOLER = "pooler"
"""The module between BERT's encoder and a sentence-level head. Models saved with other heads do not have it."""
CONVERSION = (
    "import pathlib, sys, torch; from safetensors.torch import save_file; "
    f"folder = pathlib.Path(sys.argv[1]); files = sorted(folder.glob('{PICKLED}')); "
    "save_file({n: t.contiguous().clone() for f in files "
    "for n, t in torch.load(f, map_location='cpu', weights_only=True).items()}, "
    "folder / 'model.safetensors', metadata={'format': 'pt'})"
)
"""A program that converts pickled weights. Users run it in another process, since unpickling can run code even with
`weights_only`."""


def load_network(model_class: Any, name: str) -> Any:
    """`model_class.from_pretrained` in fp32, from safetensors files that must contain every weight.

    Args:
        model_class: a model class or an Auto class of transformers.
        name: folder or hub name, also `NAME@REVISION`.

    Raises:
        ElektronError: there is no such model, its weights cannot be read, do not fit its configuration or are
            not finite.
    """
    return _load(model_class, name)[0]


def load_bare_encoder(name: str) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """A model without its head, and those of its weights that the files contain: all except perhaps a pooler's.

    Raises:
        ElektronError: as for `load_network`.
    """
    encoder, new = _load(AutoModel, name, lambda _, key: key.partition(".")[0] == POOLER)
    return encoder, {key: value for key, value in encoder.state_dict().items() if key not in new}


def load_pooler(name: str, config: PreTrainedConfig) -> dict[str, Tensor]:
    """The weights of a model's pooler, by their names in the encoder; empty if its class or its files have no pooler.

    Raises:
        ElektronError: as for `load_network`.
    """
    with torch.device("meta"):  # do not read the weights again for families without pooler
        has_pooler = hasattr(AutoModel.from_config(config), POOLER)
    weights = load_bare_encoder(name)[1] if has_pooler else {}
    return {key: weight for key, weight in weights.items() if key.startswith(f"{POOLER}.")}


def load_with_new_head(model_class: Any, name: str) -> tuple[Any, set[str]]:
    """Load a model whose head may be missing from the files.

    Returns:
        The model, and the names of the head's weights that are missing and therefore newly initialised.

    Raises:
        ElektronError: as for `load_network`.
    """
    return _load(model_class, name, lambda network, key: not key.startswith(f"{network.base_model_prefix}."))


def _load(
    model_class: Any, name: str, may_be_new: Callable[[Any, str], bool] = lambda *_: False
) -> tuple[Any, set[str]]:
    """The model, and the names of the missing or mismatched weights for which `may_be_new(model, name)` is true."""
    repo, config = parse_repo(name), load_configuration(name)
    if Path(name).is_dir():
        if exported_file(name) is not None:
            raise ElektronError(
                f"{name} is an exported model, without PyTorch weights: give the folder that it was made from"
            )
        if _only_pickled(repo):
            raise _pickled(repo)
        for path in sorted(Path(name).glob("*.safetensors")):
            check_readable(path)
    renamed = None
    if config.model_type == "deberta-v2":
        config.legacy, renamed = True, RENAMED
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # `_refuse_unfit` reports the same in one line
    try:
        network, report = model_class.from_pretrained(
            repo.name,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            key_mapping=renamed,
            **hub_options(repo),
        )
    except LOAD_ERRORS as error:
        if isinstance(error, OSError) and _only_pickled(repo):
            raise _pickled(repo) from error
        raise ElektronError(f"the weights of {name!r} cannot be read: {on_one_line(error)}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if renamed:
        network._weight_conversions = None  # else `save_pretrained` would use the names in the files
    mismatched = {key for key, *_ in report["mismatched_keys"]}
    new = {key for key in report["missing_keys"] | mismatched if may_be_new(network, key)}
    _refuse_unfit(name, network, report, new)
    for key, value in network.state_dict().items():
        if value.is_floating_point() and not value.sum().isfinite():
            raise ElektronError(
                f"{name!r}: its weights {key} are not all finite numbers: they are damaged, or training has diverged"
            )
    use_fast_attention(network)
    return network, new


def _refuse_unfit(name: str, network: Any, report: dict[str, Any], new: set[str]) -> None:
    """Raise ElektronError if the weights in the files do not fit the network; unused heads are allowed."""
    parts = {child for child, _ in network.base_model.named_children()}
    prefix = f"{network.base_model_prefix}."
    complaints = {
        "missing": report["missing_keys"] - new,
        "of another shape": {key for key, *_ in report["mismatched_keys"]} - new,
        "unexpected": {key for key in report["unexpected_keys"] if key.removeprefix(prefix).partition(".")[0] in parts},
    }
    problems = [f"{len(keys)} {what} (such as {min(keys)})" for what, keys in complaints.items() if keys]
    if problems:
        saved = (network.config.architectures or ["no class"])[0]
        raise ElektronError(
            f"{name!r} cannot be loaded as {type(network).__name__}, because its weights do not fit: "
            f"{', '.join(problems)}; its {CONFIG} names {saved}"
        )


def _only_pickled(repo: Repo) -> bool:
    """Whether there are weights, but none in safetensors."""
    folder = Path(repo.name)
    if folder.is_dir():
        return any(folder.glob(PICKLED)) and not any(folder.glob("*.safetensors"))
    files = ("pytorch_model.bin", "pytorch_model.bin.index.json")
    try:
        return any(has_file(repo.name, file, **hub_options(repo)) for file in files)
    except (OSError, ValueError):
        return False


def _pickled(repo: Repo) -> ElektronError:
    folder, first = repo.name, ""
    if not Path(folder).is_dir():
        folder = repo.name.rpartition("/")[2]
        revision = "" if repo.revision == "main" else f" --revision {shlex.quote(repo.revision)}"
        first = f"hf download {repo.name}{revision} --local-dir {folder} && "
    return ElektronError(
        f"{repo.name} has its weights only in pickled files ({PICKLED}), which could run code and are not "
        f'opened: convert them in another process and give the folder: {first}python -c "{CONVERSION}" '
        f"{shlex.quote(folder)}"
    )
