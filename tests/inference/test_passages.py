"""Passages: splitting of texts, search, and answers with their sources."""

import gzip
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elektron.corpus.documents import Corpus
from elektron.errors import ElektronError
from elektron.finetuning.readers.records import Record
from elektron.inference import passages as module
from elektron.inference.passages import (
    NO_ANSWER,
    OpenDomainQA,
    Passages,
    best_answer,
    length,
    query_terms,
    split,
    terms,
    title_of,
)

RIVERS = "Rivers of the north\nThe Tana flows into the Arctic Ocean.\nThe Okavango never reaches a sea."
AMBER = "Amber\nAmber is fossil resin. The Greeks called it elektron."
CHINESE = "北京\n北京是中华人民共和国的首都，也是全国的政治中心。\n长江是亚洲最长的河流。"


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "first.txt").write_text(f"{RIVERS}\n\n{AMBER}")
    with gzip.open(tmp_path / "second.txt.gz", "wt", encoding="utf-8") as file:
        file.write(f"{CHINESE}\n\n{AMBER.upper()} AGAIN")
    return tmp_path


def question(text: str) -> Record:
    return Record({"question": text}, {"question": text}, "questions.txt, line 1")


# Splitting

PARTS = ["word", "other", "字", "符号", ". ", "。", "?", " ", "\n", "\n\n", "\u3000"]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=200).map("".join)


@settings(deadline=None)
@given(text=TEXTS, words=st.integers(1, 30))
def test_split_keeps_all_words_in_order_within_length_limit(text, words):
    passages = split(text, words)
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert " ".join(passages).split() == text.split() or re.search("[字符号。]", text)
    assert all(passage in text for passage in passages)
    assert all(length(passage) <= words for passage in passages)
    assert all(passages)


def test_split_groups_lines_and_cuts_long_ones_between_sentences():
    text = "One two three.\nFour five. Six seven eight nine. Ten (eleven?) Twelve\nthirteen"
    assert split(text, 5) == ["One two three.\nFour five.", "Six seven eight nine.", "Ten (eleven?) Twelve\nthirteen"]
    assert split(text, 100) == [text]
    assert split("甲乙丙丁。戊己庚辛。", 3) == ["甲乙丙丁。", "戊己庚辛。"]
    assert split("", 5) == []


def test_length_counts_two_chinese_characters_as_one_word():
    assert length("two words") == 2
    assert length("四个汉字") == 2
    assert length("，汉字。") == 2
    assert length("Élan 四个 x") == 3


def test_title_is_first_line_cut_to_twelve_words():
    assert title_of(AMBER) == "Amber"
    assert title_of("word " * 40) == "word " * 11 + "word …"
    assert title_of("字" * 40) == "字" * 12 + " …"


# Searching


def test_terms_are_words_or_character_bigrams_without_stop_words():
    assert terms("The 2nd Élan, NASA's") == ["the", "2nd", "élan", "nasa", "s"]
    assert terms("北京的GDP 是") == ["北京", "京的", "gdp", "是"]
    assert query_terms("Where is the Okavango?") == ["okavango"]
    assert query_terms("who is who") == ["who", "is", "who"]


def test_search_ranks_passage_with_rare_word_first_and_gives_source(corpus, monkeypatch):
    monkeypatch.setattr(module, "PASSAGE_WORDS", 10)
    passages = Passages(Corpus([str(corpus)]))
    best, *others = passages.search("where does the Okavango end?", 3)
    assert best.text == "The Okavango never reaches a sea."
    assert best.title == "Rivers of the north"
    assert best.source == f"{corpus / 'first.txt'}, document 1"
    assert best.score > 0
    assert all(other.score < best.score for other in others)
    assert passages.search("Zanzibar?", 3) == []
    assert passages.search("?", 3) == []


def test_search_matches_document_titles(corpus, monkeypatch):
    monkeypatch.setattr(module, "PASSAGE_WORDS", 10)
    found = Passages(Corpus([str(corpus / "first.txt")])).search("northern rivers of the north", 9)
    assert {passage.text.split()[1] for passage in found} == {"of", "Tana", "Okavango"}


def test_search_finds_chinese_by_character_bigrams(corpus, monkeypatch):
    monkeypatch.setattr(module, "PASSAGE_WORDS", 15)
    passages = Passages(Corpus([str(corpus)]))
    best, *_ = passages.search("最长的河流是什么？", 1)
    assert best.text == "长江是亚洲最长的河流。"
    assert best.source == f"{corpus / 'second.txt.gz'}, document 1"


def test_search_returns_at_most_requested_number(corpus):
    passages = Passages(Corpus([str(corpus)]))
    assert len(passages.search("amber", 1)) == 1
    assert len(passages.search("amber", 100)) == 2


def test_corpus_without_words_raises(tmp_path):
    (tmp_path / "marks.txt").write_text("… — !")
    with pytest.raises(ElektronError, match=r"marks\.txt: the documents contain no words"):
        Passages(Corpus([str(tmp_path / "marks.txt")]))


# Reading


def reader(records):
    """A stand-in model that finds one of three words; its margin for no answer is lower in shorter passages."""
    predictions = []
    for record in records:
        text = record.values["context"]
        found = re.search("Greeks|Arctic|RESIN", text)
        begin, end = found.span() if found else (-1, -1)
        predictions.append(
            {
                "answer": text[begin:end] if found else "",
                "start": begin,
                "end": end,
                "score": 0.5,
                "no_answer_margin": len(text) - 1000.0 if found else 5.0,
            }
        )
    return predictions


def test_answers_come_with_passage_and_source(corpus):
    book = OpenDomainQA(Passages(Corpus([str(corpus)])), reader, count=5)
    asked = [question("Who said elektron?"), question("Okavango?"), question("Zanzibar?")]
    amber, river, nothing = book.predictions(asked)
    assert amber["answer"] == "Greeks"
    assert amber["source"] == f"{corpus / 'first.txt'}, document 2"
    assert amber["title"] == "Amber"
    assert amber["passage"][amber["start"] : amber["end"]] == "Greeks"
    assert river["answer"] == "Arctic"
    assert nothing == NO_ANSWER
    assert amber.keys() == river.keys() == NO_ANSWER.keys()


def read(answer: str, margin: float, score: float, passage_score: float) -> dict:
    answered = {"answer": answer, "no_answer_margin": margin, "score": score}
    return NO_ANSWER | answered | {"passage_score": passage_score}


def test_best_answer_combines_reader_and_retriever_scores():
    sure, less = read("yes", -8.0, 0.6, 2.0), read("perhaps", -2.0, 0.9, 7.0)
    none = read("", 3.0, 0.95, 20.0)
    assert best_answer([less, none, sure])["answer"] == "yes"
    assert best_answer([less | {"passage_score": 9.0}, none, sure])["answer"] == "perhaps"
    assert best_answer([none, none]) == NO_ANSWER | {"score": 0.95}
    assert best_answer([]) == NO_ANSWER


def test_passages_of_all_questions_are_read_in_one_call(corpus):
    calls = []

    def counting(records):
        calls.append(len(records))
        return reader(records)

    OpenDomainQA(Passages(Corpus([str(corpus)])), counting, count=2).predictions([question("amber")] * 3)
    assert calls == [6]
