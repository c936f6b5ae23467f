"""Which column of a table is which role, and the values of a row by role.

What was asked for by option counts first, by name or by number from 1; then the names that a role
usually has; then what the reader saw in the columns themselves; and a single column is a single
role. Every guess is said aloud, once a file. A dotted name is a value inside an object, `data.text`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from elektron.errors import MAX_LISTED, ElektronError, comma_list, did_you_mean
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.readers.labels import LabelColumn, are_flags, is_missing
from elektron.finetuning.readers.lines import STDIN, Ahead
from elektron.finetuning.readers.literals import literal
from elektron.finetuning.readers.records import Layout, Record, Role
from elektron.io.text import guess_encoding

log = logging.getLogger(__name__)

ABSENT = object()
"""Of a field that a row does not have."""
DEEPEST = 8
"""Objects inside one another that are looked into."""

Row = tuple[str, dict[str, Any]]
"""Where it stands, and its fields."""

LABEL = "label"
CHOICES = "choices"
TARGET = "target"
TEXTS = ("text", "pair", "question", "context", "source")
"""Roles that are one text."""
TRANSLATION = "translation"
"""A column of the hub whose objects have a text for each language."""
SAMPLE_ROWS = 100
"""So many rows are looked at to tell what a column holds."""
REPLACED = "\ufffd"
"""Stands for bytes that could not be decoded."""
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
    own: str = ""
    """The option that names columns of these files alone, if there is one."""

    @classmethod
    def of(
        cls,
        layout: Layout,
        config: FilesConfig,
        labelled: bool,
        own: Literal["", "eval_columns", "test_columns"] = "",
    ) -> Request:
        """What a task's files are asked for.

        Args:
            layout: what they hold.
            config: how they are read, and which column is which.
            labelled: whether labels must be there.
            own: the setting with columns of these files alone, which count before the others.

        Raises:
            ElektronError: a column is named that such files do not have.
        """
        given = {name: getattr(config, name, None) for name in COLUMN_OPTIONS}
        asked = {
            name: (f"--{name}", column) for name, column in given.items() if column is not None
        }
        option = f"--{own.replace('_', '-')}" if own else ""
        for assignment in getattr(config, own) if own else []:
            name, _, column = assignment.partition("=")
            if not column:
                raise ElektronError(f"{option} {assignment}: write ROLE=COLUMN, such as text=body")
            asked[name] = (f"{option} {name}", column)
        roles = [role.name for role in layout.roles]
        for name, (written, _) in asked.items():
            if name not in roles:
                known = ", ".join(f"--{role}" for role in roles if role in COLUMN_OPTIONS)
                raise ElektronError(f"{written} is no column of this task's files: it has {known}")
        separator = config.label_separator or layout.label_separator
        columns = {name: column for name, (_, column) in asked.items()}
        return cls(layout.roles, labelled, columns, separator, option)

    def option(self, role: str) -> str:
        """How the column of a role is given."""
        return f"{self.own} {role}=" if self.own else f"--{role}"

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
            if any(_usual(guess, names) for guess in role.guesses if not is_number(guess))
        ]

    @property
    def numbers(self) -> list[int]:
        """Columns that training files without a header had, by number."""
        guesses = [guess for role in self.roles for guess in role.guesses if is_number(guess)]
        return [int(number) for guess in guesses for number in guess.split(",")]

    def options(self) -> str:
        """The options that say which column is which: `--text and --label`."""
        return " and ".join(self.option(role.name) for role in self.roles if self.needs(role))


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

    def sample(self) -> list[dict[str, Any]]:
        """The first rows, for guessing; of standard input only the first."""
        return [row for _, row in self.rows.ahead(1 if self.name == STDIN else SAMPLE_ROWS)]


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
        self.sample = table.sample()
        self.nested = nested_names(self.sample)
        self._find_asked()
        self._guess()
        self.names = {role.name: ",".join(columns) for role, columns in self.found.items()}
        self._say()
        self.labels = self._labels()
        self.learned = [names for role, names in self.found.items() if role.needed == "labelled"]
        for role, columns in self.found.items():
            if role.name in TEXTS:
                self._refuse_lists(role, columns[0])

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
            fields = [field_of(row, column) for column in columns]
            if absent := [
                column for column, value in zip(columns, fields, strict=True) if value is ABSENT
            ]:
                if needed or role.needed == "together":
                    raise ElektronError(
                        f"{where}: no {role.name}: there is no column {absent[0]!r} in this row, "
                        f"only {comma_list(row) or 'nothing'}"
                    )
                continue
            value = self._value(role, fields, where)
            if is_empty(value) and role.name not in may_be_empty:
                if needed and self.request.labelled:
                    raise ElektronError(f"{where}: the {role.name} is empty: mend or drop the row")
                if role.needed == "labelled":
                    continue
                value = ""
            values[role.name] = value
        return values

    def as_read(self, row: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        """Of a row's values those that its columns do not show as they were read, by the role's column names."""
        return {
            name: values[role]
            for role, name in self.names.items()
            if role in values
            and (name not in row or (role == LABEL and _stripped(row[name]) != values[role]))
        }

    def is_unlabelled(self, row: dict[str, Any]) -> bool:
        """Whether a row has the columns of what is to be learned, and nothing in them."""
        return any(
            all(self._is_none(field_of(row, column)) for column in columns)
            for columns in self.learned
        )

    def _is_none(self, value: Any) -> bool:
        """Whether a field holds no label; an empty one is a list of none where labels are separated."""
        if value == "" and self.request.label_separator:
            return False
        return is_empty(value) or is_missing(value)

    def _value(self, role: Role, fields: list[Any], where: str) -> Any:
        value = fields[0] if len(fields) == 1 else list(fields)
        if role.name == CHOICES:
            return _choices(value)
        if role.name == LABEL:
            if REPLACED in str(value):
                self._refuse_undecodable(value, where)
            if role.several and not (is_empty(value) and self._is_none(value)):
                return self.labels.read(value, where)
            return _stripped(value)
        if role.name == TARGET:
            return _targets(value)
        if role.name in TEXTS and isinstance(value, list | dict):
            self._refuse_structure(role, self.found[role][0], value, where)
        return value

    def _labels(self) -> LabelColumn:
        """How the labels are written where a row may have several."""
        columns = next((names for role, names in self.found.items() if role.name == LABEL), [])
        rows = [[field_of(row, column) for column in columns] for row in self.sample]
        fields = [row[0] if len(row) == 1 else row for row in rows if row]
        return LabelColumn(
            self.table.name,
            columns,
            [field for field in fields if not is_empty(field) and field is not ABSENT],
            self.request.label_separator,
        )

    def _refuse_undecodable(self, label: Any, where: str) -> None:
        """Refuse a class whose name lost characters."""
        guess = guess_encoding(self.table.name)
        cure = f"give --encoding, perhaps {guess}" if guess else "mend the file"
        raise ElektronError(f"{where}: the label {label!r:.60} has undecodable characters: {cure}")

    def _refuse_lists(self, role: Role, column: str) -> None:
        """Refuse a column of text that is lists or objects throughout, written as text."""
        fields = [field for row in self.sample if not is_empty(field := field_of(row, column))]
        values = [literal(field) if isinstance(field, str) else None for field in fields]
        if values and all(map(_has_texts, values)):
            self._refuse_structure(role, column, values[0], f"{self.table.name}, column {column}")

    def _refuse_structure(self, role: Role, column: str, value: Any, where: str) -> None:
        if isinstance(value, list):
            raise ElektronError(
                f"{where}: the {role.name} must be a text, got the list {value!r:.60}: "
                f"join its parts, or give another column with {self.request.option(role.name)}"
            )
        inside = comma_list(f"{column}.{key}" for key in value)
        raise ElektronError(
            f"{where}: the {role.name} must be a text, got an object: give "
            f"{self.request.option(role.name)} with one of {inside}"
        )

    def _find_asked(self) -> None:
        for role in self.request.roles:
            asked = self.request.asked.get(role.name)
            if asked is None:
                continue
            several = role.name == CHOICES or role.several
            columns = _match(asked, self.table.columns, self.nested, several)
            if columns:
                self.found[role] = columns
            elif role.needed != "labelled" or self.request.labelled:
                near = did_you_mean(asked, [*self.table.columns, *self.nested])
                own = f"; for these files alone: {self.request.option(role.name)}NAME"
                raise ElektronError(
                    f"{self.table.name}: no column {asked!r} for --{role.name}{near} "
                    f"(there are: {self._there_are()}){own if self.request.own else ''}"
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
                    f"{self.request.option(role.name)}, by name or by number from 1 "
                    f"(there are: {self._there_are()}){self._one_hot(role)}"
                )

    def _guess_for(self, role: Role) -> list[str]:
        taken = {column for columns in self.found.values() for column in columns}
        free = [column for column in self.table.columns if column not in taken]
        for guess in role.guesses:
            if columns := _usual(guess, free):
                return columns
            for name in (guess, f"{TRANSLATION}.{guess}"):
                if "." in name and name in self.nested:
                    return [name]
        if self.table.seen.get(role.name) in free:
            return [self.table.seen[role.name]]
        alone = len(self.table.columns) == 1 and role == self.request.the_one_role
        if alone and not self.request.recognises(free):
            return free
        return []

    def _there_are(self) -> str:
        """The columns, each object's followed by the names inside."""
        return comma_list(
            name
            for column in self.table.columns
            for name in [column, *(name for name in self.nested if name.startswith(f"{column}."))]
        )

    def _one_hot(self, role: Role) -> str:
        """A hint at columns of zeros and ones where a row may have several labels."""
        taken = {column for columns in self.found.values() for column in columns}
        flags = [
            column
            for column in self.table.columns
            if column not in taken
            and self.sample
            and are_flags(row.get(column) for row in self.sample)
        ]
        if not role.several or len(flags) < 2:
            return ""
        names = ",".join(flags[:MAX_LISTED]) + (",…" if len(flags) > MAX_LISTED else "")
        return (
            f"; columns of zeros and ones are labels with {self.request.option(role.name)} {names}"
        )

    def _say(self) -> None:
        parts = [
            f"{role.name} is {'column' if len(columns) == 1 else 'columns'} "
            f"{', '.join(columns)}{' (guessed)' if role.name in self.guessed else ''}"
            for role, columns in self.found.items()
        ]
        used = {column for columns in self.found.values() for column in columns}
        unused = [
            column
            for column in self.table.columns
            if column not in used and not any(name.startswith(f"{column}.") for name in used)
        ]
        rest = f"; not used: {comma_list(unused)}" if unused else ""
        log.info("%s: %s; %s%s", self.table.name, self.table.kind, ", ".join(parts), rest)


def records_of(table: Table, request: Request) -> Iterator[Record]:
    """The rows of a table, each with its values by role; where labels are needed, those that have one.

    Raises:
        ElektronError: no row has one.
    """
    columns = Columns(table, request)
    count, unlabelled, first = 0, 0, ""
    for count, (where, row) in enumerate(table.rows, start=1):  # noqa: B007
        if request.labelled and columns.is_unlabelled(row):
            unlabelled, first = unlabelled + 1, first or where
            continue
        values = columns.values(where, row)
        read = columns.as_read(row, values) if request.labelled else {}
        yield Record(values, row | read if read else row, where, columns.names)
    if unlabelled:
        what = next(role.name for role in columns.found if role.needed == "labelled")
        if unlabelled == count:
            raise ElektronError(f"{first}: the {what} is empty, and so is that of every row")
        log.warning(
            "%s: %s of %s rows have no %s and are left out (the first: %s)",
            table.name,
            f"{unlabelled:,}",
            f"{count:,}",
            what,
            first,
        )


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


def nested_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Dotted names of what lies in objects, and in those that a text is the JSON or repr of."""
    found: dict[str, None] = {}
    waiting = [(name, value) for row in rows for name, value in row.items()]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            value = literal(value) if value[:1] == "{" else None
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, dict) and name.count(".") < DEEPEST:
            inner = [(f"{name}.{key}", part) for key, part in reversed(value.items())]
            found.update(dict.fromkeys(key for key, _ in reversed(inner)))
            waiting += inner
    return list(found)


def field_of(row: dict[str, Any], column: str) -> Any:
    """What a row has under a name, or inside an object under a dotted one; ABSENT if nothing."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        value = _inside(value, part)
    return value


def _inside(value: Any, part: str) -> Any:
    """A part of an object, or of each object in a list."""
    if isinstance(value, str):
        value = literal(value)
    if isinstance(value, list):
        return [inner for item in value if (inner := _inside(item, part)) is not ABSENT]
    return value.get(part, ABSENT) if isinstance(value, dict) else ABSENT


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _has_texts(value: Any) -> bool:
    """Whether it is an object, or a list of more than numbers."""
    if isinstance(value, list):
        return any(isinstance(item, str | list | dict) for item in value)
    return bool(value)


def is_number(name: str) -> bool:
    """Whether a column is called by its number, or several are."""
    return all(part.isdecimal() for part in name.split(","))


def _match(asked: str, names: Sequence[str], nested: Sequence[str], several: bool) -> list[str]:
    """The columns of a name, or of a number from 1; `several` allows commas between them.

    Of a name inside an object the last part is enough where no other has the same.
    """
    if asked in names or asked in nested:
        return [asked]
    if several and "," in asked:
        found = [_match(part.strip(), names, nested, several=False) for part in asked.split(",")]
        return [column for columns in found for column in columns] if all(found) else []
    if asked.isdecimal() and len(asked) < 10 and 0 < int(asked) <= len(names):
        return [names[int(asked) - 1]]
    inside = [name for name in nested if name.endswith(f".{asked}")]
    return inside if len(inside) == 1 else []


def _usual(guess: str, names: Iterable[str]) -> list[str]:
    """The column of a usual name, in any case, or all of those with commas between them."""
    by_name = {name.casefold(): name for name in reversed(list(names))}
    parts = [guess] if guess.casefold() in by_name else guess.split(",")
    found = [by_name.get(part.casefold()) for part in parts]
    return [name for name in found if name is not None] if None not in found else []
