"""Selection drops duplicates, and assigns documents to splits by their hashes."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elektron.corpus.documents import Document
from elektron.corpus.selection import SeenTexts, Selection


def split_of(documents: list[Document], share: float, seed: int = 1, at_once: int = 10) -> dict:
    selection = Selection(share, seed, deduplicate=False)
    return {
        document.text: side
        for first in range(0, len(documents), at_once)
        for side, document in selection.select(documents[first : first + at_once])
    }


@given(st.lists(st.lists(st.text(max_size=2), max_size=30), max_size=20))
def test_seen_texts_equals_python_set(batches: list[list[str]]) -> None:
    seen, reference = SeenTexts(), set()
    for batch in batches:
        expected = []
        for text in batch:
            expected.append(text not in reference)
            reference.add(text)
        assert seen.add(batch).tolist() == expected
        lengths = [len(run) for run in seen.runs]
        assert all(a > 2 * b for a, b in pairwise(lengths))
        assert sum(lengths) == len(reference)


def test_seen_texts_uses_16_bytes_per_text() -> None:
    seen = SeenTexts()
    for first in range(0, 20_000, 1000):
        assert seen.add([str(n) for n in range(first, first + 1000)]).all()
    assert not seen.add([str(n) for n in range(20_000)]).any()
    assert sum(run.nbytes for run in seen.runs) == 16 * 20_000


def test_duplicates_are_counted_and_the_first_is_kept() -> None:
    selection = Selection(0.0, 1, deduplicate=True)
    first = list(selection.select([Document("a"), Document("b"), Document("a")]))
    assert [document.text for _, document in first] == ["a", "b"]
    more = selection.select([Document("b"), Document("c")])
    assert [document.text for _, document in more] == ["c"]
    assert selection.duplicates == 2


def test_split_has_requested_fraction_and_depends_on_seed() -> None:
    documents = [Document(str(n)) for n in range(5000)]
    first, again, other = (split_of(documents, 0.1, seed) for seed in (1, 1, 2))
    assert first == again != other
    held_out = np.mean([side == "validation" for side in first.values()])
    assert 0.08 < held_out < 0.12


def test_split_does_not_depend_on_batch_size() -> None:
    documents = [Document(str(n)) for n in range(500)]
    assert split_of(documents, 0.1, at_once=500) == split_of(documents, 0.1, at_once=200)


def test_documents_of_one_group_are_in_same_split() -> None:
    documents = [Document(f"{group} {n}", str(group)) for n in range(40) for group in range(50)]
    for share in (0.0001, 0.1):
        sides = defaultdict(set)
        for text, side in split_of(documents, share).items():
            sides[text.split()[0]].add(side)
        assert all(len(side) == 1 for side in sides.values())
        assert {"validation"} in sides.values()


def test_small_corpus_has_one_validation_document() -> None:
    documents = [Document("one"), Document("two"), Document("three")]
    assert sorted(split_of(documents, 0.01).values()) == ["train", "train", "validation"]
    assert set(split_of(documents, 0.0).values()) == {"train"}
