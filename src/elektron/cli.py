"""The command line: `elektron COMMAND …`, nothing but wiring.

A command is one entry in COMMANDS: the dataclass of its settings and the function that takes
it. Both are named by text and imported when the command runs, so that help answers at once.
Whatever goes wrong by the user's input leaves here as one line on stderr and exit status 2.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from elektron import __version__
from elektron.command_line import typed
from elektron.configuration import build, checked, settings, suggestion
from elektron.errors import ElektronError, SaidError
from elektron.recipes import DEFAULT_RECIPE, recipe_names, with_recipe

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@dataclass(frozen=True)
class Command:
    """One command; `config` and `function` are written `module:name`."""

    help: str
    """One line for the list of commands."""
    config: str
    """Dataclass of the command's settings."""
    function: str
    """Function that takes the dataclass and does the work."""
    recipe: bool = False
    """Whether it takes a recipe, with which what was typed is merged."""


COMMANDS = {
    "quickstart": Command(
        "the whole way in small, on text that every installation has",
        "elektron.quickstart:QuickstartConfig",
        "elektron.quickstart:quickstart",
    ),
    "tokenizer": Command(
        "train a WordPiece tokenizer on a corpus",
        "elektron.corpus.config:TokenizerConfig",
        "elektron.corpus.vocabulary:train_tokenizer",
    ),
    "prepare": Command(
        "turn a corpus into blocks, the rows that pre-training reads",
        "elektron.corpus.config:PrepareConfig",
        "elektron.corpus.prepare:prepare",
    ),
    "inspect": Command(
        "look for faults in a corpus, or read prepared blocks",
        "elektron.corpus.config:InspectConfig",
        "elektron.evidence.inspection:inspect",
    ),
    "verify": Command(
        "check that blocks, checkpoints, runs and models are whole",
        "elektron.verify:VerifyConfig",
        "elektron.verify:verify",
    ),
    "pretrain": Command(
        "train a generator and a discriminator on blocks",
        "elektron.pretraining.config:PretrainConfig",
        "elektron.pretraining.loop:pretrain",
        recipe=True,
    ),
    "estimate": Command(
        "say before a pre-training what it will cost",
        "elektron.estimate.config:EstimateConfig",
        "elektron.estimate.estimate:estimate",
        recipe=True,
    ),
    "finetune": Command(
        "train an encoder on labelled data, and say how good it is",
        "elektron.finetuning.config:FinetuneConfig",
        "elektron.finetuning.finetune:finetune",
    ),
    "evaluate": Command(
        "score a fine-tuned model on labelled data",
        "elektron.finetuning.config:EvaluateConfig",
        "elektron.inference.evaluate:evaluate",
    ),
    "predict": Command(
        "let a fine-tuned model say what it thinks of each row",
        "elektron.inference.config:PredictConfig",
        "elektron.inference.predict:predict",
    ),
    "compare": Command(
        "pre-train variants at equal compute, and say which learns more",
        "elektron.compare.config:CompareConfig",
        "elektron.compare.compare:compare",
    ),
    "report": Command(
        "draw runs or fine-tuned models as an HTML page",
        "elektron.evidence.config:ReportConfig",
        "elektron.evidence.report:report",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit status: 0, 2 for bad input, 130 if interrupted."""
    _keep_libraries_quiet()
    _let_waiting_threads_sleep()
    with _log_on_stderr():
        try:
            _run(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
        except SaidError:
            return BAD_INPUT
        except ElektronError as error:
            sys.stderr.write(f"elektron: {one_line(str(error))}\n")
            return BAD_INPUT
        except KeyboardInterrupt:
            sys.stderr.write("elektron: interrupted\n")
            return INTERRUPTED
        except BrokenPipeError:
            if not _stdout_is_broken():
                raise
        except BaseException as error:
            # A panic in the Rust code of the `tokenizers` library, whose class cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            sys.stderr.write(
                f"elektron: the tokenizer fails on this text: {one_line(str(error))}\n"
            )
            return BAD_INPUT
    return 0


def one_line(message: str) -> str:
    """The message with line breaks, terminal escapes and the like written as `\\n`, `\\x1b`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in message
    )


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
            "",
        ]
    )


def load(reference: str) -> Any:
    """What `module:name` names."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _run(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
    elif argv[0] == "--version":
        sys.stdout.write(f"elektron {__version__}\n")
    elif argv[0] not in COMMANDS:
        near = suggestion(argv[0], COMMANDS)
        raise ElektronError(
            f"unknown command {argv[0]}{near or ': `elektron --help` lists the commands'}"
        )
    else:
        command = COMMANDS[argv[0]]
        config = _configure(argv[0], command, argv[1:])
        load(command.function)(config)


def _configure(name: str, command: Command, argv: list[str]) -> Any:
    """The command's dataclass, from what was typed and, where there are recipes, from a recipe."""
    config_class = load(command.config)
    flags = {setting.name: setting.flag for setting in settings(config_class)}
    if not command.recipe:
        return build(config_class, typed(name, config_class, argv), label=flags.__getitem__)
    values = typed(name, config_class, argv, [("config", "RECIPE", recipe_help())])
    recipe = values.pop("config", None)
    values = checked(config_class, values, label=flags.__getitem__)
    config = with_recipe(config_class, recipe, values)
    if recipe is None:
        logging.getLogger(__name__).info("no --config: the recipe is %s", DEFAULT_RECIPE)
    return config


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
        return f"elektron: {level}{one_line(record.getMessage())}"


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


def _stdout_is_broken() -> bool:
    """Whether the reader of our output is gone, as under `| head`; if so, stop writing to it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
