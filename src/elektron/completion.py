"""Completion of commands, options and choices for shells: `elektron completion bash`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from elektron.configuration import Positional, Setting, ValidatedConfig, settings
from elektron.terminal import echo

BASH = """\
_elektron() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='{commands}'
  elif [ -z "$words" ] && [ "${{word#-}}" != "$word" ]; then
    case "${{COMP_WORDS[1]}}" in
{flags}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _elektron elektron"""


@dataclass
class CompletionConfig(ValidatedConfig):
    """Write a script that has a shell complete commands, options and their choices."""

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """Shell."""


def completion(config: CompletionConfig) -> None:
    """Write the script to stdout."""
    from elektron.cli import COMMANDS, load

    commands = {name: settings(load(command.config)) for name, command in COMMANDS.items()}
    if config.shell == "fish":
        for name, command in COMMANDS.items():
            words = f"complete -c elektron -n __fish_use_subcommand -f -a {name} -d".split()
            echo(shlex.join([*words, command.help]))
            echo("\n".join(_fish(name, setting) for setting in commands[name]))
        return
    if config.shell == "zsh":
        echo("autoload -U +X bashcompinit && bashcompinit")
    choices = [
        f"    {shlex.quote(f'{name} {name if setting.positional else setting.flag}')}) "
        f"words='{' '.join(_choices(setting))}' ;;"
        for name, its in commands.items()
        for setting in its
        if _choices(setting)
    ]
    flags = [
        f"      {name}) words='{' '.join(s.flag for s in its if not s.positional)} --help --quiet' ;;"
        for name, its in commands.items()
    ]
    echo(BASH.format(choices="\n".join(choices), flags="\n".join(flags), commands=" ".join(commands)))


def _choices(setting: Setting) -> list[str]:
    return ["true", "false"] if setting.type is bool else [*setting.choices, *setting.aliases]


def _fish(command: str, setting: Setting) -> str:
    words = ["complete", "-c", "elektron", "-n", f"__fish_seen_subcommand_from {command}"]
    if choices := _choices(setting):
        words += ["-x", "-a", " ".join(choices)]
    if not setting.positional:
        words += ["-r", "-l", setting.flag.removeprefix("--")]
    return shlex.join([*words, "-d", setting.help])
