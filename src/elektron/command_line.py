"""Parse a command line into the strings given for each setting of a configuration dataclass.

`cli.py` passes them to `configuration.from_dict`, which converts them and makes the dataclass. `compare/probes.py`
parses the command lines of `elektron finetune` with the same function.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from elektron.configuration import Setting, format_value, settings, suggest_setting, summary
from elektron.errors import CUTOFF, ElektronError, comma_list
from elektron.terminal import echo

Option = tuple[str, str, str]
"""An option that is not a setting: its name, the metavar of its value (empty: a flag), its help."""


def parse_arguments(
    name: str,
    config_class: type,
    argv: Sequence[str],
    extra: Sequence[Option] = (),
    examples: Sequence[str] = (),
    commands_with: Callable[[str], Sequence[str]] = lambda option: (),
) -> dict[str, Any]:
    """The strings given for each setting, by its dotted name: `{"optimizer.learning_rate": "3e-4"}`.

    Args:
        name: the command, for messages and help.
        config_class: the dataclass of its settings.
        argv: the arguments after the command's name.
        extra: options besides the settings.
        examples: the arguments of command lines for the help.
        commands_with: returns the commands that have an option such as `--steps`, for messages.

    Raises:
        ElektronError: an option is unknown or lacks its value, or an argument is neither an option nor a value.
    """
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:  # bytes in another encoding, which cannot be written into our files
            raise ElektronError(f"{word!a} is not UTF-8: rename the file, or set LANG") from None
    flags = [setting.flag for setting in settings(config_class) if not setting.positional]
    flags += ["-h", "--help", *(f"--{option}" for option, _, _ in extra)]
    positional = {f"--{setting.name}": setting.flag for setting in settings(config_class) if setting.positional}
    for option in (word.partition("=")[0] for word in argv):
        # Before argparse, whose error lists all options and suggests none.
        if option in positional:
            raise ElektronError(
                f"unknown option {option}: {positional[option]} is a positional argument, give it without an option"
            )
        if re.match(r"-[^\d.]", option) and option not in flags:
            raise ElektronError(f"unknown option {option}: {_advice(name, config_class, option, flags, commands_with)}")
    parser = _parser(name, config_class, extra, examples)
    values, left_over = parser.parse_known_intermixed_args(add_implied_true(config_class, argv))
    if left_over:
        # Users may expect DATA to be positional, as it is in `evaluate`.
        flag = next((setting.flag for setting in settings(config_class) if "data" in setting.equivalent_options), "")
        advice = f": use {flag} {left_over[0]}" if flag else ""
        raise ElektronError(f"{left_over[0]!r} is neither an option nor the value of one{advice}")
    return vars(values)


def _advice(
    name: str, config_class: type, option: str, flags: Sequence[str], commands_with: Callable[[str], Sequence[str]]
) -> str:
    """What to write instead of an option that the command does not have."""
    typed = option.lstrip("-")
    for setting in settings(config_class):
        if typed.replace("-", "_") in setting.equivalent_options:
            return f"{name} has {setting.flag} instead"
    commands = commands_with(option)
    names = [flag.removeprefix("--") for flag in flags]
    # The exact name of another command's option is rarely a typing error: only a very similar name is suggested.
    if near := suggest_setting(typed, names, "--{}".format, cutoff=0.8 if commands else CUTOFF):
        return near.removeprefix(": ")
    if commands:
        return f"it is an option of {comma_list(commands)}; `elektron {name} --help` lists those of {name}"
    return f"`elektron {name} --help` lists them"


def add_implied_true(config_class: type, argv: Sequence[str]) -> list[str]:
    """The arguments, with `true` inserted after each boolean option that has no value."""
    all_settings = settings(config_class)
    flags = {setting.flag for setting in all_settings if setting.type is bool}
    takes_positional = any(setting.positional for setting in all_settings)
    words = []
    for word, following in pairwise([*argv, ""]):
        words.append(word)
        is_value = following in ("true", "false") or (
            following and not following.startswith("-") and not takes_positional
        )
        if word in flags and not is_value:
            words.append("true")
    return words


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises ElektronError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ElektronError(f"{message} (`{self.prog} --help` lists the options)")

    def print_help(self, file: Any = None) -> None:
        echo(self.format_help().removesuffix("\n"))


def _parser(name: str, config_class: type, extra: Sequence[Option], examples: Sequence[str]) -> _Parser:
    lines = "".join(f"\n  elektron {name} {arguments}".rstrip() for arguments in examples)
    parser = _Parser(
        prog=f"elektron {name}",
        usage=usage(name, config_class),
        description=summary(config_class),
        epilog=f"examples:{lines}".replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for option, metavar, text in extra:
        value: dict[str, Any] = {"metavar": metavar} if metavar else {"action": "store_true"}
        parser.add_argument(f"--{option}", help=text, **value)
    groups: dict[str, Any] = {"": parser}
    for setting in settings(config_class):
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        add = groups[setting.group].add_argument
        common: dict[str, Any] = {"metavar": _metavar(setting), "help": _help(setting).replace("%", "%%")}
        if setting.positional:
            parser.add_argument(setting.name, nargs="*" if setting.is_list else "?", **common)
        elif setting.is_list:
            add(setting.flag, dest=setting.name, nargs="+", action="extend", **common)
        else:
            add(setting.flag, dest=setting.name, **common)
    return parser


def usage(name: str, config_class: type) -> str:
    """The usage line with all required arguments: `elektron tokenizer CORPUS… --out PATH [options]`."""
    needed = [setting for setting in settings(config_class) if setting.required]
    words = [
        f"{'' if s.positional else f'{s.flag} '}{_metavar(s)}{'…' if s.is_list else ''}"
        for s in sorted(needed, key=lambda setting: not setting.positional)
    ]
    return " ".join(["elektron", name, *words, "[options]"])


def _metavar(setting: Setting) -> str:
    if setting.positional:
        return setting.flag
    if setting.choices:
        return "{" + ",".join(setting.choices) + "}"
    return {int: "N", float: "X", bool: "{true,false}", Path: "PATH"}.get(setting.type, "TEXT")


def _help(setting: Setting) -> str:
    if setting.positional:
        return f"{setting.help} One of {setting.kind}." if setting.choices else setting.help
    if setting.required:
        return f"{setting.help} (required)"
    if setting.default in (None, []):  # the help says what these mean
        return setting.help
    return f"{setting.help} (default: {format_value(setting.default)})"
