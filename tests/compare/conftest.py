"""A comparison of tiny networks on the small language."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from elektron.compare.config import CompareConfig
from elektron.finetuning import results
from elektron.finetuning.metrics.measure import bootstrap
from tests.finetuning.conftest import animals  # noqa: F401
from tests.pretraining.conftest import TINY

MakeConfig = Callable[..., CompareConfig]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bootstrap intervals would take longer than everything else in these tests."""
    monkeypatch.setattr(results, "bootstrap", partial(bootstrap, resamples=20))


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose steps take milliseconds."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    settings = {
        "steps": 5,
        "batch_size": 8,
        "log_every": 2,
        "network": TINY,
        "evaluation": {"every": 100, "rows": 8},
        "checkpoint": {"every": 100},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def probe_text(animals: dict[str, Path]) -> str:  # noqa: F811
    """A probe that classifies whether a sentence is about an animal."""
    return (
        f"classification --train {animals['train']} --eval {animals['eval']} "
        "--max-train 32 --epochs 1 --batch-size 16 --max-length 16"
    )


@pytest.fixture
def make_config(tiny_recipe: Path, blocks: Path, probe_text: str, tmp_path: Path) -> MakeConfig:
    """A function that returns a comparison's configuration with the given changes."""

    def make(**changes: object) -> CompareConfig:
        settings: dict[str, object] = {
            "config": str(tiny_recipe),
            "data": blocks,
            "sweep": ["optimizer.learning_rate=1e-3,1e-2"],
            "budget": ["2e8flops"],
            "probe": [probe_text],
            "seeds": 1,
            "out": tmp_path / "comparison",
        }
        return CompareConfig(**(settings | changes))  # type: ignore[arg-type]

    return make
