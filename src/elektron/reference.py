"""Writes docs/reference.md from the commands, their dataclasses and the recipes.

    python -m elektron.reference > docs/reference.md

A test compares the page with what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from elektron.cli import COMMANDS, Command, load, recipe_help
from elektron.command_line import usage
from elektron.configuration import Setting, format_value, settings, summary, to_flat_dict
from elektron.pretraining.config import PretrainConfig, resolve
from elektron.recipes import pretrain_config, recipe_names

HEADER = """\
# Reference

Every command, every setting, every recipe. This page is made from the code by
`python -m elektron.reference > docs/reference.md`.

An option is written `--name value` or `--name=value`, in full. A setting inside a group has a
dotted name, `--optimizer.learning-rate`. In YAML and in Python the same names have underscores where
options have hyphens, and YAML nests the groups. Where the default below is empty, `null`
unsets a setting (text and paths only in YAML, since there might be a file of that name). For
settings that are not given, `elektron pretrain` takes those of its recipe, then the defaults. A
command exits with status 0, with 2 after one line on bad input, and with 128 + the signal's number when
interrupted (130 by Ctrl-C). Every command also takes `--quiet`, and those with a result `--json`.
In Python, the dataclasses accept values as on the command line, such as a string for a path, or a single
file for a list of files, and raise `ElektronError` with the same message.
"""

RECIPES = """\
## Recipes

`elektron pretrain --config NAME`. Defaults of the family are filled in; settings that are not \
listed have the default above in all recipes. Row length and vocabulary come from the blocks; \
the comment at the top of each file in `recipes/` says which blocks it is meant for.

"""


def reference() -> str:
    """The whole page in Markdown."""
    return "\n".join([HEADER, *map(_command, COMMANDS, COMMANDS.values()), _recipes()])


def _command(name: str, command: Command) -> str:
    config_class = load(command.config)
    function = command.function.replace(":", ".")
    text = (
        f"## elektron {name}\n\n{summary(config_class)}\n\n"
        f"    {usage(name, config_class)}\n\n"
        f"In Python: `{function}({config_class.__name__}(…))`.\n"
    )
    rows = [("`--config`", "text", "", recipe_help())] if command.recipe else []
    all_settings = settings(config_class)
    for group in dict.fromkeys(setting.group for setting in all_settings):
        rows += [_row(setting) for setting in all_settings if setting.group == group]
        text += f"\n**{group}**\n" if group else ""
        text += "\n" + _table(("setting", "value", "default", "meaning"), rows)
        rows = []
    return text


def _row(setting: Setting) -> tuple[str, str, str, str]:
    default = "" if setting.default in (None, []) else f"`{format_value(setting.default)}`"
    if setting.required:
        default = "required"
    return f"`{setting.flag}`", setting.kind, default, setting.help


def _recipes() -> str:
    """The values of each recipe, for the settings in which not all recipes have the default."""
    recipes = [to_flat_dict(resolve(pretrain_config(name))) for name in recipe_names()]
    rows = [
        (f"`{setting.name}`", *(format_value(recipe[setting.name]) for recipe in recipes))
        for setting in settings(PretrainConfig)
        if len({format_value(recipe[setting.name]) for recipe in recipes}) > 1
        or setting.default not in (None, recipes[0][setting.name])
    ]
    return RECIPES + _table(("setting", *recipe_names()), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


if __name__ == "__main__":
    sys.stdout.write(reference())
