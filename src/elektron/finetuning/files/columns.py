"""Which column of a table is which role, and the values of a row by role.

What was asked for by option counts first, by name or by number from 1; then the names that a role
usually has; then what the reader saw in the columns themselves; and a single column is a single
role. Every guess is said aloud, once a file.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from elektron.configuration import suggestion
from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.files.lines import Ahead
from elektron.finetuning.files.literals import literal
from elektron.finetuning.files.records import Layout, Record, Role
from elektron.reading import listed

log = logging.getLogger(__name__)

Row = tuple[str, dict[str, Any]]
"""Where it stands, and its fields."""

LABEL = "label"
CHOICES = "choices"
TARGET = "target"
TEXT, KEY = "text", "label"
"""Of choices in the hub's form: what they say, and by what the right one is named."""
COLUMN_OPTIONS = (
    *("text", "pair", "label", "tokens", "tags", "sentence", "question"),
    *("context", "answers", "choices", "source", "target"),
)


@dataclass(frozen=True)
class Request:
    """What is looked for in a file."""

    roles: tuple[Role, ...]
    labelled: bool
    asked: dict[str, str]
    """Columns that were named by option, by role."""
    label_separator: str | None = None

    @classmethod
    def of(cls, layout: Layout, config: FilesConfig, labelled: bool) -> Request:
        """What a task's files are asked for.

        Raises:
            ElektronError: a column is named that such files do not have.
        """
        options = {name: getattr(config, name, None) for name in COLUMN_OPTIONS}
        asked = {name: option for name, option in options.items() if option is not None}
        roles = [role.name for role in layout.roles]
        for name in asked:
            if name not in roles:
                known = ", ".join(f"--{role}" for role in roles if role in COLUMN_OPTIONS)
                raise ElektronError(f"--{name} is no column of this task's files: it has {known}")
        separator = config.label_separator or layout.label_separator
        return cls(layout.roles, labelled, asked, separator)

    @property
    def only_numbers(self) -> bool:
        """Whether columns were asked for, all of them by number."""
        numbers = [
            part.strip().isdecimal() for column in self.asked.values() for part in column.split(",")
        ]
        return bool(numbers) and all(numbers)

    @property
    def the_one_role(self) -> Role | None:
        """The role that is always needed, where there is only one."""
        always = [role for role in self.roles if role.needed == "always"]
        return always[0] if len(always) == 1 else None

    def needs(self, role: Role) -> bool:
        return role.needed == "always" or (role.needed == "labelled" and self.labelled)

    def recognises(self, names: Sequence[str]) -> bool:
        """Whether one of these is the usual name of a column that is looked for."""
        return bool(self.recognised(names))

    def recognised(self, names: Sequence[str]) -> list[str]:
        """The roles whose columns usually have one of these names."""
        return [
            role.name
            for role in self.roles
            if any(_usual(guess, names) for guess in role.guesses if not guess.isdecimal())
        ]

    def options(self) -> str:
        """The options that say which column is which: `--text and --label`."""
        return " and ".join(f"--{role.name}" for role in self.roles if self.needs(role))


@dataclass
class Table:
    """Rows with named fields."""

    name: str
    """For messages."""
    columns: list[str]
    """Names, or numbers from 1 in a table without a header."""
    rows: Ahead[Row]
    kind: str
    """In words, what it was taken for."""
    seen: dict[str, str] = field(default_factory=dict)
    """Columns that look like what a role holds."""


class Columns:
    """The columns of one table by role."""

    def __init__(self, table: Table, request: Request) -> None:
        """Find them.

        Raises:
            ElektronError: one that is needed is not there.
        """
        self.table = table
        self.request = request
        self.found: dict[Role, list[str]] = {}
        self.guessed: set[str] = set()
        self._find_asked()
        self._guess()
        self.names = {role.name: ",".join(columns) for role, columns in self.found.items()}
        self._say()

    def has(self, role: str) -> bool:
        return any(found.name == role for found in self.found)

    def values(
        self, where: str, row: dict[str, Any], may_be_empty: Collection[str] = ()
    ) -> dict[str, Any]:
        """The values of a row by role.

        Raises:
            ElektronError: one that is needed is missing, or is empty in labelled data.
        """
        values = {}
        for role, columns in self.found.items():
            needed = self.request.needs(role)
            if absent := [column for column in columns if column not in row]:
                if needed or role.needed == "together":
                    raise ElektronError(
                        f"{where}: no {role.name}: there is no column {absent[0]!r} in this row, "
                        f"only {listed(row) or 'nothing'}"
                    )
                continue
            value = self._value(role, [row[column] for column in columns])
            if is_empty(value) and role.name not in may_be_empty:
                if needed and self.request.labelled:
                    raise ElektronError(f"{where}: the {role.name} is empty: mend or drop the row")
                if role.needed == "labelled":
                    continue
                value = ""
            values[role.name] = value
        return values

    def _value(self, role: Role, fields: list[Any]) -> Any:
        value = fields[0] if len(fields) == 1 else list(fields)
        if role.name == CHOICES:
            return _choices(value)
        if role.name == TARGET:
            return _targets(value)
        if role.name == LABEL and isinstance(value, str):
            if self.request.label_separator:
                parts = value.split(self.request.label_separator)
                return [part.strip() for part in parts if part.strip()]
            return value.strip()
        return value

    def _find_asked(self) -> None:
        for role in self.request.roles:
            asked = self.request.asked.get(role.name)
            if asked is None:
                continue
            several = role.name == CHOICES or role.several
            columns = _match(asked, self.table.columns, several)
            if columns:
                self.found[role] = columns
            elif role.needed != "labelled" or self.request.labelled:
                near = suggestion(asked, self.table.columns)
                raise ElektronError(
                    f"{self.table.name}: no column {asked!r} for --{role.name}{near} "
                    f"(there are: {listed(self.table.columns)})"
                )

    def _guess(self) -> None:
        roles = [role for role in self.request.roles if role.name not in self.request.asked]
        for role in sorted(roles, key=lambda role: role.needed in ("together", "never")):
            columns = self._guess_for(role)
            if columns:
                self.found[role] = columns
                self.guessed.add(role.name)
            elif self.request.needs(role):
                raise ElektronError(
                    f"{self.table.name}: which column is the {role.name}? Give it with "
                    f"--{role.name}, by name or by number from 1 "
                    f"(there are: {listed(self.table.columns)})"
                )

    def _guess_for(self, role: Role) -> list[str]:
        taken = {column for columns in self.found.values() for column in columns}
        free = [column for column in self.table.columns if column not in taken]
        for guess in role.guesses:
            if columns := _usual(guess, free):
                return columns
        if self.table.seen.get(role.name) in free:
            return [self.table.seen[role.name]]
        alone = len(self.table.columns) == 1 and role == self.request.the_one_role
        if alone and not self.request.recognises(free):
            return free
        return []

    def _say(self) -> None:
        parts = [
            f"{role.name} is {'column' if len(columns) == 1 else 'columns'} "
            f"{', '.join(columns)}{' (guessed)' if role.name in self.guessed else ''}"
            for role, columns in self.found.items()
        ]
        log.info("%s: %s; %s", self.table.name, self.table.kind, ", ".join(parts))


def records_of(table: Table, request: Request) -> Iterator[Record]:
    """The rows of a table, each with its values by role."""
    columns = Columns(table, request)
    for where, row in table.rows:
        yield Record(columns.values(where, row), row, where, columns.names)


def is_empty(value: Any) -> bool:
    """Whether there is no value: nothing, blank text, or no number."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and value != value)


def _choices(value: Any) -> Any:
    """A list of texts, or as ARC has it `{"text": […], "label": […]}`, with keys; also as JSON in a field."""
    if isinstance(value, str):
        value = literal(value) or value
    keys = None
    if isinstance(value, dict) and isinstance(value.get(TEXT), list):
        value, keys = value[TEXT], value.get(KEY)
    if not isinstance(value, list):
        return value
    texts = ["" if is_empty(choice) else str(choice) for choice in value]
    if isinstance(keys, list) and len(keys) == len(texts):
        return {TEXT: texts, KEY: [str(key) for key in keys]}
    return texts


def _targets(value: Any) -> Any:
    """A text, or a list of the texts of which any would do; also as a list in a field."""
    if isinstance(value, str):
        found = literal(value)
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            return value
        value = found
    if not isinstance(value, list):
        return value
    return [text for text in value if not is_empty(text)]


def _match(asked: str, names: Sequence[str], several: bool) -> list[str]:
    """The columns of a name, or of a number from 1; `several` allows commas between them."""
    if asked in names:
        return [asked]
    if several and "," in asked:
        found = [_match(part.strip(), names, several=False) for part in asked.split(",")]
        return [column for columns in found for column in columns] if all(found) else []
    if asked.isdecimal() and len(asked) < 10 and 0 < int(asked) <= len(names):
        return [names[int(asked) - 1]]
    return []


def _usual(guess: str, names: Iterable[str]) -> list[str]:
    """The column of a usual name, in any case, or all of those with commas between them."""
    by_name = {name.casefold(): name for name in reversed(list(names))}
    parts = [guess] if guess.casefold() in by_name else guess.split(",")
    found = [by_name.get(part.casefold()) for part in parts]
    return [name for name in found if name is not None] if None not in found else []
