"""What a terminal is told of figures, runs and folders that others named."""

from pathlib import Path

from elektron.finetuning.trials import Run
from elektron.finetuning.wording import closing_words


def test_names_of_others_stay_text() -> None:
    escape = "\x1b[31m<script>"
    runs = [Run("pretrained", seed, {}, eval={"f1": 0.5}, kept=seed == 1) for seed in (1, 2)]
    runs[0].settings = {"model": escape}
    metrics = {"split": "eval", "f1": 0.5, f"f1_{escape}": 0.25, "intervals": {}}
    said = closing_words(metrics, runs, "f1", Path("out\x1b]0;title\x07"))
    assert "\x1b" not in said and "\x07" not in said
    assert "f1_\\x1b[31m<script>" in said and "out\\x1b]0;title\\x07/report.html" in said
