"""The benchmark of each test module."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`test_NAME.py` gets `benchmarks/NAME.py`, imported as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module(request.path.stem.removeprefix("test_"))
