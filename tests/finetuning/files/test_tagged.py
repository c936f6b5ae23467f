"""Tags in every form that tag files have."""

import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elektron.errors import ElektronError
from tests.finetuning.files.layouts import TAGGED, read, values

CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"
SENTENCES = [
    {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
    {"tokens": ["Peter"], "tags": ["B-PER"]},
]


def write(folder: Path, content: str, name: str = "a.conll") -> Path:
    path = folder / name
    path.write_text(content, newline="")
    return path


@pytest.mark.parametrize("between", [" ", "\t", "   "])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_token_a_line(tmp_path: Path, between: str, labelled: bool) -> None:
    path = write(tmp_path, CONLL.replace(" ", between))
    records = read(path, layout=TAGGED, labelled=labelled)
    assert [record.values for record in records] == SENTENCES
    assert [record.columns for record in records] == SENTENCES
    assert [record.where for record in records] == [f"{path}, line 3", f"{path}, line 7"]


def test_comments_are_no_tokens_and_hashes_no_comments(tmp_path: Path) -> None:
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


def test_tokens_of_odd_blanks_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "a\u3000b O\nc\xa0d O\n\ne\x0bf O\n")
    assert values(path, layout=TAGGED)[0]["tokens"] == ["a\u3000b", "c\xa0d"]


def test_a_sentence_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "高 勇 ：\tB-NAME E-NAME O\n\n男\tO\n", "a.bmes")
    for labelled in (True, False):
        records = read(path, layout=TAGGED, labelled=labelled)
        assert [record.values for record in records] == [
            {"tokens": ["高", "勇", "："], "tags": ["B-NAME", "E-NAME", "O"]},
            {"tokens": ["男"], "tags": ["O"]},
        ]
        assert records[1].where == f"{path}, line 3"


def test_a_sentence_a_line_under_a_header(tmp_path: Path) -> None:
    expected = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}]
    path = write(tmp_path, "words\ttags\na b\tO B-X\n", "a.tsv")
    assert values(path, layout=TAGGED) == expected
    path = write(tmp_path, "w;t\na b;O B-X\n", "a.csv")
    assert values(path, layout=TAGGED, tokens="w", tags="t") == expected


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a\tO\nb\n\nc\tO\n", "line 2: 1 columns separated by a tab, other lines have 2"),
        ("a O\nb c O\n\nd O\n", "line 2: 3 columns separated by a blank"),
        ("a\tO\n\tO\n", "line 2: the token is empty"),
        ("a\tO\nb\t\n", "line 2: the tag is empty"),
        ("a\nb\n\nc\n", "there are no tags"),
        ("a b\tO O\nc d\tO\n", "line 2: 2 tokens but 1 tags"),
        ("a b\tO O\na\tO\nc d\n", "line 3: must be tokens, one tab, tags"),
        ("a b\tO O\n\tO\n", "line 2: there are no tokens"),
        ("", "empty"),
        ("\n\n", "empty"),
        ("-DOCSTART- O\n", "empty"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, content: str, complaint: str) -> None:
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
def test_plain_text_is_handed_on_as_text(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, content, "a.txt")
    with caplog.at_level(logging.INFO, "elektron"):
        found = values(path, layout=TAGGED, labelled=False)
    assert found == [{"tokens": line} for line in content.splitlines()]
    assert "plain text, a sentence a line" in caplog.text


def test_tokens_alone_are_enough_to_predict(tmp_path: Path) -> None:
    path = write(tmp_path, "EU\nrejects\n\nPeter\nBlackburn\n")
    assert values(path, layout=TAGGED, labelled=False) == [
        {"tokens": ["EU", "rejects"]},
        {"tokens": ["Peter", "Blackburn"]},
    ]


def test_standard_input(tmp_path: Path) -> None:
    def found(stdin: bytes) -> list[dict[str, Any]]:
        return values("-", layout=TAGGED, labelled=False, stdin=stdin)

    assert found(b"EU rejects it\nPeter\n") == [{"tokens": "EU rejects it"}, {"tokens": "Peter"}]
    assert found(b'{"tokens": ["a"]}\n{"tokens": "b c"}\n') == [
        {"tokens": ["a"]},
        {"tokens": "b c"},
    ]
    assert found(b"EU\tB-ORG\nis\tO\n") == [{"tokens": ["EU", "is"], "tags": ["B-ORG", "O"]}]


def test_lists_in_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"tokens": ["a", 2], "ner_tags": ["O", "B-X"], "id": 1}\n'
        '{"tokens": "c d", "ner_tags": "O O", "id": 2}\n'
    )
    first, second = read(path, layout=TAGGED)
    assert first.values == {"tokens": ["a", "2"], "tags": ["O", "B-X"]}
    assert first.columns == {"tokens": ["a", 2], "ner_tags": ["O", "B-X"], "id": 1}
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
def test_lists_that_do_not_fit(tmp_path: Path, row: object, complaint: str) -> None:
    path = write(tmp_path, json.dumps(row), "a.jsonl")
    with pytest.raises(ElektronError, match=complaint):
        read(path, layout=TAGGED)


def test_numbers_of_tags_become_their_names(tmp_path: Path) -> None:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-X"]))
    features = datasets.Features(
        {"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags}
    )
    rows = {"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    for source in (f"hf:{tmp_path}", tmp_path / "train.parquet"):
        expected = [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}]
        assert values(source, layout=TAGGED) == expected


@settings(max_examples=100, deadline=None)
@given(content=st.text("aB-O#\t \n\u3000", max_size=50), labelled=st.booleans())
def test_any_text_is_sentences_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: str, labelled: bool
) -> None:
    path = write(tmp_path_factory.mktemp("t"), content)
    try:
        records = read(path, layout=TAGGED, labelled=labelled)
    except ElektronError as error:
        assert str(path) in str(error)
        return
    for record in records:
        tags = record.values.get("tags")
        assert tags is not None or not labelled
        assert tags is None or len(tags) == len(record.values["tokens"])
