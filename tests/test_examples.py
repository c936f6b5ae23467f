"""Example scripts are checked without running them, for valid bash and existing options; the notebook is run."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertConfig, BertModel

from elektron.cli import COMMANDS, load
from elektron.configuration import settings
from elektron.corpus.config import TokenizerConfig
from elektron.corpus.tokenizer import train_tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))


def known_options() -> set[str]:
    found = {"--config", "--help"}
    for command in COMMANDS.values():
        found |= {setting.flag for setting in settings(load(command.config))}
    for program in EXAMPLES.glob("*.py"):
        found |= set(re.findall(r"\"(--[a-z-]+)\"", program.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_valid_executable_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n#")
    assert "set -euo pipefail" in text
    assert "/.venv/bin:$PATH" in text, "where `make` installs"
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_options_exist(script):
    text = re.sub(r"(?m)^#.*$", "", script.read_text(encoding="utf-8"))
    used = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", text))
    assert used
    assert used <= known_options()


def test_scripts_call_exactly_the_existing_programs():
    called = set()
    for script in SCRIPTS:
        called |= set(re.findall(r"python \"?(?:examples|\$here)/(\S+\.py)\b", script.read_text(encoding="utf-8")))
    assert called == {path.name for path in EXAMPLES.glob("*.py")}


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """A small encoder, few steps and few rows replace the settings in the first cell."""
    encoder = tmp_path / "encoder"
    corpus = ["builtin:docs"]
    train_tokenizer(TokenizerConfig(corpus=corpus, out=encoder, vocab_size=1500, max_documents=500))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vocabulary = len(AutoTokenizer.from_pretrained(encoder))
    BertModel(BertConfig(vocab_size=vocabulary, intermediate_size=64, **sizes)).save_pretrained(encoder)
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "adapt_and_classify.ipynb").read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert set(re.findall(r"(?m)^([A-Z]+)\b", code[0])) == {"ENCODER", "STEPS", "LABELLED"}
    names = {"ENCODER": str(encoder), "STEPS": 2, "LABELLED": 64}
    for source in code[1:]:
        exec(source, names)
    assert set(names["accuracy"]) == {"as released", "adapted"}
    assert (tmp_path / "model-adapted" / "report.html").is_file()
