"""The benchmark of each test module; encoders and data of the fine-tuning tests."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.finetuning.conftest import animals, encoders  # noqa: F401


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`test_NAME.py` gets `benchmarks/NAME.py`, imported as a module."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module(request.path.stem.removeprefix("test_"))
