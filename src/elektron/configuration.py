"""Convert settings between dataclasses, command lines and YAML files, in the same way for every command.

The dataclass of a command is the only place where its settings are named, typed, given a default and
explained. A setting inside a group has a dotted name, `optimizer.learning_rate`. Options, YAML files and
mappings from Python are flattened to dotted names and checked by `validate`; `from_dict` makes the dataclass.
A command's dataclass inherits from `ValidatedConfig`, which checks the values in the same way in Python.

For settings that are neither text nor paths, `null` means "not set" where the field allows None.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import reprlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import yaml

from elektron.errors import CUTOFF, ElektronError, did_you_mean
from elektron.io.files import atomic_write, read_yaml_file

Config = TypeVar("Config")
Value = TypeVar("Value")

_POSITIONAL = "positional"
Positional = Annotated[Value, _POSITIONAL]
"""Type of a field that is a positional argument on the command line."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, as part of the type of its field: `Annotated[int, Within(least=1)]`."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        lower = f"above {self.above}" if self.above > -math.inf else ""
        upper = f"below {self.below}" if self.below < math.inf else ""
        if self.most < math.inf:
            upper = f"at most {self.most}"
        if self.least == -math.inf:
            return " and ".join(filter(None, [lower, upper]))
        if not upper:
            return f"{self.least} or above"
        return f"from {self.least} to {upper.removeprefix('at most ')}"


@dataclass(frozen=True)
class Aliases:
    """Other names of the choices of a field, as part of its type."""

    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class EquivalentOptions:
    """Names of options of other commands with the same purpose, as part of the type of a field, for messages."""

    names: tuple[str, ...]


AboveZero = Annotated[Value, Within(above=0)]
NotNegative = Annotated[Value, Within(least=0)]
Size = Annotated[int, Within(least=1, most=1 << 20)]
"""A number of things that are held in memory at once."""
Layers = Annotated[int, Within(least=1, most=1000)]
VocabSize = Annotated[int, Within(above=5, most=1 << 24)]
"""More than the five special tokens."""
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
    "optimizer.lr": "optimizer.learning_rate",
    "optimizer.muon_lr": "optimizer.muon_learning_rate",
    "ramp": "curriculum",
    "ramp.batch_share": "curriculum.batch_fraction",
    "ramp.first_batch": "curriculum.first_batch_size",
    "ramp.first_length": "curriculum.first_length",
    "ramp.length_share": "curriculum.length_fraction",
    "vary": "sweep",
}
"""Names of settings in earlier versions, and their present names."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


@dataclass(frozen=True)
class Setting:
    """One field of a configuration dataclass, or of a group inside it.

    Attributes:
        name: dotted name, such as `optimizer.learning_rate`.
        type: type of the value, without `| None`.
        optional: whether the value may be None.
        default: default value, or `dataclasses.MISSING`.
        help: docstring of the field.
        group: docstring of the field's group, or of the base class that it is inherited from; empty for a
            command's own fields.
        positional: whether it is a positional argument on the command line.
        bounds: bounds of a number.
        aliases: other names of its choices.
        equivalent_options: names of options of other commands with the same purpose.
    """

    name: str
    type: Any
    optional: bool
    default: Any
    help: str
    group: str
    positional: bool
    bounds: Within
    aliases: Mapping[str, str]
    equivalent_options: tuple[str, ...]

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def is_list(self) -> bool:
        return get_origin(self.type) is list

    @property
    def flag(self) -> str:
        """Its form on the command line: `--seq-len`, or `CORPUS` for a positional argument."""
        return self.name.upper() if self.positional else _option(self.name)

    @property
    def choices(self) -> tuple[str, ...]:
        kind = get_args(self.type)[0] if self.is_list else self.type
        return get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def kind(self) -> str:
        """What a value must be, in words."""
        return f"{_in_words(self.type)} {self.bounds}".rstrip()


class ValidatedConfig:
    """Base of every command's dataclass: converts the values to the types of the fields.

    A value that does not fit raises ElektronError, with the same message as on the command line.
    """

    def __post_init__(self) -> None:
        flags = {setting.name: setting.flag for setting in settings(type(self))}
        values = validate(type(self), vars(self), lambda name: flags.get(name, _option(name)))
        for name, value in _arguments(type(self), values).items():
            setattr(self, name, value)


def settings(cls: type) -> list[Setting]:
    """All settings of a configuration dataclass, its own before those that it inherits.

    A field that is a dataclass is a group, whose settings are named `group.setting`. Inherited settings are a group in
    the help, but their names have no prefix.
    """
    hints, helps, groups = get_type_hints(cls, include_extras=True), _helps(cls), _groups(cls)
    inherited = {
        field.name: summary(base)
        for base in reversed(cls.__mro__[1:])
        if is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    result: list[Setting] = []
    for field in dataclasses.fields(cls):
        if field.name in groups:
            for inner in settings(groups[field.name]):
                name, group = f"{field.name}.{inner.name}", inner.group or summary(groups[field.name])
                result.append(dataclasses.replace(inner, name=name, group=group))
            continue
        hint = hints[field.name]
        parts = [part for part in _union(hint) if part is not types.NoneType]
        (plain,) = (get_args(p)[0] if get_origin(p) is Annotated else p for p in parts)
        extras = [extra for part in parts for extra in getattr(part, "__metadata__", ())]
        factory = field.default_factory
        result.append(
            Setting(
                name=field.name,
                type=plain,
                optional=len(parts) < len(_union(hint)),
                default=field.default if factory is MISSING else factory(),
                help=helps[field.name],
                group=inherited.get(field.name, ""),
                positional=_POSITIONAL in extras,
                bounds=next((extra for extra in extras if isinstance(extra, Within)), Within()),
                aliases={k: v for e in extras if isinstance(e, Aliases) for k, v in e.names},
                equivalent_options=tuple(name for e in extras if isinstance(e, EquivalentOptions) for name in e.names),
            )
        )
    return sorted(result, key=lambda setting: setting.name.partition(".")[0] in inherited)


def _groups(cls: type) -> dict[str, type]:
    """The fields of a configuration dataclass that are dataclasses themselves."""
    return {name: hint for name, hint in get_type_hints(cls).items() if isinstance(hint, type) and is_dataclass(hint)}


def _union(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


@cache
def _helps(cls: type) -> dict[str, str]:
    """The docstring of each field, read from the source code. Cached, because this takes milliseconds."""
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for base in reversed(cls.__mro__)
        if is_dataclass(base)
        for parameter in docstring_parser.parse_from_object(base).params
    }


def summary(cls: type) -> str:
    """The docstring of a configuration dataclass on one line."""
    return " ".join((cls.__doc__ or "").split())


def validate(cls: type, values: Mapping[str, Any], label: Callable[[str], str] = str) -> dict[str, Any]:
    """Flatten values to dotted names, and convert each to the type of its field.

    Args:
        cls: the configuration dataclass.
        values: values under nested names, dotted names or both; any setting may be left out. Numbers, `true`,
            `false` and `null` may be strings; an int or a path is accepted for a string, a single value for a list.
        label: turns a dotted name into what the user wrote, for messages.

    Raises:
        ElektronError: a name does not exist, or a value does not fit.
    """
    by_name = {setting.name: setting for setting in settings(cls)}
    converted = {}
    for name, value in _flatten(cls, values, label):
        if name not in by_name:
            shown = label(name if name.isprintable() else _short.repr(name))
            raise ElektronError(f"{shown} is not a setting{suggest_setting(name, by_name, label)}")
        converted[name] = _convert(by_name[name], value, label(name))
    return converted


def from_dict(cls: type[Config], values: Mapping[str, Any], label: Callable[[str], str] = str, **parts: Any) -> Config:
    """Make the dataclass from these values and defaults; `parts` are constructor arguments that are not settings.

    Raises ElektronError like `validate`, and if a required setting is missing.
    """
    given = validate(cls, values, label)
    for setting in settings(cls):
        if setting.required and given.get(setting.name, []) == []:
            raise ElektronError(f"{label(setting.name)} is missing: {setting.help}")
    return cls(**_arguments(cls, given), **parts)


def _flatten(
    cls: type, values: Mapping[str, Any], label: Callable[[str], str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of nested values."""
    groups = _groups(cls)
    for key, given in values.items():
        name, value = f"{prefix}{key}", vars(given) if is_dataclass(given) else given
        if key not in groups:
            yield name, value
        elif isinstance(value, Mapping):
            yield from _flatten(groups[key], {str(k): v for k, v in value.items()}, label, f"{name}.")
        elif value is not None:  # an empty group in YAML
            raise ElektronError(f"{label(name)} must be a group of settings, got {_short.repr(value)}")


def _arguments(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments for values under dotted names: groups become dataclasses."""
    arguments = {name: value for name, value in values.items() if "." not in name}
    for name, group in _groups(cls).items():
        prefix = f"{name}."
        inner = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
        arguments[name] = group(**_arguments(group, inner))
    return arguments


def _convert(setting: Setting, value: Any, label: str) -> Any:
    """The value in the type of the field; raises ElektronError where it does not fit."""
    if setting.optional and (value is None or (value == "null" and setting.type not in (str, Path))):
        return None
    if isinstance(value, str) and value in setting.aliases:
        return setting.aliases[value]
    if setting.is_list and isinstance(value, str | int | Path):
        value = [value]
    try:
        converted = _typed(setting.type, value)
    except (ValueError, OverflowError):
        items = value if isinstance(value, list) else [value]
        wrong = [item for item in items if item not in setting.choices]
        near = did_you_mean(str(wrong[0]), setting.choices) if setting.choices and wrong else ""
        raise ElektronError(f"{label} must be {_in_words(setting.type)}, got {_short.repr(value)}{near}") from None
    got = value if isinstance(value, str) else _short.repr(value)
    for part in converted if isinstance(converted, list) else [converted]:
        if part == "":
            raise ElektronError(f"{label} must not be empty")
        if isinstance(part, float) and not math.isfinite(part):
            raise ElektronError(f"{label} must be a finite number, got {got}")
        if isinstance(part, int) and not -INT64 <= part < INT64:
            raise ElektronError(f"{label} must be below 2^63, got {got}")
        if isinstance(part, int | float) and part not in setting.bounds:
            raise ElektronError(f"{label} must be {setting.bounds}, got {got}")
    return converted


def _typed(kind: Any, value: Any) -> Any:
    """The value in a plain type, a Literal, or a list or mapping of them. Raises ValueError if it does not fit."""
    text = isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if get_origin(kind) is list and isinstance(value, list | tuple):
        return [_typed(get_args(kind)[0], item) for item in value]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: _typed(get_args(kind)[1], inner) for key, inner in value.items()}
    if kind is int and (text or (number and isinstance(value, int))):
        return int(value)
    if kind is float and (text or number):
        return float(value)
    if kind is bool and (isinstance(value, bool) or value in ("true", "false")):
        return value in (True, "true")
    if kind is str and (text or isinstance(value, Path) or (number and isinstance(value, int))):
        return value if text else str(value)  # not converted: rows in memory are a subclass of str
    if kind is Path and value != "" and isinstance(value, str | Path):
        return Path(value)
    if get_origin(kind) is Literal and text and value in get_args(kind):
        return value
    raise ValueError


def to_flat_dict(config: Any) -> dict[str, Any]:
    """All values of a configuration under their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in vars(config).items():
        if is_dataclass(value):
            flat |= {f"{name}.{inner}": v for inner, v in to_flat_dict(value).items()}
        else:
            flat[name] = value
    return flat


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
        and left.get(name, MISSING) != right.get(name, MISSING)
    ]


def to_yaml(config: Any) -> str:
    """The configuration as YAML, with every setting; `load_yaml` reads an equal configuration from it."""
    # By way of JSON, because `safe_dump` accepts neither paths nor subclasses of str. It escapes what is not ASCII:
    # otherwise some line separators would be read back as spaces.
    plain = json.loads(json.dumps(dataclasses.asdict(config), default=os.fspath))
    return yaml.safe_dump(plain, sort_keys=False, width=math.inf)


def save_yaml(config: Any, path: Path) -> None:
    """Write `to_yaml` to a file; an existing file is replaced atomically."""
    atomic_write(path, to_yaml(config))


def load_yaml(cls: type[Config], path: Path) -> Config:
    """Read a configuration; settings that the file leaves out have their defaults. Raises like `from_dict`."""
    return from_dict(cls, read_yaml(path), label=lambda name: f"{path}: {name}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file. Raises ElektronError if the file cannot be read as one."""
    content = read_yaml_file(path)
    if not isinstance(content, dict | None):
        raise ElektronError(f"{path}: must hold settings, one `name: value` a line, got {_short.repr(content)}")
    return {str(key): value for key, value in (content or {}).items()}


def format_value(value: Any) -> str:
    """A value as the command line and YAML write it: `true`, `null`, `0.0005`."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def suggest_setting(name: str, names: Iterable[str], label: Callable[[str], str] = str, cutoff: float = CUTOFF) -> str:
    """The new name of a setting that was renamed, or else the most similar names, as in `did_you_mean`."""
    names = list(names)
    old_name = name.replace("-", "_")
    for old, new in RENAMED.items():
        if old_name in (old, old.rpartition(".")[2]):
            for candidate in names:
                if candidate.replace("-", "_") == new:
                    return f": it is now {label(candidate)}"
                if candidate.startswith(f"{new}."):  # a group
                    return f": it is now {label(new)}"
    return did_you_mean(name, names, label, dotted=True, cutoff=cutoff)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}" if others else str(last)
    if get_origin(kind) is list:
        return f"a list, each {_in_words(get_args(kind)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return "a path" if kind is Path else words.get(kind, str(kind))
