"""Files and hub data sets opened, unpacked, decoded and cut into lines: what all readers share.

Text is UTF-8, or UTF-16 and UTF-32 with a byte order mark. What cannot be decoded is replaced and
counted, unless there is so much of it that the file must be something else. Everything streams.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from elektron.configuration import suggestion
from elektron.errors import ElektronError

log = logging.getLogger(__name__)

FIRST_BYTES = 1_000_000
"""A file is judged by so many."""
BYTES_AT_ONCE = 1 << 17
"""Read after these: little, because one rare character makes each of a chunk take four bytes."""
MOST_UNDECODABLE = 0.1
"""Share of the first chunk; a file with more of it is not text."""
LONGEST_FIELD = 1 << 28
"""Characters of a csv field: more is a quotation mark that is never closed. Of a line, alike."""

MOST_LISTED = 40
"""Names in a message."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
TEXT_SUFFIXES = {".txt"}
JSON_SUFFIXES = {".jsonl", ".json"}
TABLE_SUFFIXES = {".csv", ".tsv"}
PARQUET_SUFFIXES = {".parquet"}
KNOWN_SUFFIXES = TEXT_SUFFIXES | JSON_SUFFIXES | TABLE_SUFFIXES | PARQUET_SUFFIXES
HUB = "hf:"
PINNED = re.compile(r"\A(\w[\w.-]*(?:/[\w.-]+)?)@(.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
SECONDS_FOR_THE_HUB = 10.0

BOMS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAVED_DATASET, SAVED_DATASETS = {"state.json", "dataset_info.json"}, "dataset_dict.json"
"""Files beside what `datasets`' `save_to_disk` writes of one data set, and beside several."""
EXCEL_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)
"""The line by which Excel names the delimiter of a csv file."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def file_suffix(path: Path) -> str:
    """The ending that tells the format, in lower case, without that of the compression."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return plain.suffix.lower()


def nearest(path: Path) -> str:
    """A hint at what lies where a path stops to exist."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    if not missing.parent.is_dir():
        return ""
    names = [entry.name for entry in missing.parent.iterdir()]
    return suggestion(
        missing.name, names, label=lambda name: str(missing.parent / name), dotted=False
    )


def listed(names: Iterable[str]) -> str:
    """Names of columns for a message, on one line, the long ones cut, and of very many the first."""
    all_names = list(names)
    flat = (" ".join(name.split()) for name in all_names[:MOST_LISTED])
    more = len(all_names) - MOST_LISTED
    return ", ".join(name if len(name) <= 30 else name[:29] + "…" for name in flat) + (
        f" and {more:,} more" if more > 0 else ""
    )


def decompressed(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file by chunks, unpacked where its name says that it is packed."""
    import pyarrow as pa

    stream: Any = file
    if compression := COMPRESSIONS.get(path.suffix.lower()):
        if path.stat().st_size == 0:
            raise ElektronError(f"{path}: empty, though {compression} never is: fetch it again")
        stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
    size = FIRST_BYTES
    while True:
        try:
            chunk = stream.read(size)
        except OSError as error:
            if stream is file:
                raise
            raise ElektronError(f"{path}: damaged ({first_line(error)}): fetch it again") from error
        if not chunk:
            return
        yield chunk
        size = BYTES_AT_ONCE


def decoded(
    name: str,
    chunks: Iterator[bytes],
    undecodable: Counter[str],
    encoding: str | None = None,
    cure: str = "convert it to UTF-8",
) -> Iterator[str]:
    """The text of a file by chunks; what was replaced is counted under the file's name.

    Args:
        name: of the file, for messages.
        chunks: its bytes.
        undecodable: counts what is replaced.
        encoding: where it is known; every byte must fit it then, unless it is UTF-8.
        cure: what to do about text in another encoding than UTF-8.

    Raises:
        ElektronError: it is not text.
    """
    first = next(chunks, b"")
    if encoding is None:
        encoding = next((name for bom, name in BOMS.items() if first.startswith(bom)), "utf-8")
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    if errors != "strict":
        _refuse_binary(name, first, cure)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    chunks = chain([first], chunks)
    del first  # not to be kept until the end of the file
    try:
        for chunk in chunks:
            yield without_surrogates(decoder.decode(chunk), name, undecodable)
        yield without_surrogates(decoder.decode(b"", final=True), name, undecodable)
    except UnicodeDecodeError as error:
        raise ElektronError(f"{name}: not valid {encoding}: convert it to UTF-8") from error


def guessed_encoding(name: str) -> str:
    """The encoding that the beginning of a file seems to have, where it is not UTF-8; else an empty string."""
    path = Path(name)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return _guessed_encoding(next(decompressed(path, file), b""))


def _guessed_encoding(first: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(first[:BYTES_AT_ONCE]).best()
    return "" if best is None or best.encoding in ("ascii", "utf_8") else best.encoding


def with_plain_line_ends(chunks: Iterable[str]) -> Iterator[str]:
    """The same text with every end of a line as `\\n`."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for chunk in chunks:
        yield newlines.decode(chunk)
    yield newlines.decode("", final=True)


def without_surrogates(text: str, name: str, undecodable: Counter[str]) -> str:
    """Replace what stands for undecodable bytes, or was an unpaired escape in JSON."""
    try:
        text.encode()  # several times faster than a search
    except UnicodeEncodeError:
        text, count = LONE_SURROGATE.subn("\ufffd", text)
        undecodable[name] += count
    return text


def warn_of_undecodable(name: str, undecodable: Counter[str]) -> None:
    """Say how much of a file was replaced, where any was."""
    if count := undecodable[name]:
        guess = guessed_encoding(name)
        log.warning(
            "%s: %s bytes are not valid UTF-8 and were replaced%s",
            name,
            f"{count:,}",
            f"; the file may be in {guess}" if guess else "",
        )


def split_lines(chunks: Iterable[str], longest: int = sys.maxsize) -> Iterator[str]:
    """Lines without their ends; one of more than `longest` characters comes in parts."""
    rest: list[str] = []
    length = 0
    for chunk in chunks:
        *whole, last = chunk.split("\n")
        for line in whole:
            yield from bounded("".join([*rest, line]), longest) or [""]
            rest, length = [], 0
        rest.append(last)
        length += len(last)
        if length > longest:
            *parts, last = bounded("".join(rest), longest)
            yield from parts
            rest, length = [last], len(last)
    if rest:
        yield from bounded("".join(rest), longest)


def with_bounded_lines(name: str, chunks: Iterable[str]) -> Iterator[str]:
    """The same text, for readers that need whole lines.

    Raises:
        ElektronError: a line has more than LONGEST_FIELD characters.
    """
    length = 0
    for chunk in chunks:
        end = chunk.rfind("\n")
        length = len(chunk) - end - 1 + (length if end < 0 else 0)
        if length > LONGEST_FIELD:
            raise ElektronError(
                f"{name}: a line of more than {LONGEST_FIELD:,} characters: is it of another format?"
            )
        yield chunk


def bounded(text: str, longest: int) -> list[str]:
    """A text in parts of at most `longest` characters, cut between lines or words if possible."""
    parts = []
    begin = 0
    while len(text) - begin > longest:
        end = begin + longest
        for separator in ("\n", " "):
            place = text.rfind(separator, begin + longest // 2, end)
            if place >= 0:
                end = place
                break
        parts.append(text[begin:end].strip())
        begin = end
    if begin < len(text):
        parts.append(text[begin:])
    return parts


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object on a line of jsonl. Raises ElektronError if there is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ElektronError(
            f"{where}: not valid JSON ({first_line(error)}); each line must hold one object"
        ) from error
    if not isinstance(row, dict):
        raise ElektronError(f"{where}: not a JSON object")
    return row


class Place(NamedTuple):
    """Where a model, a tokenizer or a data set lies: a folder, or a name on the hub at a revision."""

    name: str
    revision: str = "main"


def located(name: str) -> Place:
    """What `FOLDER`, `NAME` or `NAME@REVISION` means; a folder that is there may have an @ in its name."""
    pinned = PINNED.fullmatch(name)
    if pinned is None or Path(name).exists():
        return Place(name)
    return Place(*pinned.groups())


def refuse_missing_folder(name: str) -> None:
    """Raise ElektronError for a name that only a folder could have, where there is none.

    The hub is not asked, in vain and for a while where there is no network, about a slip.
    """
    folder = Path(located(name).name)
    beside_others = folder.parent != Path() and folder.parent.is_dir()
    no_hub_name = folder.is_absolute() or len(folder.parts) > 2 or name.startswith((".", "~"))
    if not folder.exists() and (beside_others or no_hub_name):
        raise ElektronError(f"{name}: no such folder{nearest(folder)}")


@cache
def hub_answers() -> bool:
    """Whether the hub can be reached now: asked once, where its client asks six times for every file."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # as datasets does

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS_FOR_THE_HUB)
    except (httpx.HTTPError, OSError):  # the second: HF_HUB_OFFLINE forbids it
        return False
    return True


class HubSource(NamedTuple):
    """What `hf:NAME[@REVISION][:config][:split]` means; NAME may be a local folder."""

    place: Place
    config: str | None
    split: str


def hub_source(source: str) -> HubSource:
    """The parts of a source. Raises ElektronError if it names no data set."""
    name, config, split = [*source.removeprefix(HUB).split(":"), "", ""][:3]
    if not name.strip("/"):
        raise ElektronError(
            f"{source}: which data set? Write {HUB}NAME[@REVISION][:config][:split]"
        )
    return HubSource(located(name), config or None, split or "train")


def hub_commit(source: str) -> str | None:
    """The commit that a data set's revision stands for now; None for a local folder.

    None as well where the hub does not tell, for which loading has a message of its own.
    """
    name, revision = hub_source(source).place
    if Path(name).exists():
        return None
    if COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # as datasets does

    try:
        found = HfApi().dataset_info(name, revision=revision, timeout=SECONDS_FOR_THE_HUB)
    except (httpx.HTTPError, OSError, ValueError):
        return None
    return found.sha


def hub_rows(source: str, commit: str | None = None) -> tuple[Any, Iterator[dict[str, Any]]]:
    """Features, None where unknown, and rows of `hf:NAME[@REVISION][:config][:split]`, streamed.

    With a `commit`, those of it instead of what the revision stands for by now. Raises
    ElektronError, here or at a row, if it cannot be loaded.
    """
    from datasets import load_dataset, load_from_disk
    from datasets.exceptions import DatasetsError

    (name, revision), config, split = hub_source(source)

    def unloadable(error: Exception) -> ElektronError:
        return ElektronError(f"{source}: cannot be loaded ({first_line(error)})")

    def rows() -> Iterator[dict[str, Any]]:
        try:
            yield from data_set
        except (DatasetsError, OSError, ValueError) as error:
            raise unloadable(error) from error

    try:
        if any((Path(name) / file).is_file() for file in ("state.json", SAVED_DATASETS)):
            data_set = load_from_disk(name)
            if isinstance(data_set, dict):
                data_set = data_set[split]
        else:
            data_set = load_dataset(
                name, config, split=split, revision=commit or revision, streaming=True
            )
    except KeyError as error:
        raise ElektronError(f"{source}: no split {split!r}, only {listed(data_set)}") from error
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError: it would be made by a script, which is not run.
        raise unloadable(error) from error
    return data_set.features, rows()


def first_line(error: BaseException) -> str:
    """What an error says, on one line and without its tail."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _refuse_binary(name: str, first: bytes, cure: str) -> None:
    """Raise ElektronError if the beginning of a file is no text in UTF-8."""
    if b"\0" in first:
        raise ElektronError(f"{name}: a binary file (it has NUL bytes), give files of text")
    # The chunk may end inside a character; what is cut off there is not counted.
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(first)
    undecodable = len(LONE_SURROGATE.findall(text))
    if undecodable > MOST_UNDECODABLE * len(first):
        guess = _guessed_encoding(first)
        raise ElektronError(
            f"{name}: {undecodable / len(first):.0%} of it is not valid UTF-8: a binary file, or text "
            f"in another encoding{f', perhaps {guess}' if guess else ''}: {cure}"
        )
