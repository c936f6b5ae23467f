"""Settings, from a dataclass to the command line, to YAML and back: one way for every command.

A command's dataclass is the only place where its settings are named, typed, given a default and
explained. A setting inside a group has a dotted name, `optimizer.learning_rate`. Whatever comes in, options
that were typed, a YAML file or a mapping from Python, is first flattened to dotted names; then
the same two functions check it (`validate`) and make the dataclass of it (`from_dict`). A command's
dataclass that is made in Python checks itself, by the same function: it is `ValidatedConfig`. The conversion
of a value to the type of its field is jsonargparse's; the splitting of a command line is
argparse's, because jsonargparse has no hyphens in its options and answers in several lines.

Text and paths are taken as they stand. For the other types `null` means "not set" where the
field allows None, on the command line as in YAML. A group has the defaults of its own class.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import yaml

from elektron.errors import ElektronError, did_you_mean
from elektron.io.files import atomic_write, read_text

Config = TypeVar("Config")
Value = TypeVar("Value")

_POSITIONAL = "positional"
Positional = Annotated[Value, _POSITIONAL]
"""Type of a field that the command line takes without an option, and that must be given."""

REQUIRED: Any = dataclasses.MISSING
"""The default of a setting that has none."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, as part of the type of its field: `Annotated[int, Within(least=1)]`.

    Besides, every number is finite, and whole ones fit into 64 bits.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        lower = f"above {self.above}" if self.above is not None else ""
        upper = f"below {self.below}" if self.below is not None else ""
        if self.most is not None:
            upper = f"at most {self.most}"
        if self.least is not None:
            if upper:
                return f"from {self.least} to {upper.removeprefix('at most ')}"
            return f"{self.least} or above"
        return " and ".join(filter(None, [lower, upper]))


@dataclass(frozen=True)
class Aliases:
    """Other names of the choices of a field, as part of its type."""

    names: tuple[tuple[str, str], ...]


AboveZero = Annotated[Value, Within(above=0)]
NotNegative = Annotated[Value, Within(least=0)]
Size = Annotated[int, Within(least=1, most=1 << 20)]
"""A number of things that are held in memory at once."""
Layers = Annotated[int, Within(least=1, most=1000)]
VocabSize = Annotated[int, Within(above=5, most=1 << 24)]
"""Of a vocabulary, which has five special tokens."""
Fraction = Annotated[float, Within(least=0, below=1)]
LearningRate = Annotated[float, Within(above=0, most=10)]
PositiveFraction = Annotated[float, Within(above=0, most=1)]
INT64 = 1 << 63

RENAMED = {
    "against": "baseline",
    "batch": "batch_size",
    "long_text": "truncation",
    "masking.final_share": "masking.final_mask_probability",
    "masking.keep": "masking.keep_probability",
    "masking.share": "masking.mask_probability",
    "micro_batch": "micro_batch_size",
    "network.embedding": "network.embedding_size",
    "network.feed_forward": "network.intermediate_size",
    "network.heads": "network.num_attention_heads",
    "network.hidden": "network.hidden_size",
    "network.layers": "network.num_hidden_layers",
    "network.max_positions": "network.max_position_embeddings",
    "optimizer.clip": "optimizer.max_grad_norm",
    "optimizer.cooldown": "optimizer.decay_fraction",
    "optimizer.generator_lr": "optimizer.generator_learning_rate",
    "optimizer.lr": "optimizer.learning_rate",
    "optimizer.muon_lr": "optimizer.muon_learning_rate",
    "optimizer.separate": "optimizer.separate_optimizers",
    "ramp": "curriculum",
    "ramp.batch_share": "curriculum.batch_fraction",
    "ramp.first_batch": "curriculum.first_batch_size",
    "ramp.first_length": "curriculum.first_length",
    "ramp.length_share": "curriculum.length_fraction",
    "vary": "sweep",
}
"""Settings of earlier versions, and their names now."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


@dataclass(frozen=True)
class Setting:
    """One field of a configuration dataclass, or of a group inside it."""

    name: str
    """Dotted name, such as `optimizer.learning_rate`."""
    type: Any
    """Type of a value that is set, without `| None`."""
    optional: bool
    """Whether None is a value."""
    default: Any
    """Default, or REQUIRED."""
    help: str
    """What stands under the field."""
    group: str
    """What stands under the class of the field's group, or under the class that a command shares
    the field with; empty for a command's own."""
    positional: bool
    """Whether the command line takes it without an option."""
    bounds: Within = Within()
    """Within which a number must be."""
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Other names of its choices."""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def several(self) -> bool:
        """Whether it takes more than one value."""
        return get_origin(self.type) is list

    @property
    def flag(self) -> str:
        """How the command line writes it: `--seq-len`, or `CORPUS` where no option is written."""
        return self.name.upper() if self.positional else _option(self.name)

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def kind(self) -> str:
        """In words, what a value must be."""
        return " ".join(filter(None, [_in_words(self.type), str(self.bounds)]))


class ValidatedConfig:
    """What every command's dataclass inherits: its values are of their fields' types, however it was made.

    From Python a value is taken as one would type it: a path or a number where text is meant, a lone
    value where there may be several, a mapping where there is a group. One that does not fit is
    answered as on the command line, by ElektronError.
    """

    def __post_init__(self) -> None:
        cls = type(self)
        known = {setting.name: setting for setting in settings(cls)}

        def flag(name: str) -> str:
            return known[name].flag if name in known else _option(name)

        given = {
            name: _as_typed(known[name], value) if name in known else value
            for name, value in _flatten(cls, _as_mapping(self), flag).items()
        }
        for name, value in _arguments(cls, validate(cls, given, flag)).items():
            setattr(self, name, value)


def settings(cls: type) -> list[Setting]:
    """All settings of a configuration dataclass, its own first, groups unfolded.

    What it inherits from another configuration is a group of its own on the page, not in the names.
    """
    hints, helps = get_type_hints(cls), _helps(cls)
    annotations = {
        name: list(_annotations(hint))
        for name, hint in get_type_hints(cls, include_extras=True).items()
    }
    found: list[Setting] = []
    inherited = {
        field.name: summary(base)
        for base in reversed(cls.__mro__[1:])
        if dataclasses.is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            found += [
                dataclasses.replace(
                    inner, name=f"{field.name}.{inner.name}", group=inner.group or summary(hint)
                )
                for inner in settings(hint)
            ]
            continue
        value_type, optional = _without_none(hint)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        group = inherited.get(field.name, "")
        found.append(
            Setting(
                field.name,
                value_type,
                optional,
                default,
                helps[field.name],
                group,
                _POSITIONAL in annotations[field.name],
                next((a for a in annotations[field.name] if isinstance(a, Within)), Within()),
                dict(
                    pair
                    for a in annotations[field.name]
                    if isinstance(a, Aliases)
                    for pair in a.names
                ),
            )
        )
    return sorted(found, key=lambda setting: setting.name.partition(".")[0] in inherited)


def summary(cls: type) -> str:
    """The docstring of a configuration dataclass on one line."""
    return " ".join((cls.__doc__ or "").split())


def validate(
    cls: type, values: Mapping[str, Any], label: Callable[[str], str] = str
) -> dict[str, Any]:
    """Values under dotted names, each of the type of its field.

    `values` may be nested, dotted or both, and may leave out any setting. `label` turns a dotted
    name into what the user wrote, for messages. Raises ElektronError for a name that does not
    exist or a value that does not fit.
    """
    known = {setting.name: setting for setting in settings(cls)}
    converted = {}
    for name, value in _flatten(cls, values, label).items():
        if name not in known:
            shown = label(name if name.isprintable() else _short.repr(name))
            raise ElektronError(f"{shown} is no setting{suggest_setting(name, known, label)}")
        converted[name] = _convert(known[name], value, label(name))
    return converted


def from_dict(
    cls: type[Config], values: Mapping[str, Any], label: Callable[[str], str] = str
) -> Config:
    """The dataclass with these values, validated as in `validate`, and defaults for the rest.

    Raises ElektronError also where a setting without a default is missing.
    """
    given = validate(cls, values, label)
    for setting in settings(cls):
        if setting.required and given.get(setting.name, []) == []:
            raise ElektronError(f"{label(setting.name)} is missing: {setting.help}")
    return _construct(cls, given)


def to_flat_dict(config: Any) -> dict[str, Any]:
    """All values of a configuration under their dotted names."""
    found = {}
    for setting in settings(type(config)):
        value = config
        for part in setting.name.split("."):
            value = getattr(value, part)
        found[setting.name] = value
    return found


def differences(a: Any, b: Any, ignore: tuple[str, ...] = ()) -> list[str]:
    """Dotted names of the settings in which two configurations differ.

    `ignore` names settings (`evaluation.every`) or whole groups (`evaluation`).
    """
    left, right = to_flat_dict(a), to_flat_dict(b)
    return [
        name
        for name in left | right
        if name not in ignore
        and name.partition(".")[0] not in ignore
        and left.get(name, REQUIRED) != right.get(name, REQUIRED)
    ]


def to_yaml(config: Any) -> str:
    """The configuration as YAML, every setting written out; `load_yaml` gives back its equal."""
    # What is not ASCII is escaped: written plainly, some line separators come back as spaces.
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False, width=math.inf)


def save_yaml(config: Any, path: Path) -> None:
    """Write `to_yaml` to a file; a file that is there is replaced whole or not at all."""
    atomic_write(path, to_yaml(config))


def load_yaml(cls: type[Config], path: Path) -> Config:
    """Read a configuration; what the file leaves out has its default. Errors as in `from_dict`."""
    return from_dict(cls, read_yaml(path), label=lambda name: f"{path}: {name}")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, by the safe loader. Raises ElektronError if there is none."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise ElektronError(f"{path}: no such file") from None
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ElektronError(f"{path}: not a text file in UTF-8") from error
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ElektronError(f"{path}{line}: not valid YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # The safe loader lets these four through on ill-formed tags, dates and bottomless nesting.
        raise ElektronError(f"{path}: not valid YAML ({type(error).__name__})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ElektronError(
            f"{path}: must hold settings, one `name: value` a line, got {_short.repr(content)}"
        )
    return {str(key): value for key, value in content.items()}


def format_value(value: Any) -> str:
    """A value as one writes it on the command line and in YAML: `true`, `null`, `0.0005`."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def suggest_setting(name: str, known: Iterable[str], label: Callable[[str], str] = str) -> str:
    """The new name of a setting that was renamed, or else the most similar names, as in `did_you_mean`."""
    known = list(known)
    old_name = name.replace("-", "_")
    for old, new in RENAMED.items():
        if old_name in (old, old.rpartition(".")[2]):
            for candidate in known:
                if candidate.replace("-", "_") == new:
                    return f": it is now {label(candidate)}"
                if candidate.startswith(f"{new}."):  # a group
                    return f": it is now {label(new)}"
    return did_you_mean(name, known, label, dotted=True)


@cache
def _helps(cls: type) -> dict[str, str]:
    """What stands under each field; it is read from the source, which takes milliseconds."""
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for base in reversed(cls.__mro__)
        if dataclasses.is_dataclass(base)
        for parameter in docstring_parser.parse_from_object(base).params
    }


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _as_mapping(config: Any) -> dict[str, Any]:
    """The values of a dataclass by their names, those of its groups alike."""
    return {
        name: _as_mapping(value) if dataclasses.is_dataclass(value) else value
        for name, value in vars(config).items()
    }


def _as_typed(setting: Setting, value: Any) -> Any:
    """A value from Python as the command line would have it."""

    def as_text(value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if number or isinstance(value, Path) else value

    if setting.type is str:
        return as_text(value)
    if not setting.several or value is None:
        return value
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [as_text(value) for value in values] if get_args(setting.type) == (str,) else values


def _flatten(
    cls: type, values: Mapping[str, Any], label: Callable[[str], str], prefix: str = ""
) -> dict[str, Any]:
    """Nested values under dotted names."""
    hints = get_type_hints(cls)
    flat: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints.get(key)
        if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
            flat[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping):
            flat |= _flatten(hint, {str(k): v for k, v in value.items()}, label, f"{prefix}{key}.")
        elif value is not None:  # a group with nothing under it sets nothing
            raise ElektronError(
                f"{label(prefix + key)} must be a group of settings, got {_short.repr(value)}"
            )
    return flat


def _convert(setting: Setting, value: Any, label: str) -> Any:
    """The value as the field has it; raises ElektronError where it does not fit."""
    converted = _typed(setting, value, label)
    for part in converted if isinstance(converted, list) else [converted]:
        if part == "":
            raise ElektronError(f"{label} must not be empty")
        if not isinstance(part, int | float):
            continue
        if isinstance(part, float) and not math.isfinite(part):
            raise ElektronError(f"{label} must be a finite number, got {_got(value)}")
        if not -INT64 <= part < INT64 and isinstance(part, int):
            raise ElektronError(f"{label} must be below 2^63, got {_got(value)}")
        if not setting.bounds.holds(part):
            raise ElektronError(f"{label} must be {setting.bounds}, got {_got(value)}")
    return converted


def _got(value: Any) -> str:
    """A value in short; Python refuses to write out a whole number of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"one of {value.bit_length():,} bits"
    return value if isinstance(value, str) and len(value) < 80 else _short.repr(value)


def _typed(setting: Setting, value: Any, label: str) -> Any:
    """The value in the type of the field."""
    if value is None and setting.optional:
        return None
    if isinstance(value, str) and setting.type is str:
        return value
    if isinstance(value, str) and value in setting.aliases:
        return setting.aliases[value]
    if isinstance(value, str | Path) and value != "" and setting.type is Path:
        return Path(value)
    if type(value) is setting.type and setting.type in (int, bool):
        return value  # most of what Python gives: jsonargparse takes its time
    complaint = f"{label} must be {_in_words(setting.type)}, got {_short.repr(value)}"
    if value is None or setting.type is Path:
        raise ElektronError(complaint)

    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=setting.type | None if setting.optional else setting.type)
    try:
        return parser.parse_object({"value": value}).value
    except (ArgumentError, OverflowError):
        raise ElektronError(complaint + did_you_mean(str(value), setting.choices)) from None


def _construct(cls: type[Config], values: Mapping[str, Any]) -> Config:
    return cls(**_arguments(cls, values))


def _arguments(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under dotted names as the dataclass takes them, its groups made."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {
        name: {} for name, hint in hints.items() if dataclasses.is_dataclass(hint)
    }
    for name, value in values.items():
        group, dot, rest = name.partition(".")
        if dot:
            groups[group][rest] = value
        else:
            arguments[name] = value
    return arguments | {group: _construct(hints[group], inner) for group, inner in groups.items()}


def _plain(value: Any) -> Any:
    """The same with paths and kinds of text as text, which is all that YAML's safe types lack here."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path | str) else value


def _annotations(hint: Any) -> Iterator[Any]:
    """What is annotated to a type, or to a part of a union."""
    if get_origin(hint) is Annotated:
        yield from get_args(hint)[1:]
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _annotations(part)


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A type hint without its `| None`, and whether there was one."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    rest = [part for part in get_args(hint) if part is not types.NoneType]
    return Union[tuple(rest)], len(rest) < len(get_args(hint))  # noqa: UP007


def _in_words(value_type: Any) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
    }
    if value_type in words:
        return words[value_type]
    if get_origin(value_type) is Literal:
        *others, last = map(str, get_args(value_type))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(value_type) is list:
        return f"a list, each {_in_words(get_args(value_type)[0])}"
    return str(value_type)
