"""The roles whose columns are looked for in a file, and the columns that options give for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.roles import Layout, Role

COLUMN_OPTIONS = (
    *("text", "pair", "negative", "label", "tokens", "tags", "sentence", "question"),
    *("context", "answers", "choices", "source", "target"),
)
"""Roles whose column is an option of every command that reads files."""


@dataclass(frozen=True)
class Request:
    """The columns to find in the files of one split, such as `--test`."""

    roles: tuple[Role, ...]
    shape: str
    labelled: bool
    """Whether labels must be there, as for training and scoring."""
    given: dict[str, str]
    """By role, the columns that were given by option."""
    label_separator: str | None = None
    own_option: str = ""
    """The option that gives columns of these files alone, if there is one."""

    @classmethod
    def of(
        cls,
        layout: Layout,
        config: FilesConfig,
        labelled: bool,
        own: Literal["", "eval_columns", "test_columns"] = "",
    ) -> Request:
        """The request for files of a layout; `own` is the setting with columns of these files alone.

        Raises:
            ElektronError: a column is given that such files do not have.
        """
        given = {
            role: (f"--{role}", column)
            for role in COLUMN_OPTIONS
            if (column := getattr(config, role, None)) is not None
        }
        own_option = f"--{own.replace('_', '-')}" if own else ""
        for assignment in getattr(config, own) if own else []:
            role, _, column = assignment.partition("=")
            if not column:
                raise ElektronError(f"{own_option} {assignment}: write ROLE=COLUMN, such as text=body")
            given[role] = (f"{own_option} {role}", column)
        known = [role.name for role in layout.roles]
        for role, (option, _) in given.items():
            if role not in known:
                options = ", ".join(f"--{name}" for name in known if name in COLUMN_OPTIONS)
                raise ElektronError(f"{option} is no column of this task's files, which have {options}")
        columns = {role: column for role, (_, column) in given.items()}
        separator = config.label_separator or layout.label_separator
        return cls(layout.roles, layout.shape, labelled, columns, separator, own_option)

    def option(self, role: str) -> str:
        """The option that gives the column of a role."""
        return f"{self.own_option} {role}=" if self.own_option else f"--{role}"

    def needs(self, role: Role) -> bool:
        return role.needed == "always" or (role.needed == "labelled" and self.labelled)

    @property
    def only_role(self) -> Role | None:
        """The role that is always needed, where there is only one."""
        always = [role for role in self.roles if role.needed == "always"]
        return always[0] if len(always) == 1 else None

    @property
    def gives_only_numbers(self) -> bool:
        """Whether columns are given, all of them by number."""
        return bool(self.given) and all(map(is_number, self.given.values()))

    def recognised(self, header: Sequence[str]) -> list[str]:
        """The names of the roles that have one of their usual column names in this header."""
        return [
            role.name
            for role in self.roles
            if any(columns_named(name, header) for name in role.names if not is_number(name))
        ]


def is_number(name: str) -> bool:
    """Whether a column is given by its number, or several are."""
    return all(part.strip().isdecimal() for part in name.split(","))


def columns_named(name: str, columns: Iterable[str]) -> list[str]:
    """The column of a usual name, in any case, or all of those with commas between them."""
    by_name = {column.casefold(): column for column in reversed(list(columns))}
    parts = [name] if name.casefold() in by_name else name.split(",")
    found = [by_name.get(part.casefold()) for part in parts]
    return [column for column in found if column is not None] if None not in found else []
