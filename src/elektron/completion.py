"""Completion of commands, options and choices for shells: `elektron completion bash`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from elektron.configuration import Positional, Setting, ValidatedConfig, settings
from elektron.terminal import echo


@dataclass
class CompletionConfig(ValidatedConfig):
    """Write a script that has a shell complete commands, options and their choices."""

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """Shell."""


def completion(config: CompletionConfig) -> None:
    """Write the script to stdout."""
    from elektron.cli import COMMANDS, load

    commands = {name: settings(load(command.config)) for name, command in COMMANDS.items()}
    helps = {name: command.help for name, command in COMMANDS.items()}
    lines = _fish(commands, helps) if config.shell == "fish" else _bash(commands)
    if config.shell == "zsh":
        echo("autoload -U +X bashcompinit && bashcompinit")
    echo("\n".join(lines))


def _choices(setting: Setting) -> list[str]:
    """What the value of a setting can be, where that is known."""
    return ["true", "false"] if setting.type is bool else [*setting.choices, *setting.aliases]


def _bash(commands: dict[str, list[Setting]]) -> Iterator[str]:
    yield "_elektron() {"
    yield '  local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""'
    yield '  case "${COMP_WORDS[1]} $previous" in'
    for name, its in commands.items():
        for setting in its:
            if choices := _choices(setting):
                before = name if setting.positional else setting.flag
                yield f"    {shlex.quote(f'{name} {before}')}) words='{' '.join(choices)}' ;;"
    yield "  esac"
    yield '  if [ "$COMP_CWORD" -eq 1 ]; then'
    yield f"    words='{' '.join(commands)}'"
    yield '  elif [ -z "$words" ] && [ "${word#-}" != "$word" ]; then'
    yield '    case "${COMP_WORDS[1]}" in'
    for name, its in commands.items():
        flags = " ".join(setting.flag for setting in its if not setting.positional)
        yield f"      {name}) words='{flags} --help --quiet' ;;"
    yield "    esac"
    yield "  fi"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "complete -o default -F _elektron elektron"


def _fish(commands: dict[str, list[Setting]], helps: dict[str, str]) -> Iterator[str]:
    for name, its in commands.items():
        yield (
            f"complete -c elektron -n __fish_use_subcommand -f -a {name} "
            f"-d {shlex.quote(helps[name])}"
        )
        for setting in its:
            words = ["complete", "-c", "elektron", "-n", f"__fish_seen_subcommand_from {name}"]
            if choices := _choices(setting):
                words += ["-x", "-a", " ".join(choices)]
            elif setting.positional:
                continue
            if not setting.positional:
                words += ["-r", "-l", setting.flag.removeprefix("--")]
            yield shlex.join([*words, "-d", setting.help])
