"""The card of a pre-trained encoder: data, costs and figures of its run, and nothing of the machine."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from elektron.push import LOCAL_PATH, PushConfig, push
from elektron.reporting.model_card import encoder_card
from elektron.reporting.pretraining_run import read_run
from tests.reporting.conftest import CORPUS, MakeRun
from tests.reporting.pages import HOSTILE

PATHS: dict[str, Any] = {"init_from": "/home/somebody/other/discriminator,/tmp/gen"}
SOURCES = ["/home/somebody/secret/text.txt", "hf:Salesforce/wikitext:wikitext-2", HOSTILE]


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_data_costs_and_figures(network: str, make_run: MakeRun) -> None:
    run = read_run(make_run(config=PATHS, corpus=CORPUS | {"sources": SOURCES}))
    card = encoder_card(run, network, "me/encoder")
    parameters = {"discriminator": "1,329,025", "generator": "742,144"}[network]
    for words in (
        "# encoder\n",
        f"The {network}, with {parameters} parameters",
        "2.46 M tokens",
        "2,457,600 |",
        "1.3 × 10¹³ |",
        "6,281,120",
        "`text.txt`",
        "`hf:Salesforce/wikitext:wikitext-2`",
        "`discriminator,gen`",
        "- Discriminator AUC: 0.7",
        "folder = 'me/encoder'",
        "## Limits",
    ):
        assert words in card, words
    assert "somebody" not in card and not LOCAL_PATH.search(card)
    assert ("AutoModelForPreTraining" in card) == (network == "discriminator")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["tags"] == ["elektron", "rtd"] and "license" not in metadata
    expected = {"discriminator": "feature-extraction", "generator": "fill-mask"}
    assert metadata["pipeline_tag"] == expected[network]


def test_of_a_run_the_discriminator_is_pushed(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("discriminator", "generator"):
        (run / name).mkdir()
        (run / name / "config.json").write_text('{"model_type": "elektron"}')
        (run / name / "model.safetensors").write_bytes(b"weights")
    files = {"README.md", "config.json", "model.safetensors"}
    for model in (run, run / "generator"):
        assert set(push(PushConfig(str(model), "me/encoder"))["files"]) == files
    assert not list(run.rglob("README.md"))


def test_an_unfinished_run_has_no_card(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(finished=False)
    (run / "discriminator").mkdir()
    (run / "discriminator" / "config.json").write_text("{}")
    (run / "discriminator" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(Exception, match="finished run"):
        push(PushConfig(str(run), "me/encoder"))
