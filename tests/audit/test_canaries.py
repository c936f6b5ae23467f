"""Planted secrets: written files, ranks, and uniform p-values of random scores."""

import json
import random
from collections import Counter

import pytest
from scipy.stats import kstest

from elektron.audit.canaries import Secret, as_sentence, canary, exposure, make_canaries, rank, read_secrets
from elektron.audit.config import CanariesConfig
from elektron.corpus.tokenizer import load_tokenizer
from elektron.errors import ElektronError


def test_canaries_file_has_requested_number_of_copies(tmp_path):
    made = make_canaries(CanariesConfig(out=tmp_path / "c", copies=[0, 1, 5], secrets=2))
    documents = (tmp_path / "c/canaries.txt").read_text().strip().split("\n\n")
    assert len(set(documents)) == len(documents) == 2 * (0 + 1 + 5)
    counts = Counter(document.partition(". ")[2] for document in documents)
    for secret in made:
        assert counts[secret.text.removeprefix("1. ")] == secret.copies
        assert secret.copies == 0 or secret.text in documents
    assert read_secrets(tmp_path / "c") == made
    assert len({secret.text for secret in made}) == 6


def test_a_secret_is_the_random_part_of_its_template():
    made = canary("a @ is # #-#!", 3)
    assert made.text.startswith("1. a ") and made.text.endswith(f" is {made.secret}!")
    assert [len(part) for part in made.secret.replace("-", " ").split()] == [1, 1, 1]


def test_candidates_differ_only_in_random_part():
    secret = Secret("code 12: tel. +49-aB7 end", "+49-aB7")
    others = {secret.with_other(random.Random(seed)) for seed in range(50)}
    assert len(others) == 50
    for other in others:
        assert other.startswith("code 12: tel. +") and other.endswith(" end")
        digits, word = other[15:].split(" ")[0].split("-")
        assert digits.isdigit() and word[0].islower() and word[1].isupper() and word[2].isdigit()


def test_only_random_part_is_scored_and_unknown_tokens_raise(tokenizer_folder):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    secret = Secret("the cat sees the dog .", "sees the")
    sentence = as_sentence(secret.text, secret, tokenizer)
    scored = [i for i, inside in zip(sentence.input_ids, sentence.scored, strict=True) if inside]
    assert tokenizer.decode(scored).replace(" ", "") == "seesthe"
    with pytest.raises(ElektronError, match=r"\[UNK\]"):
        as_sentence("the 7 .", Secret("the 7 .", "7"), tokenizer)


def test_rank_and_exposure():
    assert rank(3.0, [5.0, 3.0, 1.0]) == 3  # candidates with the same score come first
    assert rank(9.0, [5.0, 3.0, 1.0]) == 1
    assert exposure(1, 1023) == 10
    assert exposure(1024, 1023) == 0


def test_p_values_of_random_scores_are_uniform():
    rng = random.Random(0)
    p = [rank(rng.random(), [rng.random() for _ in range(99)]) / 100 for _ in range(500)]
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "not a JSON object"),
        ({}, "secrets must be a list"),
        ({"secrets": []}, "no secrets"),
        ({"secrets": [{"text": "a", "secret": "7"}]}, "text does not contain secret"),
    ],
)
def test_invalid_secrets_file_raises(tmp_path, content, complaint):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(ElektronError, match=rf"s\.json: {complaint}"):
        read_secrets(tmp_path / "s.json")


@pytest.mark.parametrize("copies", [[], [0], [1, -1]])
def test_invalid_numbers_of_copies_raise(tmp_path, copies):
    with pytest.raises(ElektronError, match="--copies"):
        make_canaries(CanariesConfig(out=tmp_path / "c", copies=copies))


def test_template_without_placeholder_raises(tmp_path):
    with pytest.raises(ElektronError, match="needs at least one #"):
        make_canaries(CanariesConfig(out=tmp_path / "c", template="nothing"))


@pytest.mark.parametrize("template", ["code # # and pin # #", "# @ #", "#密码#"])
def test_words_inside_the_random_part_of_template_raise(template, tmp_path):
    with pytest.raises(ElektronError, match="spaces and marks only"):
        make_canaries(CanariesConfig(out=tmp_path / "c", template=template))
