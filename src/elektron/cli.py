"""The command line: `elektron COMMAND …`, nothing but wiring.

A command is one entry in COMMANDS: the dataclass of its settings and the function that takes
it. Both are named by text and imported when the command runs, so that help answers at once.
Whatever goes wrong by the user's input leaves here as one line on stderr and exit status 2.
"""

from __future__ import annotations

import dataclasses
import errno
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from elektron import __version__
from elektron.command_line import Option, parse_arguments
from elektron.configuration import from_dict, settings, validate
from elektron.errors import AlreadyReportedError, ElektronError, did_you_mean
from elektron.io.files import to_json
from elektron.missing import refuse_missing_inputs
from elektron.recipes import DEFAULT_RECIPE, recipe_names, with_recipe
from elektron.terminal import (
    StdoutClosedError,
    configure_streams,
    echo,
    escape_control,
    output_enabled,
    print_error,
    release_streams,
    stdout,
)

BAD_INPUT = 2
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS}
"""What says enough without the name of a file, which the system does not always give."""
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass(frozen=True)
class Command:
    """One command; `config` and `function` are written `module:name`."""

    help: str
    """One line for the list of commands."""
    config: str
    """Dataclass of the command's settings."""
    function: str
    """Function that takes the dataclass and does the work."""
    examples: tuple[str, str]
    """Two command lines, without `elektron`."""
    recipe: bool = False
    """Whether it takes a recipe, with which what was typed is merged."""
    json: bool = True
    """Whether its result can be written as JSON."""


COMMANDS = {
    "quickstart": Command(
        "the whole way in small, on text that every installation has",
        "elektron.quickstart:QuickstartConfig",
        "elektron.quickstart:quickstart",
        ("quickstart", "quickstart --out tour --steps 200"),
        json=False,
    ),
    "tokenizer": Command(
        "train a WordPiece tokenizer on a corpus",
        "elektron.corpus.config:TokenizerConfig",
        "elektron.corpus.vocabulary:train_tokenizer",
        (
            "tokenizer corpus/ --out tokenizer",
            "tokenizer news.jsonl --text body --vocab-size 8000 --out tokenizer",
        ),
        json=False,
    ),
    "prepare": Command(
        "turn a corpus into blocks, the rows that pre-training reads",
        "elektron.corpus.config:PrepareConfig",
        "elektron.corpus.prepare:prepare",
        (
            "prepare corpus/ --tokenizer tokenizer --out blocks",
            "prepare news.jsonl --text body --tokenizer tokenizer --seq-len 256 --out blocks",
        ),
    ),
    "inspect": Command(
        "look for faults in a corpus, or read prepared blocks",
        "elektron.corpus.config:InspectConfig",
        "elektron.reporting.inspection:inspect",
        ("inspect corpus/ --tokenizer tokenizer", "inspect blocks --rows 3"),
    ),
    "verify": Command(
        "check that blocks, checkpoints, runs and models are whole",
        "elektron.verify:VerifyConfig",
        "elektron.verify:verify",
        ("verify blocks run", "verify run/discriminator"),
        json=False,
    ),
    "pretrain": Command(
        "train a generator and a discriminator on blocks",
        "elektron.pretraining.config:PretrainConfig",
        "elektron.pretraining.pretrain:pretrain",
        (
            "pretrain --data blocks --out run",
            "pretrain --config electra-small --data blocks --minutes 60 --out run",
        ),
        recipe=True,
    ),
    "estimate": Command(
        "say before a pre-training what it will cost",
        "elektron.estimate.config:EstimateConfig",
        "elektron.estimate.estimate:estimate",
        (
            "estimate --data blocks --probe true",
            "estimate --config electra-base --vocab-size 30522 --seq-len 128 --memory-per-device 16GB",
        ),
        recipe=True,
    ),
    "finetune": Command(
        "train an encoder on labelled data, and say how good it is",
        "elektron.finetuning.config:FinetuneConfig",
        "elektron.finetuning.finetune:finetune",
        (
            "finetune classification --model run/discriminator --train train.csv --test test.csv --out model",
            "finetune ner --model run/discriminator --train train.conll --eval dev.conll --seeds 3 --out model",
        ),
    ),
    "evaluate": Command(
        "score a fine-tuned model on labelled data",
        "elektron.finetuning.config:EvaluateConfig",
        "elektron.inference.evaluate:evaluate",
        ("evaluate model test.csv", "evaluate run --blimp pairs.jsonl"),
    ),
    "predict": Command(
        "let a fine-tuned model say what it thinks of each row",
        "elektron.inference.config:PredictConfig",
        "elektron.inference.predict:predict",
        ("predict model --input new.csv --output answers.csv", "predict model < texts.txt"),
        json=False,
    ),
    "compare": Command(
        "pre-train variants at equal compute, and say which learns more",
        "elektron.compare.config:CompareConfig",
        "elektron.compare.compare:compare",
        (
            "compare --data blocks --sweep objective=rtd,mlm --budget 10m --probe 'qa --train train.json' --out tried",
            "compare --data blocks --sweep batch=64,128 --budget 1h 2h --probe 'ner --train train.conll' --out tried",
        ),
    ),
    "report": Command(
        "draw runs or fine-tuned models as an HTML page",
        "elektron.reporting.config:ReportConfig",
        "elektron.reporting.report:report",
        ("report run", "report run-a run-b --out comparison.html"),
    ),
    "completion": Command(
        "have a shell complete commands, options and choices",
        "elektron.completion:CompletionConfig",
        "elektron.completion:completion",
        (
            "completion bash > ~/.local/share/bash-completion/completions/elektron",
            "completion fish > ~/.config/fish/completions/elektron.fish",
        ),
        json=False,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status.

    It is 0, 2 for what the user can mend, and 128 and the number of the signal that ended it.
    """
    configure_streams()
    _keep_libraries_quiet()
    _let_waiting_threads_sleep()
    try:
        with output_enabled(), _log_on_stderr(), _interrupted_by_signals():
            return _status_of(list(sys.argv[1:] if argv is None else argv))
    finally:
        release_streams()


def _status_of(argv: list[str]) -> int:
    try:
        _run(argv)
        with stdout():
            pass  # what has been written by others must get there too
    except StdoutClosedError:
        return 0
    except AlreadyReportedError:
        return BAD_INPUT
    except ElektronError as error:
        print_error(str(error))
        return BAD_INPUT
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        print_error("interrupted" if number == signal.SIGINT else f"ended by {number.name}")
        return 128 + number  # as shells report it
    except (MemoryError, RuntimeError) as error:  # torch raises a RuntimeError
        if not _is_out_of_memory(error):
            raise
        print_error(_out_of_memory(error))
        return BAD_INPUT
    except OSError as error:
        if error.filename is not None:
            print_error(f"{_short(os.fsdecode(error.filename))}: {error.strerror}")
        elif error.errno in OF_THE_MACHINE:
            print_error(str(error.strerror))
        elif error.errno == errno.EBADF:
            print_error("standard input is needed and closed")
        else:
            raise
        return BAD_INPUT
    except BaseException as error:
        # A panic in the Rust code of the `tokenizers` library, whose class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        print_error(f"the tokenizer fails on this text: {error}")
        return BAD_INPUT
    return 0


def _short(path: str) -> str:
    """A path as a message names it: one that is too long for the system is too long for a line."""
    return path if len(path) <= 300 else f"{path[:200]}…{path[-50:]}"


def overview() -> str:
    """What `elektron` alone prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: elektron COMMAND …",
            "",
            "Pre-train ELECTRA encoders on your own text and put them to work.",
            "",
            *(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()),
            "",
            "`elektron COMMAND --help` lists the options of a command.",
            "New here? `elektron quickstart` needs no data and no download.",
        ]
    )


def load(reference: str) -> Any:
    """What `module:name` names."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _run(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        echo(overview())
    elif argv[0] == "--version":
        echo(f"elektron {__version__}")
    elif argv[0] not in COMMANDS:
        near = did_you_mean(argv[0], COMMANDS)
        raise ElektronError(
            f"unknown command {argv[0]}{near or ': `elektron --help` lists the commands'}"
        )
    else:
        command = COMMANDS[argv[0]]
        config, quiet, json = _configure(argv[0], command, argv[1:])
        refuse_missing_inputs(config)
        if quiet:
            logging.getLogger("elektron").setLevel(logging.WARNING)
        with output_enabled(progress=not quiet, results=not json):
            result = load(command.function)(config)
        if json:
            echo(to_json(_plain(result), indent=1))


def _plain(value: Any) -> Any:
    """A result in JSON's types."""
    if hasattr(value, "as_json"):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _configure(name: str, command: Command, argv: list[str]) -> tuple[Any, bool, bool]:
    """The command's dataclass, from what was typed and, where there are recipes, from a recipe.

    Besides, whether `--quiet` and `--json` were typed.
    """
    config_class = load(command.config)
    flags = {setting.name: setting.flag for setting in settings(config_class)}
    extra = general_options(command)
    if command.recipe:
        extra.insert(0, ("config", "RECIPE", recipe_help()))
    values = parse_arguments(name, config_class, argv, extra, command.examples)
    quiet, json = values.pop("quiet", False), values.pop("json", False)
    if not command.recipe:
        return from_dict(config_class, values, label=flags.__getitem__), quiet, json
    recipe = values.pop("config", None)
    values = validate(config_class, values, label=flags.__getitem__)
    config = with_recipe(config_class, recipe, values)
    if recipe is None:
        logging.getLogger(__name__).info("no --config: the recipe is %s", DEFAULT_RECIPE)
    return config, quiet, json


def general_options(command: Command) -> list[Option]:
    """Options that are no settings and take no value."""
    options = [("quiet", "", "No progress and no notes; warnings and errors stay.")]
    if command.json:
        options.append(("json", "", "Write the result to standard output as JSON."))
    return options


def recipe_help() -> str:
    """What `--config` takes."""
    return (
        f"Recipe: one of {', '.join(recipe_names())}, or the path of a YAML file. Options that "
        f"are typed win over it. (default: {DEFAULT_RECIPE})"
    )


def _keep_libraries_quiet() -> None:
    """No telemetry from the hub's client, and no progress bars between the lines of our own.

    Elektron itself has no telemetry. These are read when the libraries are imported.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    # Nor does a service of the hub convert a model that has no safetensors, unasked.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    # The hub's client logs each attempt at a request and each second's pause before the next, here and
    # nowhere else. When it gives up it raises, and that is our one line.
    logging.getLogger("huggingface_hub.utils._http").addFilter(_no_retries)


def _no_retries(record: logging.LogRecord) -> bool:
    """Whether a warning of the hub's client is of something else, such as a rate limit that it waits for."""
    message = record.getMessage()
    return not (message.startswith("Retrying in ") or " thrown while requesting " in message)


def _let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads spin for microseconds, not milliseconds, before they sleep.

    Spinning costs nothing on a machine of one's own, and stalls everybody on a busy one: beside
    another job of as many threads the quickstart ran nine times slower. Read when torch is imported.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the time: a live progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return f"elektron: {level}{escape_control(record.getMessage())}"


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """What the package logs, one line each: `elektron: warning: …`, and notes without a level."""
    logger, handler = logging.getLogger("elektron"), _StderrHandler()
    handler.setFormatter(_LineFormatter())
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # some libraries log for the root, and every line would come twice
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeHandler(handler)


def _is_out_of_memory(error: Exception) -> bool:
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in said)


def _out_of_memory(error: Exception) -> str:
    detail = " ".join(str(error).split("\n", 1)[0].split())
    return (
        f"out of memory{f' ({detail})' if detail else ''}: use a smaller --micro-batch-size or --batch-size, "
        "shorter rows, or a smaller model"
    )


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP clean up as Ctrl-C does; a second one ends the process at once.

    A signal that is ignored, as under `nohup`, stays so.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt(signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    handled = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
