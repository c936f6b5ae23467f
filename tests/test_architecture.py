"""Functions and modules named in docs/architecture.md exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "elektron"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_documented_functions_are_defined_in_named_files():
    places = re.findall(r"((?:`\w+`, )*`\w+`) in `([\w/]+\.py)`", PAGE)
    assert len(places) >= 10
    for names, file in places:
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert set(re.findall(r"\w+", names)) <= defined, file


def test_every_module_exists():
    modules = {path.name for path in PACKAGE.rglob("*.py")} | {"host_sync.py"}
    assert set(re.findall(r"\w+\.py\b", PAGE)) <= modules
