"""Wrong values for every option: rejected in one line, or accepted for a listed reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elektron.cli import COMMANDS, load
from elektron.configuration import settings
from tests.mutation.cases import Case, outcomes
from tests.mutation.conftest import CommandLines

LONG = "9" * 5000
VALUES = ("", "nan", "-1", "0", "1e309", "1000000000", LONG, "0.5", "[]", "x\udcff\x1b[31m")
"""Typed for each option in turn."""
ACCEPTED = {
    r"\S+ --out (nan|-1|0|1e309|1000000000|0\.5|\[\])": "a folder or file may have any name",
    r"estimate --out LONG": "nothing is written",
    r"\S+ --seed (0|1000000000)": "a seed",
    r"\S+ --steps 1000000000": "a run of any length can be stopped and resumed",
    r"finetune --epochs (0\.5|1000000000)": "part of a pass, or as many as one has time for",
    r"\S+ --(max-documents|max-train|rows|patience) 1000000000": "at most so many, which is all",
    r"inspect --rows 0": "no rows, but the findings",
    r"prepare --validation (0|0\.5)": "a fraction; `pretrain` refuses blocks without held-out rows",
    r"finetune --eval 0\.5": "a fraction of the training rows",
    r"\S+ --discriminator-weight (0|0\.5|1000000000)": "a weight beside the generator's, 1",
    r"\S+ --(network\.dropout|masking\.keep-probability|optimizer\.beta[12]) (0|0\.5)": "a fraction, or none",
    r"\S+ --(network\.generator-width|masking\.mask-probability|optimizer\.decay-fraction) 0\.5": "a fraction",
    r"\S+ --curriculum\.(length|batch)-fraction 0\.5": "a fraction",
    r"\S+ --optimizer\.((muon-|generator-)?learning-rate|eps) 0\.5": "large: a loss that is not finite is reported",
    r"\S+ --optimizer\.weight-decay (0|0\.5)": "a rate, or none",
    r"\S+ --optimizer\.max-grad-norm (0\.5|1000000000)": "a norm that gradients have, or never reach",
    r"\S+ --optimizer\.warmup (0|0\.5|1000000000)": "none, half, or more than the run: shortened, with a note",
    r"\S+ --(evaluation|checkpoint)\.\S+ 1000000000": "at the end only, or all of them",
    r"\S+ --log-every 1000000000": "at the end only",
    r"estimate --throughput (0\.5|1000000000)": "a speed",
    r"finetune --(muon-)?learning-rate 0\.5": "large: a loss that is not finite is reported",
    r"finetune --layer-decay 0\.5": "a fraction",
    r"finetune --(warmup|weight-decay|dropout|label-smoothing) (0|0\.5)": "a fraction or rate, or none",
    r"finetune --stride 0": "windows that do not overlap",
    r"\S+ --label-separator .+": "any text may separate labels",
    r"predict --label .+": "labels are not read to predict",
    r"detect --(threshold|suggestions) (0|0\.5)": "a probability; none",
}
"""Reasons by expressions on the command, the option and the value."""


def cases(command_lines: CommandLines) -> Iterator[Case]:
    for command, argv in command_lines.items():
        for setting in settings(load(COMMANDS[command].config)):
            for value in VALUES:
                name = f"{command} {setting.flag} {'LONG' if value is LONG else value}"
                typed = f"{setting.flag}={value}"
                if setting.positional:
                    yield Case(name, [command, value, *argv[1:]])
                elif setting.flag in argv:
                    place = argv.index(setting.flag)
                    yield Case(name, [command, *argv[:place], typed, *argv[place + 2 :]])
                else:
                    yield Case(name, [command, *argv, typed])


@pytest.mark.parametrize("every", [83, pytest.param(1, marks=pytest.mark.slow)])
def test_invalid_option_values_are_rejected(every: int, command_lines: CommandLines, tmp_path: Path) -> None:
    assert outcomes(list(cases(command_lines))[::every], tmp_path, ACCEPTED) == []
