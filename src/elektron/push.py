"""`elektron push`: upload a model to the Hugging Face hub; what would be uploaded is shown first.

Only files that belong to a model are uploaded: weights, configuration, tokenizer, `task.json`, metrics and card.
Reports, predictions, settings and checkpoints are not uploaded, because they contain texts or local paths. A file to
upload that contains a local path is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elektron.configuration import Positional, ValidatedConfig
from elektron.errors import ElektronError, comma_list, first_line
from elektron.io.checksums import CHECKSUMS, checksum_faults
from elektron.io.files import read_text
from elektron.progress import format_quantity
from elektron.terminal import echo, escape_control

CARD = "README.md"
CONFIG = "config.json"
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "added_tokens.json", "*.model")
"""Files of tokens. They are not searched for local paths, because tokens may look like paths."""
WEIGHTS = ("model*.safetensors", "onnx/*")
FILES = (
    *(CONFIG, "generation_config.json", "task.json", "metrics.json", "export.json", CHECKSUMS),
    *("model*.safetensors.index.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("elektron.py", "heads.py"),  # code of model type `elektron`, for users without this package
    *("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("1_Pooling/config.json", *VOCABULARIES, *WEIGHTS),
)
"""Files that are uploaded, besides the card."""
TARGET_TOKENIZER = "target_tokenizer"
"""Folder of the tokenizer of the texts that a sequence-to-sequence model generates."""
LOCAL_PATH = re.compile(
    r"(?<![\w:/.~-])(?:~[\w-]*/[\w.-]|file://|[A-Za-z]:\\+(?!u[0-9a-f]{4})\w|\\\\+\w+\\|"
    r"/(?:home|Users|root|tmp|var|mnt|media|srv|opt|data|scratch|work|workspace|content|Volumes|private)/[\w.-])[^\s\"'`]*"
)


@dataclass
class PushConfig(ValidatedConfig):
    """Upload a model to the Hugging Face hub. Without --upload, only show what would be uploaded."""

    model: Positional[str]
    """Folder of a fine-tuned model, of a network of a pre-training run, or of the run itself (its discriminator)."""
    name: Positional[str]
    """Repository on the hub: OWNER/NAME."""
    upload: bool = False
    """Upload. The token is the one of `hf auth login`, or HF_TOKEN."""
    private: bool = True
    """Whether the repository is private. The visibility of an existing repository must match and is not changed."""
    license: str | None = None
    """Licence in the card, by the hub's identifier, such as apache-2.0, cc-by-4.0 or other."""


def push(config: PushConfig) -> dict[str, Any]:
    """Show what would be uploaded, and upload it if asked to.

    Returns:
        `repository`, `private`, `files` with their sizes in bytes, `left_out`, and `url` of the commit, None in a dry
        run.

    Raises:
        ElektronError: the folder has no complete model, a file contains a local path, the name is not valid, or the
            hub refuses.
    """
    check_name(config.name)
    folder = model_folder(config.model)
    card = card_for(folder, config.name, config.license)
    folders = (folder, folder / TARGET_TOKENIZER)
    files = sorted(path for each in folders for path in _matching(each, FILES))
    paths = {path.relative_to(folder).as_posix(): path for path in files}
    refuse_local_paths(folder / CARD, card, paths.values())
    sizes = {CARD: len(card.encode())} | {name: path.stat().st_size for name, path in paths.items()}
    uploaded = {name.partition("/")[0] for name in sizes}
    left_out = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if path.name not in uploaded)
    describe(config, card, sizes, left_out)
    url = None
    if config.upload:
        url = upload(config, {CARD: card.encode(), **paths})
        echo(f"\nUploaded: {url}")
    else:
        echo("\nNothing was uploaded: add --upload to do so.")
    return {"repository": config.name, "private": config.private, "files": sizes, "left_out": left_out, "url": url}


def check_name(name: str) -> None:
    """Raise ElektronError unless this is a valid name OWNER/NAME of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ElektronError(f"{name}: not a valid name on the hub ({first_line(error)})") from error
    if "/" not in name:
        raise ElektronError(f"{name}: write OWNER/NAME, with your user name or an organization")


def model_folder(given: str) -> Path:
    """The folder of the model, checked to be complete.

    Raises:
        ElektronError: there is no model, or a file differs from its checksum.
    """
    from elektron.models.pair import DISCRIMINATOR, network_of_run

    folder = Path(network_of_run(given, DISCRIMINATOR) or given)
    if not (folder / CONFIG).is_file() or not any(_matching(folder, WEIGHTS)):
        raise ElektronError(
            f"{folder} has no model (a {CONFIG} and model.safetensors): give the folder that `elektron finetune` or "
            "`pretrain` wrote"
        )
    for fault in checksum_faults(folder).values():
        raise ElektronError(fault)
    return folder


def _matching(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    return (path for pattern in patterns for path in folder.glob(pattern) if path.is_file())


def card_for(folder: Path, name: str, license_name: str | None) -> str:
    """The model card: the one in the folder if somebody has written or changed it, else one made for this name.

    Raises:
        ElektronError: there is none, and too little is known to make one.
    """
    from elektron.models.onnx_model import exported_file
    from elektron.pretraining.config import SUMMARY
    from elektron.reporting.model_card import encoder_card, is_generated, model_card
    from elektron.reporting.pretraining_run import read_run
    from elektron.reporting.task_result import METRICS, TASK, read_task_result

    path, run = folder / CARD, folder.parent
    text = read_text(path) if path.is_file() else None
    if (folder / TASK).is_file() and (folder / METRICS).is_file():
        result = read_task_result(folder)
        if text is None or is_generated(text) or text == model_card(result):
            text = model_card(result, name)
    elif text is None and (run / SUMMARY).is_file():
        text = encoder_card(read_run(run), folder.name, name)
    if text is None:
        reason = (
            "is an exported model, without the metrics for a card"
            if exported_file(str(folder)) is not None
            else "has no model card, and none can be made, because it is not in the folder of a finished run"
        )
        raise ElektronError(f"{folder} {reason}: write {path}")
    if license_name is None:
        return text
    card = parsed_card(text, path)
    card.data["license"] = license_name
    return str(card)


def parsed_card(text: str, place: Path) -> Any:
    """The card with its metadata. Raises ElektronError where these are not YAML."""
    import yaml
    from huggingface_hub import ModelCard

    try:
        return ModelCard(text, ignore_metadata_errors=True)
    except (yaml.YAMLError, ValueError) as error:
        raise ElektronError(
            f"{place}: the metadata between the --- lines is not valid YAML ({first_line(error)}): correct it"
        ) from error


def refuse_local_paths(card_file: Path, card: str, paths: Iterable[Path]) -> None:
    """Raise ElektronError for the first file to upload that contains a local path."""
    texts = {card_file: card}
    for path in paths:
        if path.suffix == ".json" and not any(map(path.match, VOCABULARIES)):
            texts[path] = read_text(path)
    for path, text in texts.items():
        if match := LOCAL_PATH.search(text):
            raise ElektronError(
                f"{path} contains a local path ({escape_control(match[0])[:80]}): remove it before publishing"
            )


def describe(config: PushConfig, card: str, sizes: dict[str, int], left_out: list[str]) -> None:
    """Print the files to upload and the beginning of the card, without the metrics in its metadata."""
    import yaml

    total = format_quantity(sum(sizes.values()), "bytes")
    lines = [
        f"https://huggingface.co/{config.name} ({'private' if config.private else 'public'}): "
        f"{len(sizes)} files, {total}"
    ]
    width = max(map(len, sizes))
    lines += [f"  {name:{width}}  {format_quantity(size, 'bytes')}" for name, size in sizes.items()]
    if left_out:
        lines.append(f"Not uploaded: {comma_list(left_out)}")
    parsed = parsed_card(card, Path(CARD))
    metadata = parsed.data.to_dict()
    metadata.pop("model-index", None)
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True) + "\n" if metadata else ""
    head += parsed.text.partition("\n## ")[0].strip()
    lines += ["", "The card begins:", *(f"  {line}".rstrip() for line in head.splitlines())]
    if parsed.data.get("license") is None:
        lines += ["", "The card names no licence, and without one nobody may use the model: --license"]
    echo("\n".join(map(escape_control, lines)))


def upload(config: PushConfig, files: dict[str, Path | bytes]) -> str:
    """Create the repository if there is none, and add all files in one commit; returns the commit's URL.

    Raises:
        ElektronError: no token, no network, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # as datasets does

    from elektron.hub import on_one_line

    if get_token() is None:
        raise ElektronError("no token for the hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(library_name="elektron")
    try:
        api.create_repo(config.name, private=config.private, exist_ok=True)
        private = api.model_info(config.name).private
        if private is not config.private:
            raise ElektronError(
                f"{config.name} exists and is {'private' if private else 'public'}: add --private "
                f"{str(private).lower()}, or choose another name"
            )
        operations = [CommitOperationAdd(name, file) for name, file in files.items()]
        commit = api.create_commit(config.name, operations, commit_message="Upload a model with elektron")
    except HfHubHTTPError as error:
        raise ElektronError(f"{config.name}: {_refusal(error)}") from error
    except (httpx.HTTPError, ConnectionError) as error:  # ConnectionError: HF_HUB_OFFLINE
        raise ElektronError(f"the hub cannot be reached ({first_line(error)})") from error
    except ValueError as error:  # the hub's client rejects the card's metadata
        raise ElektronError(f"{config.name}: {on_one_line(error)}") from error
    return commit.commit_url


def _refusal(error: Any) -> str:
    """Why the hub refuses a request."""
    status = error.response.status_code
    reasons = {
        401: "the hub does not accept the token: run `hf auth login` again",
        403: "the token may not write there: make one with write access, or choose a name of your own",
    }
    message = (error.server_message or first_line(error)).strip()
    return f"{reasons.get(status, f'the hub refuses (status {status})')} ({message[:200]})"
