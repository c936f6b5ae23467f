"""The command line: configurations passed to functions, error messages, signals and output streams."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import elektron
from elektron import cli
from elektron.cli import COMMANDS, _configure, load, main
from elektron.configuration import summary
from elektron.corpus.config import PrepareConfig, TokenizerConfig
from elektron.errors import ElektronError
from elektron.inference.config import PredictConfig
from elektron.missing import refuse_missing_inputs
from elektron.pretraining.config import PretrainConfig
from elektron.progress import Progress
from elektron.recipes import pretrain_config
from elektron.reference import reference
from elektron.reporting.config import ReportConfig
from elektron.sweep import parse_sweep
from elektron.terminal import echo, escape_control

HEAVY = {"torch", "transformers", "datasets", "pyarrow", "tokenizers", "numpy", "rich", "sklearn"}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(elektron.__file__).parents[1])}

Install = Callable[[str, Callable[[Any], object]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Replaces the function of a command without importing its module."""

    def put(command: str, function: Callable[[Any], object]) -> None:
        module, _, name = COMMANDS[command].function.partition(":")
        stand_in = types.ModuleType(module)
        setattr(stand_in, name, function)
        monkeypatch.setitem(sys.modules, module, stand_in)

    return put


@pytest.fixture
def configured(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command line and returns the configuration passed to the command's function."""
    monkeypatch.setattr(cli, "refuse_missing_inputs", lambda config: None)

    def run(command: str, *argv: str) -> Any:
        received: list[Any] = []
        install(command, received.append)
        assert main([command, *argv]) == 0
        (config,) = received
        return config

    return run


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one-line error message of a failing command line, without its prefix."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("elektron: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    return err.removeprefix("elektron: ").rstrip("\n")


def test_arguments_become_command_config(configured: Callable[..., Any]) -> None:
    assert configured(
        "tokenizer", "a.txt", "--out", "vocabulary", "b.txt", "--vocab-size=100", "--lowercase", "true"
    ) == TokenizerConfig(corpus=["a.txt", "b.txt"], out=Path("vocabulary"), vocab_size=100, lowercase=True)
    assert configured("prepare", "--tokenizer", "t", "--out", "o", "--packing", "paper", "c") == PrepareConfig(
        corpus=["c"], tokenizer="t", out=Path("o"), packing="paper"
    )
    assert configured("report", "x", "y") == ReportConfig(runs=[Path("x"), Path("y")])


def test_pretrain_merges_recipe_with_options(configured: Callable[..., Any]) -> None:
    assert configured(
        "pretrain", "--config", "quickstart", "--minutes", "3", "--optimizer.muon-learning-rate", "1e-2"
    ) == pretrain_config("quickstart", {"minutes": 3, "optimizer": {"muon_learning_rate": 0.01}})
    assert configured("pretrain", "--config", "electra-small", "--family", "elektron") == (
        pretrain_config("electra-small", {"family": "elektron"})
    )


def test_pretrain_without_recipe_reports_default(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured("pretrain", "--data", "blocks")
    assert config == pretrain_config("elektron-small", {"data": "blocks"})
    assert isinstance(config, PretrainConfig)
    assert capsys.readouterr().err == "elektron: no --config: the recipe is elektron-small\n"
    configured("pretrain", "--data", "blocks", "--quiet")
    assert capsys.readouterr().err == ""


def test_pretrain_reports_data_that_is_missing_or_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = complaint(capsys, "pretrain", "--data", str(tmp_path / "missing"))
    assert answer == f"{tmp_path}/missing: no such folder"
    (tmp_path / "text.txt").write_text("text")
    answer = complaint(capsys, "pretrain", "--data", str(tmp_path / "text.txt"))
    assert "is a file" in answer and f"elektron prepare {tmp_path}/text.txt" in answer


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        ("pretran", "unknown command pretran: did you mean pretrain?"),
        ("train", "unknown command train: did you mean tokenizer or pretrain or finetune or compare?"),
        ("zzz", "unknown command zzz: `elektron --help` lists the commands"),
        ("--stpes", "unknown command --stpes: `elektron --help` lists the commands"),
        ("pretrain --stpes 3", "unknown option --stpes: did you mean --steps?"),
        ("pretrain --stpes=3", "unknown option --stpes: did you mean --steps?"),
        ("pretrain --step 3", "unknown option --step: did you mean --steps?"),
        ("pretrain --lr 3", "unknown option --lr: it is now --optimizer.learning-rate"),
        ("pretrain --init_from x", "unknown option --init_from: did you mean --init-from?"),
        ("pretrain --zzzz", "unknown option --zzzz: `elektron pretrain --help` lists them"),
        ("pretrain --network 3", "unknown option --network: did you mean --network."),
        (
            "prepare x --config y",
            "unknown option --config: it is an option of pretrain, estimate, compare; `elektron prepare --help`",
        ),
        ("estimate --test x", "unknown option --test: it is an option of finetune; `elektron estimate --help` lists"),
        ("finetune ner --steps 3", "unknown option --steps: finetune has --epochs instead"),
        ("evaluate m --input=x", "unknown option --input: evaluate has DATA instead"),
        ("pretrain --dropout 0", "unknown option --dropout: did you mean --network.dropout?"),
        ("compare --seed 2", "unknown option --seed: did you mean --seeds?"),
        ("pretrain -x", "unknown option -x"),
        ("predict --model m", "unknown option --model: MODEL is a positional argument"),
        ("prepare --corpus=x", "unknown option --corpus: CORPUS is a positional argument"),
        ("pretrain --steps foo", "--steps must be a whole number, got 'foo'"),
        ("pretrain --seed null", "--seed must be a whole number, got 'null'"),
        ("pretrain --compile=maybe", "--compile must be true or false, got 'maybe'"),
        ("pretrain --family electr", "--family must be elektron, electra, deberta-v2, modernbert,"),
        ("prepare x --packing densee", "--packing must be dense or paper, got 'densee': did you mean dense?"),
        ("pretrain --steps 3 --tokens 4", "steps and tokens cannot be used together"),
        ("pretrain --config electra-smal", "no recipe is named electra-smal: did you mean"),
        ("pretrain foo", "'foo' is neither an option nor the value of one"),
        ("predict m new.csv", "'new.csv' is neither an option nor the value of one: use --input new.csv"),
        ("pretrain --out", "argument --out: expected one argument"),
        ("tokenizer a", "--out is missing: Folder for the tokenizer."),
        ("tokenizer --out b", "CORPUS is missing: Files, folders"),
        ("report", "RUNS is missing: Folders"),
    ],
)
def test_usage_error_is_reported_in_one_line(argv: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, *argv.split()).startswith(answer)


def test_hub_client_retries_are_hidden_except_rate_limits(caplog: pytest.LogCaptureFixture) -> None:
    main(["--version"])
    client = logging.getLogger("huggingface_hub.utils._http")
    client.warning("'no network' thrown while requesting HEAD https://huggingface.co/x")
    client.warning("Retrying in 8s [Retry 4/5].")
    client.warning("Rate limited. Waiting 300s before retry [Retry 1/5].")
    assert [record.getMessage() for record in caplog.records] == [
        "Rate limited. Waiting 300s before retry [Retry 1/5]."
    ]


def test_terminal_escapes_in_arguments_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert r"\x1b[31m" in complaint(capsys, "\x1b[31mred")
    assert escape_control("a\nb\u202e\x9b\udcff é 中") == r"a\nb\u202e\x9b\udcff é 中"


def test_elektron_error_is_reported_in_one_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: ReportConfig) -> None:
        raise ElektronError(f"{config.runs[0]}: no metrics here\nnor there")

    install("report", fail)
    assert complaint(capsys, "report", "x") == r"x: no metrics here\nnor there"


def test_keyboard_interrupt_exits_with_130(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(config: ReportConfig) -> None:
        raise KeyboardInterrupt

    install("report", interrupt)
    assert main(["report", "x"]) == 130
    assert capsys.readouterr().err == "elektron: interrupted\n"


def test_unexpected_error_propagates(install: Install) -> None:
    def break_pipe(config: ReportConfig) -> None:
        raise BrokenPipeError  # not raised by writing to stdout

    install("report", break_pipe)
    with pytest.raises(BrokenPipeError):
        main(["report", "x"])


def test_warnings_go_to_stderr_and_handler_is_removed(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("elektron.reporting")
    install("report", lambda config: logger.warning("%d rows\nare odd", 3))
    assert main(["report", "x"]) == 0
    assert capsys.readouterr().err == "elektron: warning: 3 rows\\nare odd\n"
    assert not logging.getLogger("elektron").handlers


def test_libraries_send_no_telemetry(configured: Callable[..., Any]) -> None:
    configured("report", "x")
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone
    for name, command in COMMANDS.items():
        assert f"  {name} " in alone and summary(load(command.config)) in alone
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"elektron {elektron.__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command: str) -> None:
    done = in_process(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout.startswith(f"usage: elektron {command}")


SPEAKS = """
import sys, types
from elektron.cli import COMMANDS, main
from elektron.progress import Progress
from elektron.terminal import echo
module = types.ModuleType("evidence")
def report(config):
    with Progress("speaking", 100, "lines") as bar:
        for line in range(100):
            echo("\u4e2d " * 1000)
            bar.update(line)
module.report = report
sys.modules["elektron.report"] = module
sys.exit(main(["report", "x"]))
"""
"""A command that has a lot to say."""


def shell(line: str, program: str = SPEAKS, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which `$run` is a Python program."""
    return subprocess.run(
        ["bash", "-c", line],
        env=ENVIRONMENT | {"run": program, "python": sys.executable} | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("help", [True, False])
def test_closed_output_pipe_is_no_error(help: bool) -> None:
    run = "-m elektron pretrain --help" if help else '-c "$run"'
    done = shell(f"set -o pipefail; $python {run} | head -c 3")
    assert done.returncode == 0 and done.stderr.count(b"\n") == (not help)


@pytest.mark.parametrize("run", ["-m elektron", "-m elektron report --help", '-c "$run"'])
def test_unwritable_stdout_is_reported(run: str) -> None:
    done = shell(f"$python {run} >/dev/full")
    assert done.returncode == 2
    errors = [line for line in done.stderr.decode().splitlines() if "speaking" not in line]
    assert len(errors) == 1 and errors[0].startswith("elektron: standard output cannot be written (")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&- <&-"])
def test_unwritable_stderr_keeps_exit_code_and_output(where: str) -> None:
    assert shell(f"$python -m elektron --version {where}").returncode == 0
    assert shell(f"$python -m elektron report /no/such/folder {where}").returncode == 2
    done = shell(f'$python -c "$run" {where}', SPEAKS)
    assert done.returncode == 0 and len(done.stdout) > 300_000


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_outside_stdout_encoding_are_escaped(encoding: str) -> None:
    done = shell('$python -c "$run"', PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert done.stdout.startswith(rb"\u4e2d \u4e2d ")


def test_os_error_is_reported_in_one_line(install: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    long = "a" * 5000
    for error, expected in (
        (PermissionError(13, "Permission denied", "/closed/x"), "/closed/x: Permission denied"),
        (OSError(36, "File name too long", long), "…"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ):

        def fail(config: ReportConfig, error: OSError = error) -> None:
            raise error

        install("report", fail)
        answer = complaint(capsys, "report", "x")
        assert expected in answer and len(answer) < 400


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_signal_runs_cleanup_and_sets_exit_code(
    number: int, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    cleaned = []

    def end(config: ReportConfig) -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            cleaned.append(True)

    install("report", end)
    assert main(["report", "x"]) == 128 + number
    assert cleaned and capsys.readouterr().err == f"elektron: ended by {signal.Signals(number).name}\n"
    assert signal.getsignal(number) == signal.SIG_DFL


def test_ignored_signal_stays_ignored(install: Install) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        install("report", lambda config: os.kill(os.getpid(), signal.SIGHUP))
        assert main(["report", "x"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


PLACES = {
    "tokenizer": ["CORPUS --out OUT", "corpus.txt --out CLOSED"],
    "prepare": ["CORPUS --tokenizer TOKENIZER --out OUT", "corpus.txt --tokenizer CLOSED --out OUT"],
    "inspect": ["CLOSED"],
    "verify": ["CLOSED"],
    "pretrain": ["--data CLOSED --out OUT", "--config CLOSED"],
    "estimate": ["--data CLOSED"],
    "finetune": [
        "classification --model CLOSED --train x.csv --out OUT",
        "classification --model scratch:quickstart --train CLOSED --out OUT",
        "classification --model scratch:quickstart --train x.csv --out CLOSED",
    ],
    "evaluate": ["CLOSED x.csv", "CLOSED --blimp x.jsonl"],
    "predict": ["CLOSED --input x.csv"],
    "detect": ["CLOSED --input x.csv"],
    "compare": [
        "--data CLOSED --out OUT --sweep objective=rtd,mlm --budget 1s --probe 'classification --train x.csv'",
        "--data BLOCKS --out CLOSED --sweep objective=rtd,mlm --budget 1s --probe 'classification --train x.csv'",
    ],
    "report": ["CLOSED"],
}


@pytest.mark.parametrize("kind", ["long", "closed"])
@pytest.mark.parametrize("line", [f"{command} {line}" for command, lines in PLACES.items() for line in lines])
def test_inaccessible_path_is_named_in_error_without_traceback(
    line: str,
    kind: str,
    blocks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder without search permission is simulated, because root can read every folder."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("the cat sees the dog .\n" * 20)
    Path("x.csv").write_text("text,label\nthe cat,1\nthe dog,0\n")
    Path("x.jsonl").write_text('{"sentence_good": "the cat sees", "sentence_bad": "cat the sees"}\n')
    closed = tmp_path / "closed" / "x"
    refused = PermissionError(13, "Permission denied", str(closed))
    if kind == "closed":
        for function in ("stat", "lstat", "open", "mkdir", "scandir", "listdir"):
            monkeypatch.setattr(os, function, _refusing(getattr(os, function), closed, refused))
        monkeypatch.setattr("io.open", _refusing(io.open, closed, refused))
    name = str(closed) if kind == "closed" else "a" * 5000
    places = dict.fromkeys(("CLOSED", "CORPUS", "TOKENIZER"), name) | {"OUT": "out", "BLOCKS": str(blocks)}
    assert main([places.get(word, word) for word in shlex.split(line)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(each.startswith("elektron: ") for each in lines)
    assert name[:100] in lines[-1] and len(lines[-1]) < 6000


def _refusing(function: Callable[..., Any], closed: Path, error: OSError) -> Callable[..., Any]:
    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str | os.PathLike) and str(path).startswith(str(closed)):
            raise error
        return function(path, *arguments, **options)

    return refuse


def test_the_reference_page_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "reference.md"
    assert page.read_text(encoding="utf-8") == reference(), "run: python -m elektron.reference > docs/reference.md"


def in_process(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a new process, whose last line on stderr lists the heavy modules it imported."""
    program = (
        "import sys; from elektron.cli import main\n"
        "try: status = main(sys.argv[1:])\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )


@pytest.mark.parametrize(
    ("argv", "missing"),
    [
        ("tokenizer nothere.txt --out o", "nothere.txt"),
        ("inspect no/such", "no/such"),
        ("prepare builtin:docs --tokenizer ./nothere --out o", "./nothere"),
        ("pretrain --data nothere --out o", "nothere"),
        ("estimate --data nothere", "nothere"),
        ("finetune ner --model ./m --train nothere.conll --out o", "nothere.conll"),
        ("finetune ner --model a/b/c --train hf:x --out o", "a/b/c"),
        ("evaluate ./m nothere.csv", "nothere.csv"),
        ("predict ./nothere --input -", "./nothere"),
        ("compare --data nothere --budget 1m --probe x --out o", "nothere"),
    ],
)
def test_missing_input_is_reported_before_heavy_imports(argv: str, missing: str) -> None:
    done = in_process(*argv.split())
    *_, line, heavy = done.stderr.splitlines()
    assert (done.returncode, heavy) == (2, "[]")
    assert line.startswith("elektron: ") and missing in line


def test_query_column_is_not_required_in_documents(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("query\nwhat\n")
    (tmp_path / "docs.txt").write_text("text\n")
    documents = [str(tmp_path / "docs.txt")]
    refuse_missing_inputs(PredictConfig(model="m", input=str(tmp_path / "q.csv"), text="query", documents=documents))


@pytest.mark.parametrize("command", COMMANDS)
def test_command_examples_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "refuse_missing_inputs", lambda config: None)
    for example in COMMANDS[command].examples:
        argv = shlex.split(re.split(" [<>] ", example)[0])
        config = _configure(command, COMMANDS[command], argv)[0]
        assert isinstance(config, load(COMMANDS[command].config))
        if command == "compare":
            assert parse_sweep(PretrainConfig, config.sweep, ())


def test_quiet_hides_info_and_progress_but_not_warnings(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def work(config: ReportConfig) -> None:
        logging.getLogger("elektron.x").info("a note")
        logging.getLogger("elektron.x").warning("a warning")
        with Progress("working", 1, "steps"):
            pass
        echo("a result")

    install("report", work)
    assert main(["report", "x", "--quiet"]) == 0
    assert capsys.readouterr() == ("a result\n", "elektron: warning: a warning\n")


def test_json_is_only_output_on_stdout(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def work(config: ReportConfig) -> dict[str, Any]:
        echo("a table")
        return {"page": config.runs[0], "figures": [{"loss": float("nan")}], 3: (1, 2)}

    install("report", work)
    assert main(["report", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": "x", "figures": [{"loss": None}], "3": [1, 2]}


def test_out_of_memory_is_reported_in_one_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def work(config: ReportConfig) -> None:
        torch.empty(1 << 50)

    install("report", work)
    assert complaint(capsys, "report", "x").startswith("out of memory (")


def test_undecodable_argument_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    answer = complaint(capsys, "inspect", "caf\udce9.txt")
    assert answer == r"'caf\udce9.txt' is not UTF-8: rename the file, or set LANG"
