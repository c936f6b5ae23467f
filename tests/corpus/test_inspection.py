"""Inspection detects faults in a corpus and reports none in a clean one."""

from pathlib import Path

import pytest

from elektron.corpus.config import InspectConfig
from elektron.corpus.inspection import Lengths, inspect_corpus

SENTENCE = (
    "The committee met in the morning to discuss the new railway line, and several members "
    "asked number {} of the questions about its cost and its likely use by the public."
)
CLEAN = [SENTENCE.format(number) for number in range(300)]


def verdicts(tmp_path: Path, documents: list[str], tokenizer: str | None = None) -> dict[str, str]:
    path = tmp_path / "corpus.txt"
    path.write_bytes("\n\n".join(documents).encode("utf-8", "surrogateescape"))
    findings = inspect_corpus(InspectConfig([str(path)], tokenizer))
    return {finding.subject.split(",")[0].split(":")[0]: finding.verdict for finding in findings}


def test_clean_corpus_is_fine_except_for_its_size(tmp_path: Path) -> None:
    found = verdicts(tmp_path, CLEAN)
    assert found.pop("text") == "worth a look"
    assert set(found.values()) == {"fine"}


@pytest.mark.parametrize(
    ("documents", "subject", "verdict"),
    [
        ([*CLEAN, *CLEAN[:60]], "exact duplicates", "worth a look"),
        ([*CLEAN, *CLEAN, *CLEAN], "exact duplicates", "wrong"),
        ([*CLEAN, "one \udce4 byte"], "encoding", "worth a look"),
        ([f"{text} \udce4" for text in CLEAN], "encoding", "wrong"),
        ([*CLEAN, "a\x07b"], "control and replacement characters", "worth a look"),
        ([f"{text}\ufffd" for text in CLEAN], "control and replacement characters", "wrong"),
        ([*CLEAN, *[f"{t}<br />" for t in CLEAN[:9]]], "documents with HTML tags or entities", "worth a look"),
        ([f"{text} &amp;" for text in CLEAN], "documents with HTML tags or entities", "wrong"),
        ([*CLEAN, *["Собрание обсудило дорогу. " * 9] * 100], "scripts", "worth a look"),
        ([f"word {n}" for n in range(300)], "document length", "worth a look"),
        ([*CLEAN, "x" * 30_000], "line length", "worth a look"),
    ],
)
def test_corpus_fault_gives_expected_verdict(tmp_path: Path, documents: list[str], subject: str, verdict: str) -> None:
    assert verdicts(tmp_path, documents)[subject] == verdict


def test_mixed_languages_are_reported_with_percentages(tmp_path: Path) -> None:
    german = "Der Ausschuss besprach am Morgen die neue Bahnstrecke und ihre Kosten, Frage {}."
    both = [*CLEAN, *(german.format(number) for number in range(300))]
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(both))
    findings = inspect_corpus(InspectConfig([str(path)]))
    (languages,) = [f for f in findings if f.subject.startswith("languages")]
    assert languages.verdict == "worth a look"
    assert "en 50" in languages.value
    assert "de 50" in languages.value


def test_unsuitable_tokenizer_is_reported_as_wrong(tmp_path: Path, tokenizer_folder: Path) -> None:
    found = verdicts(tmp_path, CLEAN, str(tokenizer_folder))
    assert found["tokens per word (a Chinese character is a word)"] == "wrong"
    chinese = ["中文字典" * 20 for _ in range(20)]
    assert verdicts(tmp_path, chinese, str(tokenizer_folder))["characters that become [UNK]"] == "wrong"


def test_quantiles_of_lengths() -> None:
    lengths = Lengths()
    for length in range(1, 1001):
        lengths.add(length)
    assert [lengths.quantile(share) for share in (0.1, 0.5, 0.9, 1.0)] == [100, 500, 900, 1000]
    assert lengths.longest == 1000
    assert len(lengths.counts) < 200
