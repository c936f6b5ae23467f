"""Files linked in docs/article.md exist and define the linked symbols, and its recipe resolves."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import torch

from elektron.errors import ElektronError
from elektron.models.families import FAMILIES
from elektron.models.pair import build_pair
from elektron.pretraining.config import resolve
from elektron.pretraining.plans import copy_weights
from elektron.pretraining.setup import configured_sizes
from elektron.recipes import pretrain_config

PAGE = Path(__file__).parents[1] / "docs" / "article.md"
TEXT = PAGE.read_text(encoding="utf-8")
TARGETS = dict(re.findall(r"(?m)^\[([^\]]+)\]: (\S+)$", TEXT))
NAMED = re.findall(r"\[([^\]\[]+)\]\[([^\]]+)\]", TEXT)
INLINE = re.findall(r"\]\((?!https?:)([^)#]+)", re.sub(r"`[^`]*`", "", TEXT))
SYMBOLS = sorted({(text.strip("`"), TARGETS[name]) for text, name in NAMED if TARGETS[name].endswith(".py")})
SPECIAL_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
IN_TURN = {
    "plan": "alternating",
    "plan_options.similarity": 1.0,
    "sharing": "none",
    "init_from": "run/discriminator,run/generator",
}


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Dotted names of the classes, functions and constants that a file defines, and of methods and fields."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(name for statement in tree.body for name in names(statement))


def names(statement, prefix=""):
    match statement:
        case ast.ClassDef():
            yield prefix + statement.name
            for inner in statement.body:
                yield from names(inner, f"{prefix}{statement.name}.")
        case ast.FunctionDef():
            yield prefix + statement.name
        case ast.Assign():
            yield from (prefix + t.id for t in statement.targets if isinstance(t, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield prefix + name


def test_links_point_to_existing_files():
    assert len(TARGETS) > 30
    for name, target in TARGETS.items():
        assert (PAGE.parent / target).is_file(), name
    for target in INLINE:
        assert (PAGE.parent / target).is_file(), target


def test_reference_links_match_definitions():
    assert {name for _, name in NAMED} == TARGETS.keys()


@pytest.mark.parametrize(("symbol", "target"), SYMBOLS, ids=[symbol for symbol, _ in SYMBOLS])
def test_linked_symbols_are_defined_in_target_file(symbol, target):
    assert symbol in defined_in((PAGE.parent / target).resolve())


def test_chinese_page_has_same_code_links():
    chinese = PAGE.with_suffix(".zh.md").read_text(encoding="utf-8")
    code = re.compile(r"\[`[^\]]+`\]\[[^\]]+\]|^\[[^\]]+\]: \S+$", re.MULTILINE)
    assert sorted(code.findall(chinese)) == sorted(code.findall(TEXT))


def test_links_contain_no_line_numbers():
    assert not re.search(r"\.py#L|\.py:\d", TEXT)


def test_article_recipe_uses_two_stage_plan_without_sharing():
    config = resolve(pretrain_config("article"))
    assert (config.plan, config.sharing) == ("two_stage", "none")


def test_copy_weights_copies_all_encoder_weights():
    config = resolve(pretrain_config("article"))
    torch.manual_seed(0)
    sizes, generator_sizes = configured_sizes(config.network)
    pair = build_pair(FAMILIES[config.family], sizes, generator_sizes, 50, SPECIAL_IDS, config.sharing)
    copied, total = copy_weights(pair)
    assert copied == total > 0


def test_article_recipe_can_continue_with_alternating_plan():
    config = resolve(pretrain_config("article", IN_TURN))
    assert (config.plan, config.plan_options.similarity) == ("alternating", 1.0)


def test_article_recipe_with_shared_embeddings_raises():
    with pytest.raises(ElektronError, match="would change the shared weights"):
        resolve(pretrain_config("article", {"sharing": "embeddings"}))
