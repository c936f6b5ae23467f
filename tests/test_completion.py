"""Shells complete commands, options and choices."""

import shutil
import subprocess

import pytest

from elektron.cli import main


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["pre"], {"prepare", "pretrain", "predict"}),
        (["pretrain", "--fam"], {"--family"}),
        (["pretrain", "--family", "elec"], {"electra"}),
        (["pretrain", "--compile", ""], {"true", "false"}),
        (["finetune", "q"], {"question-answering", "qa"}),
        (["pretrain", "--data", "x"], set()),
    ],
)
def test_bash(words: list[str], found: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    program = script("bash", capsys) + (
        'COMP_WORDS=(elektron "$@"); COMP_CWORD=$#; _elektron; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True)
    assert (set(done.stdout.split()), done.stderr) == (found, "")


def test_zsh_and_fish(capsys: pytest.CaptureFixture[str]) -> None:
    bash = script("bash", capsys)
    zsh = script("zsh", capsys)
    assert "bashcompinit" in zsh.partition("\n")[0] and zsh.endswith(bash)
    lines = script("fish", capsys).splitlines()
    assert any("-a pretrain" in line for line in lines)
    assert any("from pretrain" in line and "-l family" in line and "electra" in line for line in lines)
