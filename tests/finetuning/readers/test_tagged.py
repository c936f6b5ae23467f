"""Token classification files: CoNLL formats, tables, lists, and character spans."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elektron.errors import ElektronError
from tests.finetuning.readers.layouts import TAGGED, read, values

CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"
SENTENCES = [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["Peter"], "tags": ["B-PER"]}]


def write(folder: Path, content: str, name: str = "a.conll") -> Path:
    path = folder / name
    path.write_text(content, newline="")
    return path


@pytest.mark.parametrize("between", [" ", "\t", "   "])
@pytest.mark.parametrize("labelled", [True, False])
def test_one_token_per_line(tmp_path: Path, between: str, labelled: bool) -> None:
    path = write(tmp_path, CONLL.replace(" ", between))
    records = read(path, layout=TAGGED, labelled=labelled)
    assert [record.values for record in records] == SENTENCES
    assert [record.columns for record in records] == SENTENCES
    assert [record.where for record in records] == [f"{path}, line 3", f"{path}, line 7"]


def test_comments_are_skipped_and_hash_tokens_are_kept(tmp_path: Path) -> None:
    content = "# id 1\n# text = # a\n#\tO\na\tB-X\n\n# id 2\tdomain=en\nb\tO\n#\tO\n"
    assert values(write(tmp_path, content), layout=TAGGED) == [
        {"tokens": ["#", "a"], "tags": ["O", "B-X"]},
        {"tokens": ["b", "#"], "tags": ["O", "O"]},
    ]
    blanks = "# id 1 en\na _ O\n# _ O\n\n# id 2 en\n# _ O\nb _ B-X\n"
    assert values(write(tmp_path, blanks), layout=TAGGED) == [
        {"tokens": ["a", "#"], "tags": ["O", "O"]},
        {"tokens": ["#", "b"], "tags": ["O", "B-X"]},
    ]


def test_hashtag_at_sentence_start_is_token(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("I\tO\nlike\tO\nRome\tLOC\n\n#fail\tHT\nyou\tO\n\n# id\t1\n#win\tHT\nme\tO\n")
    assert [record.values["tokens"] for record in read(path, layout=TAGGED)] == [
        ["I", "like", "Rome"], ["#fail", "you"], ["#win", "me"],
    ]  # fmt: skip


def test_unusual_whitespace_does_not_split_tokens(tmp_path: Path) -> None:
    path = write(tmp_path, "a\u3000b O\nc\xa0d O\n\ne\x0bf O\n")
    assert [row["tokens"] for row in values(path, layout=TAGGED)] == [["a\u3000b", "c\xa0d"], ["e\x0bf"]]


def test_one_sentence_per_line(tmp_path: Path) -> None:
    path = write(tmp_path, "高 勇 ：\tB-NAME E-NAME O\n\n男\tO\n", "a.bmes")
    for labelled in (True, False):
        records = read(path, layout=TAGGED, labelled=labelled)
        assert [record.values for record in records] == [
            {"tokens": ["高", "勇", "："], "tags": ["B-NAME", "E-NAME", "O"]},
            {"tokens": ["男"], "tags": ["O"]},
        ]
        assert records[1].where == f"{path}, line 3"


def test_one_sentence_per_line_with_header(tmp_path: Path) -> None:
    expected = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}]
    path = write(tmp_path, "words\ttags\na b\tO B-X\n", "a.tsv")
    assert values(path, layout=TAGGED) == expected
    path = write(tmp_path, "w;t\na b;O B-X\n", "a.csv")
    assert values(path, layout=TAGGED, tokens="w", tags="t") == expected


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a\tO\nb\n\nc\tO\n", "line 2: 1 columns separated by a tab, other lines have 2"),
        ("a O\nb c O\n\nd O\n", "line 2: 3 columns separated by a space"),
        ("a\tO\n\tO\n", "line 2: the token is empty"),
        ("a\tO\nb\t\n", "line 2: the tag is empty"),
        ("a\nb\n\nc\n", "one column and no tag"),
        ("a b\tO O\nc d\tO\n", "line 2: 2 tokens but 1 tags"),
        ("a b\tO O\na\tO\nc d\n", "line 3: must be tokens, one tab, tags"),
        ("a b\tO O\n\tO\n", "line 2: there are no tokens"),
        ("", "empty"),
        ("\n\n", "empty"),
        ("-DOCSTART- O\n", "empty"),
    ],
)
def test_invalid_tag_file_raises_one_line_error(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ElektronError, match=f"a.conll.*{complaint}") as caught:
        read(write(tmp_path, content), layout=TAGGED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "EU rejects German call\nPeter Blackburn\n",
        "one two three .\none two four .\nfive six seven .\n",
        "高勇：男\n\n中国国籍\n",
        "# a title\nand text\n",
        "So do I\n",
        "a word\tand a tab here\n",
    ],
)
def test_plain_text_is_kept_as_text_for_prediction(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, content, "a.txt")
    with caplog.at_level(logging.INFO, "elektron"):
        found = values(path, layout=TAGGED, labelled=False)
    assert found == [{"tokens": line} for line in content.splitlines()]
    assert "plain text" in caplog.text


def test_tokens_without_tags_for_prediction(tmp_path: Path) -> None:
    path = write(tmp_path, "EU\nrejects\n\nPeter\nBlackburn\n")
    assert values(path, layout=TAGGED, labelled=False) == [
        {"tokens": ["EU", "rejects"]},
        {"tokens": ["Peter", "Blackburn"]},
    ]


def test_standard_input() -> None:
    def found(stdin: bytes) -> list[dict[str, Any]]:
        return values("-", layout=TAGGED, labelled=False, stdin=stdin)

    assert found(b"EU rejects it\nPeter\n") == [{"tokens": "EU rejects it"}, {"tokens": "Peter"}]
    assert found(b'{"tokens": ["a"]}\n{"tokens": "b c"}\n') == [{"tokens": ["a"]}, {"tokens": "b c"}]
    assert found(CONLL_U.encode())[0]["tokens"] == ["They", "did", "n't"]
    assert found(b"EU\tB-ORG\nis\tO\n") == [{"tokens": ["EU", "is"], "tags": ["B-ORG", "O"]}]


def test_token_and_tag_lists_in_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"tokens": ["a", 2], "ner_tags": ["O", "B-X"], "id": 1}\n{"tokens": "c d", "ner_tags": "O O", "id": 2}\n'
    )
    first, second = read(path, layout=TAGGED)
    assert first.values == {"tokens": ["a", "2"], "tags": ["O", "B-X"]}
    assert first.columns == {"tokens": ["a", "2"], "ner_tags": ["O", "B-X"], "id": 1}
    assert second.values == {"tokens": ["c", "d"], "tags": ["O", "O"]}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"tokens": ["a"], "tags": [3]}, r"line 1: tags are numbers \(3\)"),
        ({"tokens": ["a"], "tags": [None]}, "line 1: a tag must be text, got None"),
        ({"tokens": ["a"], "tags": []}, "line 1: 1 tokens but 0 tags"),
        ({"tokens": [], "tags": []}, "line 1: there are no tokens"),
        ({"tokens": ["a"], "tags": 5}, "line 1: the tags must be a list"),
        ({"tokens": ["a"]}, "which column is the tags"),
    ],
)
def test_invalid_token_and_tag_lists_raise(tmp_path: Path, row: object, complaint: str) -> None:
    path = write(tmp_path, json.dumps(row), "a.jsonl")
    with pytest.raises(ElektronError, match=complaint):
        read(path, layout=TAGGED)


def test_tag_ids_become_tag_names(tmp_path: Path) -> None:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-X"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    for source in (f"hf:{tmp_path}", tmp_path / "train.parquet"):
        expected = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}]
        assert values(source, layout=TAGGED) == expected


PARTS = st.sampled_from(
    [*'aO1,"#_*\t \n\r\u3000', "B-X", "(X*", "*)", "tag", "word", "\n\n", "['a']", "#begin document"]
)
COLUMN = st.sampled_from([None, "1", "2", "4", "tag", "FORM"])


@settings(max_examples=200, deadline=None)
@given(
    content=st.lists(PARTS, max_size=50).map("".join),
    name=st.sampled_from(["a.conll", "a.tsv", "a.csv"]),
    labelled=st.booleans(),
    asked=st.fixed_dictionaries({"tokens": COLUMN, "tags": COLUMN, "sentence": COLUMN}),
)
def test_arbitrary_text_gives_sentences_or_one_line_error(
    tmp_path_factory: pytest.TempPathFactory, content: str, name: str, labelled: bool, asked: dict[str, str | None]
) -> None:
    path = write(tmp_path_factory.mktemp("t"), content, name)
    try:
        records = read(path, layout=TAGGED, labelled=labelled, **asked)
    except ElektronError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return
    assert records
    for record in records:
        tokens, tags = record.values["tokens"], record.values.get("tags")
        assert tags is not None or not labelled
        # A string is a line of plain text, which may be blank.
        assert tags is None if isinstance(tokens, str) else tokens
        assert tags is None or len(tags) == len(tokens)


CONLL_2003 = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\nsees VBZ B-VP O\n"
CONLL_U = (
    "# sent_id = 1\n# text = They didn't.\n"
    "1\tThey\tthey\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n"
    "2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "2\tdid\tdo\tAUX\tVBD\t_\t0\troot\t_\t_\n"
    "3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\tSpaceAfter=No\n"
    "3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n\n"
    "# newpar\n"
    "1\tBob\tBob\tPROPN\tNNP\t_\t2\tnsubj\t_\t_\n"
    "2\tsleeps\tsleep\tVERB\tVBZ\t_\t0\troot\t_\t_\n"
)
GERMEVAL = (
    "#\thttp://de.wikipedia.org [2009-10-17]\n1\tin\tO\tO\n2\tBad\tB-LOC\tB-LOC\n3\tEms\tI-LOC\tO\n\n"
    "#\thttp://de.wikipedia.org [2009-10-18]\n1\tDer\tO\tO\n2\tDFB\tB-ORG\tB-LOCderiv\n"
)
CONLL_2012 = (
    "#begin document (a/b); part 000\n"
    "a/b  0  0  In    IN   (TOP(S*  -  -  -  Bob#1  *      *  (1)\n"
    "a/b  0  1  the   DT   (NP*     -  -  -  Bob#1  (ORG*  *  -\n"
    "a/b  0  2  Mint  NNP  *)))     -  -  -  Bob#1  *)     *  -\n\n"
    "a/b  0  0  Bonn  NNP  (TOP*)   -  -  -  Bob#1  (GPE)  *  *  -\n\n"
    "#end document\n"
)


@pytest.mark.parametrize(
    ("content", "options", "tokens", "tags"),
    [
        (CONLL_2003, {}, ["EU", "rejects"], ["B-ORG", "O"]),
        (CONLL_2003, {"tags": "2"}, ["EU", "rejects"], ["NNP", "VBZ"]),
        (CONLL_2003, {"tokens": "1", "tags": "3"}, ["EU", "rejects"], ["B-NP", "B-VP"]),
        (CONLL_U, {}, ["They", "did", "n't"], ["PRON", "AUX", "PART"]),
        (CONLL_U, {"tags": "XPOS"}, ["They", "did", "n't"], ["PRP", "VBD", "RB"]),
        (CONLL_U, {"tokens": "3", "tags": "8"}, ["they", "do", "not"], ["nsubj", "root", "advmod"]),
        (GERMEVAL, {}, ["in", "Bad", "Ems"], ["O", "B-LOC", "I-LOC"]),
        (GERMEVAL, {"tags": "4"}, ["in", "Bad", "Ems"], ["O", "B-LOC", "O"]),
        (GERMEVAL, {"tokens": "2", "tags": "3"}, ["in", "Bad", "Ems"], ["O", "B-LOC", "I-LOC"]),
        (CONLL_2012, {}, ["In", "the", "Mint"], ["O", "B-ORG", "I-ORG"]),
        (CONLL_2012, {"tokens": "4", "tags": "5"}, ["In", "the", "Mint"], ["IN", "DT", "NNP"]),
        ("w p t\na N O\nb V O\n\nc N B-X\nd N O\n", {"tags": "p"}, ["a", "b"], ["N", "V"]),
        ("a N O\nb V O\n\nc N PER\nd V O\n", {}, ["a", "b"], ["O", "O"]),
        ("a N la\nb V lb\n\nc N lc\nd V ld\n", {}, ["a", "b"], ["N", "V"]),
        ("token\tpos\tner\na\tN\tO\nb\tV\tO\n\nc\tN\tB-X\nd\tN\tO\n", {}, ["a", "b"], ["O", "O"]),
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_token_and_tag_columns_of_conll_formats(
    tmp_path: Path, content: str, options: dict[str, str], tokens: list[str], tags: list[str], labelled: bool
) -> None:
    if options == {"tags": "p"}:
        options = options | {"tokens": "w"}
    for name in ("a.conll", "a.txt", "a.tsv"):
        first, second = values(write(tmp_path, content, name), layout=TAGGED, labelled=labelled, **options)
        assert first == {"tokens": tokens, "tags": tags}
        assert len(second["tokens"]) == len(second["tags"])


def test_numbered_tokens_without_tags_for_prediction(tmp_path: Path) -> None:
    path = write(tmp_path, "1\tin\n2\tBad\n\n1\tDer\n2\tDFB\n")
    expected = [{"tokens": ["in", "Bad"]}, {"tokens": ["Der", "DFB"]}]
    assert values(path, layout=TAGGED, labelled=False) == expected


def test_conllu_column_names_are_kept(tmp_path: Path) -> None:
    record, _ = read(write(tmp_path, CONLL_U, "a.conllu"), layout=TAGGED)
    assert record.columns == {"FORM": ["They", "did", "n't"], "UPOS": ["PRON", "AUX", "PART"]}
    assert record.names == {"tokens": "FORM", "tags": "UPOS"}


def test_guessed_columns_and_first_sentence_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "elektron"):
        read(write(tmp_path, GERMEVAL), layout=TAGGED)
    assert "tokens is column 2 (guessed), tags is column 3 (guessed)" in caplog.text
    assert "in/O Bad/B-LOC Ems/I-LOC" in caplog.text


@pytest.mark.parametrize(
    ("content", "role", "columns"),
    [
        ("a N x\nb V y\n\nc N y\nd V x\n", "tags", "1 ('a'), 2 ('N'), 3 ('x')"),
        ("doc a O\ndoc b O\n\ndoc c B-X\ndoc d O\n", "tokens", "1 ('doc'), 2 ('a'), 3 ('O')"),
        ("7\ta\tO\n7\tb\tO\n8\tc\tB-X\n8\td\tO\n", "tokens", "1 ('7'), 2 ('a'), 3 ('O')"),
    ],
)
def test_ambiguous_token_or_tag_column_raises(tmp_path: Path, content: str, role: str, columns: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ElektronError, match=f"which column has the {role}.*--{role}") as caught:
        read(path, layout=TAGGED)
    assert columns in str(caught.value)


@pytest.mark.parametrize("between", ["\n", ",\n"])
def test_csv_with_blank_lines_between_sentences(tmp_path: Path, between: str) -> None:
    content = f'word,tag\nBob,B-PER\n",",O\n{between}Ann,B-PER\nsleeps,O\n'
    path = write(tmp_path, content, "a.csv")
    for options in ({}, {"tokens": "word", "tags": "tag"}, {"tokens": "1", "tags": "2"}):
        assert values(path, layout=TAGGED, **options) == [
            {"tokens": ["Bob", ","], "tags": ["B-PER", "O"]},
            {"tokens": ["Ann", "sleeps"], "tags": ["B-PER", "O"]},
        ]


ROWS = [("1", "Bob", "B-PER"), ("1", "sleeps", "O"), ("2", "Ann", "B-PER"), ("2", "too", "O")]


def test_one_token_per_row_with_sentence_id(tmp_path: Path) -> None:
    expected = [
        {"tokens": ["Bob", "sleeps"], "tags": ["B-PER", "O"]},
        {"tokens": ["Ann", "too"], "tags": ["B-PER", "O"]},
    ]
    each = "".join(f"{row[0]},{row[1]},{row[2]}\n" for row in ROWS)
    path = write(tmp_path, f"sentence_id,words,labels\n{each}", "a.csv")
    first, _ = read(path, layout=TAGGED)
    assert values(path, layout=TAGGED) == expected
    assert first.columns == {"sentence_id": "1"} | dict(zip(("words", "labels"), expected[0].values(), strict=True))
    assert first.where == f"{path}, line 2"
    path = write(tmp_path, f"which,words,labels\n{each}", "b.csv")
    assert values(path, layout=TAGGED, sentence="which") == expected
    path = write(tmp_path, each.replace(",", "\t"), "c.tsv")
    options = {"sentence": "1", "tokens": "2", "tags": "3"}
    assert values(path, layout=TAGGED, **options) == expected
    path = write(
        tmp_path, "".join(json.dumps({"sent_id": int(a), "word": b, "tag": c}) + "\n" for a, b, c in ROWS), "d.jsonl"
    )
    assert values(path, layout=TAGGED) == expected
    # Only the first row of each sentence has its id.
    only_first = each.replace("1,sleeps", ",sleeps").replace("2,too", ",too")
    path = write(tmp_path, f"Sentence #,Word,Tag\n{only_first}", "e.csv")
    assert values(path, layout=TAGGED) == expected
    spaced = each.replace("B-PER", "B-Full Name")
    path = write(tmp_path, f"sent_id,word,tag\n{spaced}", "g.csv")
    assert values(path, layout=TAGGED)[0]["tags"] == ["B-Full Name", "O"]
    without = "".join(f"{row[0]},{row[1]}\n" for row in ROWS)
    path = write(tmp_path, f"Sentence #,Word\n{without}", "f.csv")
    assert values(path, layout=TAGGED, labelled=False) == [{"tokens": sentence["tokens"]} for sentence in expected]


def test_one_token_per_row_without_sentence_id_raises(tmp_path: Path) -> None:
    each = "".join(f"{row[1]},{row[2]}\n" for row in ROWS)
    with pytest.raises(ElektronError, match=r"a.csv: each row has one token.*--sentence"):
        read(write(tmp_path, f"words,labels\n{each}", "a.csv"), layout=TAGGED)


@pytest.mark.parametrize("lines", [["Bob B-PER", "sleeps O", ". O"] * 4, ["a O", "b B-X"] * 60])
def test_many_token_lines_without_blank_line_raise(tmp_path: Path, lines: list[str]) -> None:
    path = write(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(ElektronError, match=f"there is no blank line in {len(lines)} lines"):
        read(path, layout=TAGGED)
    (record,) = read(path, layout=TAGGED, labelled=False)
    assert len(record.values["tokens"]) == len(lines)


def test_file_with_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "Bob B-PER\nsleeps O\n. O\n")
    assert values(path, layout=TAGGED)[0]["tokens"] == ["Bob", "sleeps", "."]


def test_tags_with_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, "Bob\tB-Full Name\nsleeps\tO\n\nAnn\tB-Full Name\nLee\tI-Full Name\n")
    for options in ({}, {"tokens": "1", "tags": "2"}):
        assert [row["tags"] for row in values(path, layout=TAGGED, **options)] == [
            ["B-Full Name", "O"],
            ["B-Full Name", "I-Full Name"],
        ]


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [
        (str(["Bob", "don't", '"']), str(["B-PER", "O", "O"])),
        (json.dumps(["Bob", "don't", '"']), json.dumps(["B-PER", "O", "O"])),
        ("['Bob' \"don't\"\n '\"']", "['B-PER' 'O'\n 'O']"),
        ("('Bob', \"don't\", '\"')", "B-PER O O"),
        ("Bob don't \"", "['B-PER', 'O', 'O']"),
    ],
)
def test_serialized_lists_are_parsed(tmp_path: Path, tokens: str, tags: str) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("tokens", "ner_tags"), (tokens, tags)])
    assert values(path, layout=TAGGED) == [{"tokens": ["Bob", "don't", '"'], "tags": ["B-PER", "O", "O"]}]


def test_serialized_token_list_is_parsed_for_prediction(tmp_path: Path) -> None:
    path = write(tmp_path, "tokens\n\"['a', 'b c']\"\n[1] is a note\n", "a.csv")
    assert values(path, layout=TAGGED, labelled=False) == [{"tokens": ["a", "b c"]}, {"tokens": "[1] is a note"}]


TEXT = "Bob Smith lives in Oslo."
BIO = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "label": [[0, 9, "PER"], [19, 23, "LOC"]]},
        {"text": TEXT, "labels": [[19, 23, "LOC"], [0, 10, "PER"]]},
        {"text": TEXT, "entities": [[0, 9, "PER"], [19, 23, "LOC"]]},
        {"text": TEXT, "annotations": {"entities": [[0, 9, "PER"], [19, 23, "LOC"]]}},
        {
            "text": TEXT,
            "spans": [
                {"start": 0, "end": 9, "label": "PER", "text": "Bob Smith"},
                {"start": 19, "end": 23, "label": "LOC"},
            ],
        },
        {
            "text": TEXT,
            "entities": [
                {"id": 1, "start_offset": 0, "end_offset": 9, "label": "PER"},
                {"id": 2, "start_offset": 19, "end_offset": 23, "label": "LOC"},
            ],
        },
        {"text": TEXT, "label": "[(0, 9, 'PER'), (19, 23, 'LOC')]"},
    ],
)
def test_character_spans_become_bio_tags(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, json.dumps(row), "a.jsonl")
    options = {"tags": "annotations"} if "annotations" in row else {}
    (record,) = read(path, layout=TAGGED, **options)
    tokens = ["Bob", "Smith", "lives", "in", "Oslo", "."]
    assert record.values == {"tokens": tokens, "tags": BIO}
    # The columns also contain the tokens that the tags refer to.
    assert record.columns.items() >= {"text": TEXT, "tokens": tokens, "tags": BIO}.items()


def test_text_without_entities_has_only_o_tags(tmp_path: Path) -> None:
    rows = [{"text": "a b", "label": []}, {"text": "c", "label": [[0, 1, "X"]]}]
    path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "a.jsonl")
    assert [row["tags"] for row in values(path, layout=TAGGED)] == [["O", "O"], ["B-X"]]


def test_overlapping_spans_and_cut_words_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"text": "Oslobahn fährt", "label": [[0, 4, "LOC"], [2, 4, "X"], [0, 4, "Y"]]}
    path = write(tmp_path, json.dumps(row), "a.jsonl")
    assert values(path, layout=TAGGED) == [{"tokens": ["Oslo", "bahn", "fährt"], "tags": ["B-LOC", "O", "O"]}]
    assert "a.jsonl: 2 spans overlap" in caplog.text
    assert "1 words are cut" in caplog.text


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ([0, 99, "X"], "line 1: a span goes from 0 to 99, but the text has 3 characters"),
        ([2, 1, "X"], "line 1: a span goes from 2 to 1"),
        ([0, 1, 3], "line 1: the label of a span must be text, got 3"),
        ({"start": 0, "end": 1, "label": "X", "text": "b"}, "are 'a', not 'b' as the span says"),
        ({"start": 0, "label": "X"}, "a span goes from 0 to None"),
    ],
)
def test_invalid_spans_raise(tmp_path: Path, span: Any, complaint: str) -> None:
    path = write(tmp_path, json.dumps({"text": "a b", "label": [span]}), "a.jsonl")
    with pytest.raises(ElektronError, match=complaint):
        read(path, layout=TAGGED)


def test_tokens_that_are_objects_raise(tmp_path: Path) -> None:
    row = {"tokens": [{"text": "a", "start": 0, "end": 1}], "tags": ["O"]}
    with pytest.raises(ElektronError, match=r"a token must be text, got .*--tokens"):
        read(write(tmp_path, json.dumps(row), "a.jsonl"), layout=TAGGED)
