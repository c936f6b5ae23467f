"""The command line: `elektron COMMAND …`.

A command is an entry in COMMANDS: the dataclass of its settings and the function that takes it. Both are given as
strings, `module:name`, and imported when they are needed, so that `--help` is fast. An error that the user can fix is
printed as one line on stderr, with exit status 2.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TextIO

from elektron import __version__
from elektron.command_line import Option, parse_arguments
from elektron.configuration import from_dict, settings, summary, validate
from elektron.errors import AlreadyReportedError, ElektronError, did_you_mean, first_line
from elektron.io.files import to_json
from elektron.missing import refuse_missing_inputs
from elektron.recipes import CONTINUE_RECIPE, DEFAULT_RECIPE, default_recipe, recipe_names, with_recipe
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
SYSTEM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS}
"""Errors whose message is clear without a file name, which the operating system does not always give."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        config: dataclass of its settings, as `module:name`; its docstring is the line in the list of commands.
        function: the function that takes the dataclass and does the work, as `module:name`.
        examples: the arguments of two command lines.
        recipe: whether it takes `--config RECIPE`, whose settings the options override.
        json: whether its result can be written as JSON.
    """

    config: str
    function: str
    examples: tuple[str, str]
    recipe: bool = False
    json: bool = True


COMMANDS = {
    "quickstart": Command(
        "elektron.quickstart:QuickstartConfig",
        "elektron.quickstart:quickstart",
        ("", "--out tour --steps 200"),
        json=False,
    ),
    "tokenizer": Command(
        "elektron.corpus.config:TokenizerConfig",
        "elektron.corpus.tokenizer:train_tokenizer",
        ("corpus/ --out tokenizer", "news.jsonl --text body --vocab-size 8000 --out tokenizer"),
        json=False,
    ),
    "prepare": Command(
        "elektron.corpus.config:PrepareConfig",
        "elektron.corpus.prepare:prepare",
        (
            "corpus/ --tokenizer tokenizer --out blocks",
            "news.jsonl --text body --tokenizer tokenizer --seq-len 256 --out blocks",
        ),
    ),
    "inspect": Command(
        "elektron.corpus.config:InspectConfig",
        "elektron.reporting.inspection:inspect",
        ("corpus/ --tokenizer tokenizer", "blocks --rows 3"),
    ),
    "verify": Command(
        "elektron.verify:VerifyConfig", "elektron.verify:verify", ("blocks run", "run/discriminator"), json=False
    ),
    "pretrain": Command(
        "elektron.pretraining.config:PretrainConfig",
        "elektron.pretraining.pretrain:pretrain",
        ("--data blocks --out run", "--config electra-small --data blocks --minutes 60 --out run"),
        recipe=True,
    ),
    "estimate": Command(
        "elektron.estimate.config:EstimateConfig",
        "elektron.estimate.estimate:estimate",
        (
            "--data blocks --probe true",
            "--config electra-base --vocab-size 30522 --seq-len 128 --memory-per-device 16GB",
        ),
        recipe=True,
    ),
    "finetune": Command(
        "elektron.finetuning.config:FinetuneConfig",
        "elektron.finetuning.finetune:finetune",
        (
            "classification --model run/discriminator --train train.csv --test test.csv --out model",
            "ner --model run/discriminator --train train.conll --eval dev.conll --seeds 3 --out model",
        ),
    ),
    "evaluate": Command(
        "elektron.finetuning.config:EvaluateConfig",
        "elektron.inference.evaluate:evaluate",
        ("model test.csv", "run --blimp pairs.jsonl"),
    ),
    "predict": Command(
        "elektron.inference.config:PredictConfig",
        "elektron.inference.predict:predict",
        ("model --input new.csv --output answers.csv", "model < texts.txt"),
        json=False,
    ),
    "detect": Command(
        "elektron.inference.config:DetectConfig",
        "elektron.inference.detect:detect",
        ("run --input new.txt", "run --threshold 0.5 < texts.txt"),
        json=False,
    ),
    "serve": Command(
        "elektron.serve.config:ServeConfig", "elektron.serve.serve:serve", ("model", "run --port 8080"), json=False
    ),
    "explain": Command(
        "elektron.explain.config:ExplainConfig",
        "elektron.explain.explain:explain",
        ("model --input new.csv --output page.html", "run --input texts.txt --json"),
    ),
    "canaries": Command(
        "elektron.audit.config:CanariesConfig",
        "elektron.audit.canaries:make_canaries",
        ("--out canaries", "--copies 0 50 --template '账户@@@@的密码是########' --out canaries"),
    ),
    "audit": Command(
        "elektron.audit.config:AuditConfig",
        "elektron.audit.audit:audit",
        ("run", "run --canaries canaries --out audited"),
    ),
    "export": Command(
        "elektron.inference.config:ExportConfig",
        "elektron.inference.export:export",
        ("model --out exported", "model --int8 --out exported"),
    ),
    "compare": Command(
        "elektron.compare.config:CompareConfig",
        "elektron.compare.compare:compare",
        (
            "--data blocks --sweep objective=rtd,mlm --budget 10m --probe 'qa --train train.json' --out tried",
            "--data blocks --sweep batch_size=64,128 --budget 1h --probe 'ner --train train.conll' --out tried",
        ),
    ),
    "report": Command(
        "elektron.reporting.config:ReportConfig", "elektron.report:report", ("run", "run-a run-b --out comparison.html")
    ),
    "push": Command(
        "elektron.push:PushConfig",
        "elektron.push:push",
        ("model me/reviews", "model me/reviews --license apache-2.0 --upload"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status.

    The status is 0 on success, 2 for an error that the user can fix, and 128 plus the signal's number if a signal ended
    the command. Other exceptions are bugs and propagate.
    """
    configure_streams()
    _configure_libraries()
    try:
        with output_enabled(), _log_to_stderr(), _signals_as_interrupts():
            _run(list(sys.argv[1:] if argv is None else argv))
            with stdout():
                pass  # flushes what libraries have written
        return 0
    except StdoutClosedError:
        return 0
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        print_error("interrupted" if number == signal.SIGINT else f"ended by {number.name}")
        return 128 + number  # as shells report it
    except AlreadyReportedError:
        return BAD_INPUT
    except BaseException as error:
        if not (message := _message(error)):
            raise
        print_error(message)
        return BAD_INPUT
    finally:
        release_streams()


def _message(error: BaseException) -> str:
    """The line to print for an error that the user can fix; empty for a bug."""
    if isinstance(error, ElektronError):
        return str(error)
    if isinstance(error, OSError):
        if error.filename is not None:
            path = os.fsdecode(error.filename)
            short = path if len(path) <= 300 else f"{path[:200]}…{path[-50:]}"
            return f"{short}: {error.strerror}"
        return str(error.strerror) if error.errno in SYSTEM_ERRORS else ""
    full = any(words in str(error).lower() for words in OUT_OF_MEMORY)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and full):  # from torch
        detail = f" ({first_line(error)})" if str(error) else ""
        return (
            f"out of memory{detail}: use a smaller --micro-batch-size or --batch-size, shorter rows, or a smaller model"
        )
    if type(error).__name__ == "PanicException":  # a Rust panic in tokenizers; the class cannot be imported
        return f"the tokenizer fails on this text: {error}"
    return ""


def overview() -> str:
    """The help that `elektron` prints without a command."""
    width = max(map(len, COMMANDS))
    commands = (f"  {name:{width}}  {summary(load(command.config))}" for name, command in COMMANDS.items())
    return f"""\
usage: elektron COMMAND …

Pre-train ELECTRA encoders on your own text and put them to work.

{chr(10).join(commands)}

`elektron COMMAND --help` lists the options of a command.
New here? `elektron quickstart` needs no data and no download."""


def load(reference: str) -> Any:
    """Import the object that `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _run(argv: list[str]) -> None:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        echo(overview())
    elif name == "--version":
        echo(f"elektron {__version__}")
    elif name not in COMMANDS:
        # The verb that begins a command's summary: for `train`, suggest the commands that train or pre-train.
        verbs = {each: summary(load(command.config)).split()[0].lower() for each, command in COMMANDS.items()}
        same = " or ".join(each for each, verb in verbs.items() if name in verb.split("-"))
        near = f": did you mean {same}?" if same else did_you_mean(name, COMMANDS)
        raise ElektronError(f"unknown command {name}{near or ': `elektron --help` lists the commands'}")
    else:
        command = COMMANDS[name]
        config, quiet, json = _configure(name, command, argv[1:])
        with output_enabled(progress=not quiet, results=not json):
            result = load(command.function)(config)
        if json:
            echo(to_json(result, indent=1))


def _configure(name: str, command: Command, argv: list[str]) -> tuple[Any, bool, bool]:
    """Make the command's dataclass from the options, and from the recipe if it takes one.

    Missing inputs are refused here, before anything is logged.

    Returns:
        The dataclass, and whether `--quiet` and `--json` were given.
    """
    config_class = load(command.config)
    flags = {setting.name: setting.flag for setting in settings(config_class)}
    values = parse_arguments(name, config_class, argv, general_options(command), command.examples, _commands_with)
    quiet, json = values.pop("quiet", False), values.pop("json", False)
    recipe = values.pop("config", None) if command.recipe else None
    if command.recipe:
        values = validate(config_class, values, label=flags.__getitem__)
        config = with_recipe(config_class, recipe, values)
    else:
        config = from_dict(config_class, values, label=flags.__getitem__)
    refuse_missing_inputs(config)
    if quiet:
        logging.getLogger("elektron").setLevel(logging.WARNING)
    if command.recipe and recipe is None:
        logging.getLogger(__name__).info("no --config: the recipe is %s", default_recipe(values))
    return config, quiet, json


def _commands_with(option: str) -> list[str]:
    """The commands that have an option."""
    return [
        name
        for name, command in COMMANDS.items()
        if option in [setting.flag for setting in settings(load(command.config))]
        or option in [f"--{general}" for general, _, _ in general_options(command)]
    ]


def general_options(command: Command) -> list[Option]:
    """The options of a command that are not its settings."""
    options = [("quiet", "", "Show no progress and no information; warnings and errors are still shown.")]
    if command.json:
        options.append(("json", "", "Write the result to standard output as JSON."))
    if command.recipe:
        options.insert(0, ("config", "RECIPE", recipe_help()))
    return options


def recipe_help() -> str:
    """The help of `--config`."""
    return (
        f"Recipe: one of {', '.join(recipe_names())}, or the path of a YAML file. Options on the "
        f"command line take precedence. (default: {DEFAULT_RECIPE}; with --init-from "
        f"{CONTINUE_RECIPE})"
    )


def _configure_libraries() -> None:
    """Set environment variables that libraries read when they are imported, and filter their log records."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # No progress bars between the lines of our own.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    # Otherwise transformers asks a service of the hub to convert models that are not in safetensors.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    # Waiting OpenMP threads spin for microseconds, not milliseconds, before they sleep. Without this, the quickstart
    # ran nine times slower beside another job with as many threads.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # The hub's client logs every retry. Only the error that it raises when it gives up is reported.
    logging.getLogger("huggingface_hub.utils._http").addFilter(_is_no_retry)


def _is_no_retry(record: logging.LogRecord) -> bool:
    """Whether a log record of the hub's client is about something other than a retry, such as a rate limit."""
    message = record.getMessage()
    return not (message.startswith("Retrying in ") or " thrown while requesting " in message)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes one line per record to the current `sys.stderr`, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return f"elektron: {level}{escape_control(record.getMessage())}"


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Print the package's log records on standard error: `elektron: warning: …`, and info records without a level."""
    logger, handler = logging.getLogger("elektron"), _StderrHandler()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # otherwise a handler that a library adds to the root prints every line again
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeHandler(handler)


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that commands clean up; a second one ends the process at once.

    A signal that is ignored, as under `nohup`, stays ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt(signal.Signals(number))

    handled = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
