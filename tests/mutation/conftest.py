"""A valid command line of each command, and the folders that commands read."""

import shutil
from pathlib import Path

import pytest

from elektron.compare.compare import compare
from elektron.compare.config import CompareConfig
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.finetune import finetune
from tests.compare.conftest import probe_text, tiny_recipe  # noqa: F401
from tests.finetuning.conftest import animals, encoders  # noqa: F401
from tests.pretraining.conftest import finished  # noqa: F401

CommandLines = dict[str, list[str]]


@pytest.fixture(scope="session")
def tuned(
    encoders: dict[str, Path],  # noqa: F811
    animals: dict[str, Path],  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A fine-tuned classifier."""
    out = tmp_path_factory.mktemp("tuned") / "model"
    files = {"train": [str(animals["train"])], "eval": [str(animals["eval"])]}
    model = str(encoders["elektron"])
    finetune(FinetuneConfig(task="classification", model=model, out=out, epochs=1, **files))
    return out


@pytest.fixture(scope="session")
def compared(
    tiny_recipe: Path,  # noqa: F811
    blocks: Path,
    probe_text: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished comparison."""
    out = tmp_path_factory.mktemp("compared") / "comparison"
    budget, probe = ["2e8flops"], [probe_text]
    recipe = str(tiny_recipe)
    compare(CompareConfig(config=recipe, data=blocks, budget=budget, probe=probe, seeds=1, out=out))
    return out


@pytest.fixture(scope="session")
def unfinished(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A run that was interrupted after its last checkpoint."""
    out = tmp_path_factory.mktemp("unfinished") / "run"
    shutil.copytree(finished, out)
    (out / "summary.json").unlink()
    return out


@pytest.fixture(scope="session")
def command_lines(
    corpus_file: Path,
    tokenizer_folder: Path,
    blocks: Path,
    finished: Path,  # noqa: F811
    encoders: dict[str, Path],  # noqa: F811
    animals: dict[str, Path],  # noqa: F811
    tuned: Path,
    tiny_recipe: Path,  # noqa: F811
    probe_text: str,  # noqa: F811
) -> CommandLines:
    """A valid command line of each command."""
    tiny = f"--config {tiny_recipe} --data {blocks}"
    learn = f"classification --model {encoders['elektron']} --train {animals['train']}"
    return {
        "quickstart": [],
        "tokenizer": f"{corpus_file} --out out --vocab-size 90".split(),
        "prepare": f"{corpus_file} --out out --tokenizer {tokenizer_folder} --workers 1".split(),
        "inspect": [str(corpus_file)],
        "verify": [str(blocks)],
        "pretrain": f"{tiny} --steps 5 --out out".split(),
        "estimate": f"{tiny} --steps 5".split(),
        "finetune": f"{learn} --eval {animals['eval']} --out out --max-train 64".split(),
        "evaluate": f"{tuned} {animals['test']}".split(),
        "predict": f"{tuned} --input {animals['test']}".split(),
        "detect": f"{encoders['elektron'].parent} --input {animals['test']}".split(),
        "compare": [*f"{tiny} --budget 2e8flops --seeds 1 --out out --probe".split(), probe_text],
        "report": f"{finished} --out out.html".split(),
    }
