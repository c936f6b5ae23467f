"""Packing keeps tokens and pads little, and rows determine document, position and token type ids."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elektron.corpus.packing import (
    SHORTEST_TEXT,
    document_and_position_ids,
    make_token_type_ids,
    pack_dense,
    pack_paper,
)

PAD, CLS, SEP = 0, 2, 3
FIRST_TEXT_ID = 5

documents_of_lengths = st.lists(st.integers(0, 90), max_size=40)


def numbered(lengths: list[int]) -> list[list[int]]:
    """Documents of these lengths in which every token id is unique."""
    ids = iter(range(FIRST_TEXT_ID, FIRST_TEXT_ID + sum(lengths)))
    return [[next(ids) for _ in range(length)] for length in lengths]


def dense_pieces(rows: np.ndarray) -> list[list[int]]:
    """Return the texts of all pieces, and assert that each row is [CLS] … [SEP] pieces followed by padding."""
    texts = []
    for row in rows.tolist():
        assert row[0] == CLS
        while row and row[-1] == PAD:
            row.pop()
        assert row[-1] == SEP
        for piece in " ".join(map(str, row)).removeprefix(f"{CLS} ").split(f" {CLS} "):
            text = [int(word) for word in piece.split()]
            assert text.pop() == SEP
            assert SEP not in text
            assert text
            texts.append(text)
    return texts


@given(documents_of_lengths, st.sampled_from([8, 16, 33, 64]))
def test_dense_packing_keeps_each_token_once_in_contiguous_pieces(lengths: list[int], seq_len: int) -> None:
    documents = numbered(lengths)
    rows = pack_dense(documents, seq_len, CLS, SEP, PAD)
    assert rows.shape[1] == seq_len
    texts = dense_pieces(rows)
    assert sorted(t for text in texts for t in text) == [t for d in documents for t in d]
    document_of = {token: n for n, document in enumerate(documents) for token in document}
    for text in texts:
        assert text == list(range(text[0], text[0] + len(text)))
        assert len({document_of[token] for token in text}) == 1


@given(documents_of_lengths, st.sampled_from([32, 64]))
def test_cutting_leaves_no_pieces_below_shortest_text(lengths: list[int], seq_len: int) -> None:
    documents = numbered(lengths)
    whole = Counter(len(document) for document in documents)
    crumbs = Counter(
        len(text) for text in dense_pieces(pack_dense(documents, seq_len, CLS, SEP, PAD)) if len(text) < SHORTEST_TEXT
    )
    assert all(count <= whole[length] for length, count in crumbs.items())


def test_dense_packing_pads_less_than_0_3_percent() -> None:
    chooser = np.random.default_rng(0)
    for median in (30, 300):
        lengths = chooser.lognormal(np.log(median), 1.0, 1500).astype(int)
        rows = pack_dense(numbered(lengths.tolist()), 128, CLS, SEP, PAD)
        assert (rows == PAD).mean() < 0.003


def test_documents_longer_than_half_a_row_are_cut_instead_of_padded() -> None:
    rows = pack_dense(numbered([57] * 500), 64, CLS, SEP, PAD)
    assert (rows == PAD).mean() < 0.01


def test_dense_packing_matches_hand_computed_rows() -> None:
    rows = pack_dense([[11, 12, 13], [], list(range(20, 28)), [31]], 8, CLS, SEP, PAD)
    assert rows.tolist() == [
        [CLS, 11, 12, 13, SEP, CLS, 31, SEP],
        [CLS, 20, 21, 22, 23, 24, 25, SEP],
        [CLS, 26, 27, SEP, PAD, PAD, PAD, PAD],
    ]


def test_empty_documents_pack_to_zero_rows() -> None:
    assert pack_dense([], 16, CLS, SEP, PAD).shape == (0, 16)
    assert pack_dense([[]], 16, CLS, SEP, PAD).shape == (0, 16)
    assert pack_paper([[[]]], 16, CLS, SEP, PAD, np.random.default_rng(0)).shape == (0, 16)


@given(st.lists(st.lists(st.integers(0, 40), max_size=8), max_size=8), st.sampled_from([8, 16, 33]), st.integers(0, 5))
def test_paper_rows_are_contiguous_spans_of_one_document(lengths: list[list[int]], seq_len: int, seed: int) -> None:
    flat = numbered([sum(document) for document in lengths])
    documents = []
    for tokens, lines in zip(flat, lengths, strict=True):
        ends = np.cumsum(lines)
        documents.append([tokens[e - n : e] for n, e in zip(lines, ends, strict=True)])
    document_of = {token: n for n, document in enumerate(flat) for token in document}
    rows = pack_paper(documents, seq_len, CLS, SEP, PAD, np.random.default_rng(seed))
    seen = []
    for row in rows.tolist():
        tokens = [token for token in row if token != PAD]
        assert tokens[0] == CLS
        assert tokens[-1] == SEP
        assert tokens.count(SEP) in (1, 2)
        text = [token for token in tokens if token not in (CLS, SEP)]
        assert text
        assert len({document_of[token] for token in text}) == 1
        assert text == list(range(text[0], text[0] + len(text)))
        seen += text
    # Packing may drop fewer than SHORTEST_TEXT tokens at the end of a document; the official code drops
    # all tokens that do not fit.
    assert seen == sorted(set(seen))
    missing = Counter(document_of[t] for d in flat for t in d if t not in set(seen))
    assert all(count < SHORTEST_TEXT for count in missing.values())


def test_paper_packing_has_fractions_of_short_rows_as_in_paper() -> None:
    documents = [[list(range(5, 20))] * 400] * 20
    rows = pack_paper(documents, 128, CLS, SEP, PAD, np.random.default_rng(1))
    one_segment = ((rows == SEP).sum(1) == 1).mean()
    short = ((rows != PAD).sum(1) < 100).mean()
    assert 0.06 < one_segment < 0.14
    assert 0.015 < short < 0.07


def test_paper_packing_depends_on_generator_seed() -> None:
    documents = [[list(range(5, 30))] * 50]

    def packed(seed: int) -> list[list[int]]:
        generator = np.random.default_rng(seed)
        return pack_paper(documents, 64, CLS, SEP, PAD, generator).tolist()

    assert packed(1) == packed(1)
    assert packed(1) != packed(2)


def test_document_and_position_ids_match_hand_computed_values() -> None:
    rows = np.array([[CLS, 9, SEP, CLS, 8, 7, SEP, PAD], [CLS, 9, 9, 9, 9, 9, 9, SEP]])
    document_ids, position_ids = document_and_position_ids(rows, CLS, PAD)
    assert document_ids.tolist() == [[0, 0, 0, 1, 1, 1, 1, -1], [0] * 8]
    assert position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 0], list(range(8))]
    assert document_ids.dtype == position_ids.dtype == np.int64


def test_token_type_ids_match_hand_computed_values() -> None:
    rows = np.array([[CLS, 9, SEP, 8, 7, SEP, PAD, PAD], [CLS, 9, 9, SEP, PAD, PAD, PAD, PAD]])
    assert make_token_type_ids(rows, SEP, PAD).tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0] * 8]


@given(documents_of_lengths.filter(any))
def test_position_ids_restart_at_each_piece_of_dense_rows(lengths: list[int]) -> None:
    rows = pack_dense(numbered(lengths), 32, CLS, SEP, PAD).astype(np.int64)
    document_ids, position_ids = document_and_position_ids(rows, CLS, PAD)
    assert ((document_ids == -1) == (rows == PAD)).all()
    assert ((position_ids == 0) == ((rows == CLS) | (rows == PAD))).all()
    steps = np.diff(position_ids, axis=1)
    same_piece = (np.diff(document_ids, axis=1) == 0) & (document_ids[:, 1:] >= 0)
    assert (steps[same_piece] == 1).all()
