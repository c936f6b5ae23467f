"""Settings: names, types, YAML round trips, recipes and error messages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import hypothesis
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from elektron.cli import COMMANDS, load
from elektron.configuration import (
    INT64,
    Aliases,
    Positional,
    ValidatedConfig,
    Within,
    differences,
    from_dict,
    load_yaml,
    read_yaml,
    save_yaml,
    settings,
    suggest_setting,
    to_flat_dict,
    to_yaml,
    validate,
)
from elektron.corpus.config import InspectConfig, PrepareConfig, TokenizerConfig
from elektron.errors import ElektronError, did_you_mean
from elektron.pretraining.config import FAMILY_DEFAULTS, FAMILY_FIELDS, NetworkConfig, PretrainConfig, resolve
from elektron.recipes import pretrain_config, recipe_names
from elektron.reporting.config import ReportConfig


@dataclass
class Frame:
    """Sizes of a frame."""

    width: float = 0.5
    """How wide."""
    colour: Literal["red", "green"] = "red"
    """Which colour."""
    depth: int | None = None
    """How deep."""


@dataclass
class Bounded(ValidatedConfig):
    """Numbers with bounds."""

    count: Annotated[int, Within(least=1, most=9)] = 1
    """How many."""
    rate: Annotated[float, Within(above=0, below=1)] | None = None
    """How fast."""
    shares: list[float] = field(default_factory=list)
    """Which parts."""
    name: Annotated[Literal["long", "other"], Aliases((("l", "long"),))] = "other"
    """Its name."""
    text: str | None = None
    """What it says."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "--count must be from 1 to 9, got 0"),
        ({"count": 10}, "--count must be from 1 to 9"),
        ({"count": 10**400}, r"--count must be below 2\^63, got 1000"),
        ({"count": "9" * 5000}, "--count must be a whole number"),
        ({"rate": 0}, "--rate must be above 0 and below 1, got 0"),
        ({"rate": 1.0}, "--rate must be above 0 and below 1"),
        ({"rate": math.nan}, "--rate must be a finite number, got nan"),
        ({"rate": "1e309"}, "--rate must be a finite number, got 1e309"),
        ({"shares": [0.5, math.inf]}, "--shares must be a finite number"),
        ({"text": ""}, "--text must not be empty"),
        ({"name": "longish"}, "--name must be long or other"),
    ],
)
def test_values_out_of_bounds_raise(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ElektronError, match=message):
        Bounded(**values)
    with pytest.raises(ElektronError, match=message):
        from_dict(Bounded, values, label="--{}".format)


def test_values_within_bounds_are_accepted_and_aliases_resolved() -> None:
    bounded = Bounded(count=9, rate=0.5, shares=[1.0], name="l", text="x")
    assert (bounded.count, bounded.rate, bounded.shares, bounded.name) == (9, 0.5, [1.0], "long")
    assert from_dict(Bounded, {"name": "l", "rate": "null"}) == Bounded(name="long")
    kinds = {setting.name: setting.kind for setting in settings(Bounded)}
    assert kinds["count"] == "a whole number from 1 to 9"
    assert kinds["rate"] == "a number above 0 and below 1"


@dataclass
class Picture:
    """Something to hang
    on a wall."""

    sources: Positional[list[Path]]
    """Where it is from."""
    title: str
    """What it is called."""
    note: str | None = None
    """What else there is to say."""
    place: Path | None = None
    """Where it hangs."""
    copies: int = 1
    """How many."""
    framed: bool = True
    """Whether there is a frame."""
    frame: Frame = field(default_factory=Frame)


SMALLEST: dict[str, Any] = {"sources": ["a"], "title": "b"}


def test_settings_list_dotted_names_defaults_and_help() -> None:
    found = {setting.name: setting for setting in settings(Picture)}
    assert list(found) == [
        *("sources", "title", "note", "place", "copies", "framed"),
        *("frame.width", "frame.colour", "frame.depth"),
    ]
    assert found["frame.colour"].help == "Which colour."
    assert found["frame.colour"].group == "Sizes of a frame."
    assert found["frame.colour"].choices == ("red", "green")
    assert found["frame.width"].default == 0.5
    assert found["sources"].required and found["sources"].positional
    assert found["title"].required and not found["title"].positional
    assert found["frame.depth"].optional and not found["copies"].optional


@pytest.mark.parametrize("config", [TokenizerConfig, PrepareConfig, InspectConfig, PretrainConfig, ReportConfig])
def test_every_setting_has_help(config: type) -> None:
    assert all(setting.help.endswith(".") for setting in settings(config))


def test_from_dict_accepts_strings_nested_and_dotted_values() -> None:
    picture = from_dict(
        Picture, SMALLEST | {"copies": "3", "framed": "false", "frame": {"width": "5e-4"}, "frame.depth": 2}
    )
    assert picture == Picture([Path("a")], "b", copies=3, framed=False, frame=Frame(width=5e-4, depth=2))


def test_null_unsets_optional_setting() -> None:
    assert from_dict(Frame, {"depth": "null"}).depth is None
    assert from_dict(Frame, {"depth": None}).depth is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"copies": "foo"}, "copies must be a whole number, got 'foo'"),
        ({"copies": 1.5}, "copies must be a whole number, got 1.5"),
        ({"copies": True}, "copies must be a whole number, got True"),
        ({"copies": None}, "copies must be a whole number, got None"),
        ({"title": 1.10}, "title must be text, got 1.1"),
        ({"place": ""}, "place must be a path, got ''"),
        ({"framed": "maybe"}, "framed must be true or false, got 'maybe'"),
        ({"sources": [True]}, "sources must be a list, each a path, got [True]"),
        ({"frame": 3}, "frame must be a group of settings, got 3"),
        ({"frame": {"width": "nan"}}, "frame.width must be a finite number, got nan"),
        ({"frame": {"width": 10**400}}, "frame.width must be a number, got 1000"),
        ({"frame": {"colour": "gren"}}, "frame.colour must be red or green, got 'gren': did you mean green?"),
        ({"frame": {"colour": ["red"]}}, "frame.colour must be red or green, got ['red']"),
        ({"frame": {"widht": 1}}, "frame.widht is not a setting: did you mean frame.width?"),
        ({"widht": 1}, "widht is not a setting: did you mean frame.width?"),
        ({"zzzzzzzz": 1}, "zzzzzzzz is not a setting"),
        ({"frame": {"frame": {"width": 1}}}, "frame.frame is not a setting"),
    ],
)
def test_wrong_value_or_name_raises_one_line_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ElektronError) as caught:
        from_dict(Picture, SMALLEST | values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["sources", "title"])
def test_missing_setting_raises_with_its_help(missing: str) -> None:
    values = {name: value for name, value in SMALLEST.items() if name != missing}
    with pytest.raises(ElektronError, match=rf"^{missing} is missing: Wh"):
        from_dict(Picture, values)


@dataclass
class Painting(ValidatedConfig, Picture):
    """A picture of which Python may make one."""

    artists: list[str] = field(default_factory=list)
    """Who made it."""


def test_constructor_converts_values_like_command_line() -> None:
    given: Any = {"sources": "a", "title": Path("b"), "place": "c", "copies": "3", "note": 2}
    painting = Painting(**given, artists=("Ana", Path("Bo")), frame={"depth": 4})
    assert painting == Painting(*([Path("a")], "b", "2", Path("c"), 3, True, Frame(depth=4)), artists=["Ana", "Bo"])
    assert type(painting.copies) is int and isinstance(painting.place, Path)
    assert Painting(["a"], "b", frame=None).frame == Frame()
    assert Painting(["a"], "b", artists="Ana").artists == ["Ana"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sources": None}, "SOURCES must be a list, each a path, got None"),
        ({"copies": "many"}, "--copies must be a whole number, got 'many'"),
        ({"title": True}, "--title must be text, got True"),
        ({"artists": [None]}, "--artists must be a list, each text, got [None]"),
        ({"frame": 3}, "--frame must be a group of settings, got 3"),
        ({"frame": {"widht": 1}}, "--frame.widht is not a setting: did you mean --frame.width?"),
        ({"frame": Frame(colour="gren")}, "--frame.colour must be red or green, got 'gren': did"),
    ],
)
def test_constructor_raises_same_errors_as_command_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ElektronError) as caught:
        Painting(**SMALLEST | values)
    assert str(caught.value).startswith(message)


def test_every_command_config_is_validated() -> None:
    for command in COMMANDS.values():
        assert issubclass(load(command.config), ValidatedConfig)


def test_suggest_setting_finds_renamed_misspelt_and_partial_names() -> None:
    known = ["optimizer.learning_rate", "evaluation.every", "checkpoint.every", "steps"]
    assert suggest_setting("lr", known) == ": it is now optimizer.learning_rate"
    assert suggest_setting("ramp", ["curriculum.first_length"]) == ": it is now curriculum"
    assert suggest_setting("stpes", known, label="--{}".format) == ": did you mean --steps?"
    assert suggest_setting("every", known) == ": did you mean evaluation.every or checkpoint.every?"
    assert suggest_setting("xyz", known) == ""
    assert suggest_setting("xyz", []) == ""


def test_did_you_mean_compares_whole_file_names() -> None:
    known = ["headerless.csv", "mc.csv", "plain.csv"]
    assert did_you_mean("plian.csv", known) == ": did you mean plain.csv?"


paths = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
pictures = st.builds(
    Picture,
    sources=st.lists(paths.map(Path), min_size=1),
    title=st.text(min_size=1),
    note=st.none() | st.text(min_size=1) | st.sampled_from(["null", "~", "3", "yes", "a: b", "- a"]),
    place=st.none() | paths.map(Path) | st.just(Path("null")),
    copies=st.integers(-INT64, INT64 - 1),
    framed=st.booleans(),
    frame=st.builds(
        Frame,
        width=st.floats(allow_nan=False, allow_infinity=False),
        colour=st.sampled_from(["red", "green"]),
        depth=st.none() | st.integers(-INT64, INT64 - 1),
    ),
)


@hypothesis.settings(deadline=None)
@given(picture=pictures)
@example(picture=Picture([Path("\x85")], "\u2028"))
def test_yaml_round_trip(picture: Picture, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    save_yaml(picture, path)
    assert load_yaml(Picture, path) == picture
    assert from_dict(Picture, to_flat_dict(picture)) == picture
    assert from_dict(Picture, yaml.safe_load(to_yaml(picture))) == picture


def test_save_yaml_replaces_file_and_leaves_no_other(tmp_path: Path) -> None:
    save_yaml(Frame(depth=1), tmp_path / "config.yaml")
    save_yaml(Frame(depth=2), tmp_path / "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert load_yaml(Frame, tmp_path / "config.yaml") == Frame(depth=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"copies: [1", "config.yaml, line 1: not valid YAML"),
        (b"copies: !!python/object:os.system 1", "config.yaml, line 1: not valid YAML"),
        (b"copies: 2024-99-99", "config.yaml: not valid YAML"),
        (b"copies: !!bool foo", "config.yaml: not valid YAML"),
        (b"copies: 0x" + b"9" * 5000, "config.yaml: not valid YAML"),
        (b"[" * 100_000, "config.yaml: not valid YAML"),
        (b"\xff\xfe\x00", "config.yaml: not a text file in UTF-8"),
        (b"copies: 1\ncopies: 2", "config.yaml, line 2: not valid YAML (duplicate key 'copies')"),
        (
            b"frame: {width: 1}\nsources: [a]\nframe: {width: 2}",
            "config.yaml, line 3: not valid YAML (duplicate key 'frame')",
        ),
        (b"just words", "config.yaml: must hold settings"),
        (b"copeis: 3", "config.yaml: copeis is not a setting: did you mean"),
        (b"frame:\n  wdth: 3", "config.yaml: frame.wdth is not a setting: did you mean"),
        (b"copies: [1, 2]", "config.yaml: copies must be a whole number, got [1, 2]"),
        (b"1: 2", "config.yaml: 1 is not a setting"),
        (b"", "config.yaml: sources is missing"),
    ],
)
def test_invalid_yaml_raises_one_line_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ElektronError) as caught:
        load_yaml(Picture, path)
    assert str(caught.value).startswith(str(tmp_path / message))
    assert "\n" not in str(caught.value)


def test_merge_keys_are_not_duplicate_keys(tmp_path: Path) -> None:
    path, text = tmp_path / "config.yaml", "a: &a {k: 1}\nb:\n  c: &c {<<: *a, k: 2}\n  d: {<<: *c}\n"
    path.write_text(text)
    assert read_yaml(path) == yaml.safe_load(text)


def test_loading_missing_file_or_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match="no such file"):
        load_yaml(Picture, tmp_path / "absent.yaml")
    with pytest.raises(ElektronError, match="cannot be read"):
        load_yaml(Picture, tmp_path)


@hypothesis.settings(deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_content_loads_or_raises_elektron_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "wild.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(load_yaml(Frame, path), Frame)
    except ElektronError as error:
        assert "\n" not in str(error)


def test_differences_lists_settings_and_can_ignore_groups() -> None:
    a = PretrainConfig(steps=10)
    b = PretrainConfig(steps=20, seed=2)
    b.evaluation.every = 7
    b.network.num_hidden_layers = 2
    assert differences(a, a) == []
    assert differences(a, b) == ["steps", "seed", "network.num_hidden_layers", "evaluation.every"]
    assert differences(a, b, ignore=("seed", "evaluation", "network.num_hidden_layers")) == ["steps"]


# Settings from appendix A of the paper, written here independently of the recipes.
PAPER = {
    #                           layers hidden ff  heads emb generator batch  lr   steps  masked
    "electra-small": (12, 256, 1024, 4, 128, 1 / 4, 128, 5e-4, 1_000_000, 0.15),
    "electra-small-plus-plus": (12, 256, 1024, 4, 128, 1.0, 128, 5e-4, 4_000_000, 0.15),
    "electra-base": (12, 768, 3072, 12, 768, 1 / 3, 256, 2e-4, 766_000, 0.15),
    "electra-large": (24, 1024, 4096, 16, 1024, 1 / 4, 2048, 2e-4, 400_000, 0.25),
}


@pytest.mark.parametrize("recipe", PAPER)
def test_paper_recipes_match_paper(recipe: str) -> None:
    config = pretrain_config(recipe)
    network, optimizer = config.network, config.optimizer
    assert PAPER[recipe] == (
        *(network.num_hidden_layers, network.hidden_size, network.intermediate_size, network.num_attention_heads),
        *(network.embedding_size, network.generator_width, config.batch_size, optimizer.learning_rate),
        *(config.steps, config.masking.mask_probability),
    )
    assert (config.family, config.objective, config.plan) == ("electra", "rtd", "joint")
    assert (network.dropout, network.max_position_embeddings) == (0.1, 512)
    assert (config.masking.keep_probability, config.discriminator_weight) == (0.15, 50.0)
    assert (optimizer.name, optimizer.beta1, optimizer.beta2) == ("adamw", 0.9, 0.999)
    assert (optimizer.eps, optimizer.weight_decay, optimizer.max_grad_norm) == (1e-6, 0.01, 1.0)
    assert (optimizer.warmup, optimizer.decay_fraction) == (10_000, 1.0)
    assert optimizer.bias_correction is False


def test_quickstart_recipe_has_benchmarked_settings() -> None:
    config = pretrain_config("quickstart")
    network = config.network
    assert (network.num_hidden_layers, network.hidden_size, network.num_attention_heads) == (4, 128, 4)
    assert (network.generator_layers, network.generator_width) == (2, 1.0)
    assert (config.batch_size, config.steps, config.family) == (32, 660, "elektron")
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.muon_learning_rate) == (3e-3, 0.03)
    assert (optimizer.beta2, optimizer.decay_fraction) == (0.98, 0.7)


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_resolves_with_valid_sizes_and_description(recipe: str) -> None:
    network = resolve(pretrain_config(recipe)).network
    for size in (network.hidden_size, network.intermediate_size, network.num_attention_heads):
        assert size * network.generator_width == pytest.approx(round(size * network.generator_width))
    assert network.hidden_size % network.num_attention_heads == 0
    path = Path(__file__).parents[1] / "recipes" / f"{recipe}.yaml"
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert pretrain_config(path) == pretrain_config(recipe)


def test_overrides_change_only_given_settings() -> None:
    config = pretrain_config("quickstart", {"optimizer.learning_rate": 1e-4, "checkpoint": {"every": 5}})
    assert (config.optimizer.learning_rate, config.checkpoint.every) == (1e-4, 5)
    config.optimizer.learning_rate, config.checkpoint.every = 3e-3, 300
    assert config == pretrain_config("quickstart")


@pytest.mark.parametrize("length", ["steps", "tokens", "minutes"])
def test_length_override_replaces_recipe_length(length: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    for in_recipe in ("steps", "tokens", "minutes"):
        recipe.write_text(f"{in_recipe}: 7\n")
        config = pretrain_config(recipe, {length: 9})
        lengths = {name: getattr(config, name) for name in ("steps", "tokens", "minutes")}
        assert lengths == {"steps": None, "tokens": None, "minutes": None, length: 9}


def test_several_lengths_or_none_raise(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    with pytest.raises(ElektronError, match=r"^steps and minutes cannot be used together: give one"):
        pretrain_config("quickstart", {"steps": 3, "minutes": 1})
    recipe.write_text("steps: 3\ntokens: 5\n")
    with pytest.raises(ElektronError, match=r"recipe.yaml: steps and tokens cannot be used together"):
        pretrain_config(recipe, {"minutes": 1})
    recipe.write_text("seed: 3\n")
    for config in (pretrain_config(recipe), pretrain_config("quickstart", {"steps": None})):
        with pytest.raises(ElektronError, match="give exactly one of steps, tokens, minutes, flops"):
            resolve(config)


@pytest.mark.parametrize(("recipe", "family"), [("electra-base", "elektron"), ("quickstart", "electra")])
def test_changing_family_keeps_sizes_and_resets_family_settings(recipe: str, family: str) -> None:
    before = pretrain_config(recipe)
    after = pretrain_config(recipe, {"family": family})
    assert after.family == family
    values = to_flat_dict(after)
    assert all(values[name] is None for name in FAMILY_FIELDS)
    resolved = to_flat_dict(resolve(after))
    assert {name: resolved[name] for name in FAMILY_FIELDS} == FAMILY_DEFAULTS[family]
    assert set(differences(before, after)) <= {"family", *FAMILY_FIELDS}
    tuned = pretrain_config(recipe, {"family": family, "optimizer.learning_rate": 1e-3})
    assert differences(after, tuned) == ["optimizer.learning_rate"]


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_init_from_with_family_keeps_continue_recipe(family: str) -> None:
    named = pretrain_config(overrides={"init_from": "x", "family": family})
    assert named == pretrain_config("continue", {"init_from": "x", "family": family})
    assert named.optimizer.learning_rate == 5e-5


def test_same_family_override_keeps_recipe() -> None:
    assert pretrain_config("electra-base", {"family": "electra"}) == pretrain_config("electra-base")


def test_family_fields_match_family_defaults() -> None:
    for defaults in FAMILY_DEFAULTS.values():
        assert tuple(defaults) == FAMILY_FIELDS
        assert validate(PretrainConfig, defaults) == defaults
    unset = {setting.name: setting.default for setting in settings(PretrainConfig)}
    assert all(unset[name] is None for name in FAMILY_FIELDS)


def test_unknown_recipe_or_family_raises_with_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ElektronError, match=r"did you mean electra-small\? There are .*electra-base"):
        pretrain_config("electra-smal")
    with pytest.raises(ElektronError, match=r"no such recipe file: did you mean electra-base\?"):
        pretrain_config(tmp_path / "electra-base.yaml")
    with pytest.raises(ElektronError, match=r"family must be elektron, electra, .* got 'bart'"):
        pretrain_config("quickstart", {"family": "bart"})


def test_init_from_discards_sizes_of_recipe() -> None:
    config = pretrain_config("elektron-base", {"init_from": "x", "network.generator_layers": 2})
    assert config.network == NetworkConfig(generator_layers=2)
    assert pretrain_config(None, {"init_from": "x"}) == pretrain_config("continue", {"init_from": "x"})
    assert pretrain_config(None, {"init_from": "x"}).network == NetworkConfig(dropout=0.0)
    assert pretrain_config("electra-base", {"init_from": "x"}).network == NetworkConfig(dropout=0.1)
    assert pretrain_config(None, {"init_from": "x", "network.dropout": 0.2}).network == NetworkConfig(dropout=0.2)
