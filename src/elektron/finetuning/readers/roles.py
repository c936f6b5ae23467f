"""What each task looks for in a file: the roles of columns, and the names that such columns usually have.

`--NAME COLUMN` gives the column of a role. `guess_columns.py` finds the columns of those that are not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TEXT_NAMES = (
    *("text", "text_a", "text1", "sentence", "sentence1", "sentence_a", "question1"),
    *("review", "content", "#1 String", "premise"),
)
PAIR_NAMES = (
    *("pair", "text_b", "text2", "sentence2", "sentence_b", "question2", "hypothesis"),
    *("text_pair", "#2 String"),
)
CLASS_NAMES = (
    *("label", "labels", "gold_label", "class", "category", "sentiment", "topic", "target"),
    "Quality",
)
NUMBER_NAMES = ("label", "score", "similarity", "rating", "value")
TAG_NAMES = (
    *("tags", "ner_tags", "labels", "tag", "ner_tag", "ner", "label"),
    *("entities", "spans", "pos_tags", "pos"),
)
SENTENCE_NAMES = (
    *("sentence #", "sentence_id", "sent_id", "sentence id", "sentence_idx", "sentence_number"),
    *("sentence_no", "sentence_nr", "sent_no", "sentence"),
)
SOURCE_NAMES = (
    *("source", "src", "document", "dialogue", "article", "text", "question", "input"),
    *("en", "translation.en"),
)
TARGET_NAMES = (
    *("target", "tgt", "summary", "highlights", "title", "answer", "response", "output"),
    *("de", "translation.de", "summary1,summary2,summary3"),
)


@dataclass(frozen=True)
class Role:
    """What a column is for."""

    name: str
    names: tuple[str, ...] = ()
    """Usual names of such a column, likeliest first; several columns with commas between them."""
    needed: Literal["always", "labelled", "together", "never"] = "always"
    """`labelled`: for training and scoring, not for prediction; `together`: in all rows of a file or in none."""
    several: bool = False
    """Whether a row may have several of them, in a list or in several columns."""


@dataclass(frozen=True)
class Layout:
    """What a task's files hold."""

    roles: tuple[Role, ...]
    shape: Literal["table", "tagged", "squad", "parallel"] = "table"
    """What files may be besides tables: tagged tokens, SQuAD JSON, or line-aligned files."""
    label_separator: str | None = None
    """What separates the labels of a text that has several, where that is known already."""


TEXT = Role("text", TEXT_NAMES)
PAIR = Role("pair", PAIR_NAMES, "together")
SEQUENCES = Layout(
    (Role("source", SOURCE_NAMES), Role("target", TARGET_NAMES, "labelled", several=True)),
    shape="parallel",
)
LAYOUTS = {
    "classification": Layout((TEXT, PAIR, Role("label", CLASS_NAMES, "labelled", several=True))),
    "regression": Layout((TEXT, PAIR, Role("label", NUMBER_NAMES, "labelled"))),
    "token-classification": Layout(
        (
            Role("tokens", ("tokens", "words", "token", "word", "text", "sentence")),
            Role("tags", TAG_NAMES, "labelled"),
            Role("sentence", SENTENCE_NAMES, "never"),
        ),
        shape="tagged",
    ),
    "question-answering": Layout(
        (
            Role("question", ("question", "query")),
            Role("context", ("context", "passage", "paragraph", "document", "text")),
            Role("answers", ("answers", "answer", "answer_text", "answers.text"), "labelled"),
            Role("answer_start", ("answer_start", "answers.answer_start"), "never"),
            Role("id", ("id",), "never"),
        ),
        shape="squad",
    ),
    "multiple-choice": Layout(
        (
            Role("text", ("text", "question", "context", "sent1", "ctx", "premise")),
            Role("choices", ("choices", "endings", "options")),
            Role("label", ("label", "answer", "answerKey"), "labelled"),
            Role("context", ("article", "passage", "context", "paragraph", "story"), "together"),
        )
    ),
    "embedding": Layout(
        (
            Role("text", (*TEXT_NAMES, "anchor", "query", "question")),
            Role("pair", (*PAIR_NAMES, "positive", "answer", "passage", "document"), "labelled"),
            Role("negative", ("negative", "hard_negative"), "never"),
            Role("label", NUMBER_NAMES, "never"),
        )
    ),
    "translation": SEQUENCES,
    "summarization": SEQUENCES,
    "generation": SEQUENCES,
}
"""By task."""
QUESTIONS = Layout((Role("question", ("question", "query", "text")), Role("id", ("id",), "never")))
"""Questions that are answered from a corpus."""
TEXTS = Layout((TEXT,))
MINIMAL_PAIRS = Layout(
    (
        Role("good", ("good", "sentence_good")),
        Role("bad", ("bad", "sentence_bad")),
        Role("phenomenon", ("phenomenon", "linguistics_term"), "never"),
        Role("paradigm", ("paradigm", "UID"), "never"),
        Role("field", ("field",), "never"),
    )
)
"""Minimal pairs, with the names of BLiMP's files."""
