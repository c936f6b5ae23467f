"""The roles of columns in the files of each task, their usual column names, and the columns that options give.

`--ROLE COLUMN` gives the column of a role. `guess_columns.py` finds the columns of the other roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from elektron.errors import ElektronError
from elektron.finetuning.config import TextFilesConfig

TEXT_NAMES = (
    *("text", "text_a", "text1", "sentence", "sentence1", "sentence_a", "question1"),
    *("review", "content", "#1 String", "premise"),
)
PAIR_NAMES = (
    *("pair", "text_b", "text2", "sentence2", "sentence_b", "question2", "hypothesis"),
    *("text_pair", "#2 String"),
)
CLASS_NAMES = (*("label", "labels", "gold_label", "class", "category", "sentiment", "topic", "target"), "Quality")
NUMBER_NAMES = (
    *("label", "score", "similarity", "rating", "value", "similarity_score", "relatedness_score"),
    *("gold_score", "sim"),
)
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
    """What a column contains, such as `text` or `label`."""

    name: str
    names: tuple[str, ...] = ()
    """Usual names of such a column, likeliest first; a name may be several columns, separated by commas."""
    needed: Literal["always", "labelled", "together", "never"] = "always"
    """`labelled`: for training and evaluation, not for prediction; `together`: in all rows of a file or in none."""
    several: bool = False
    """Whether a row may have several values, in a list or in several columns."""


@dataclass(frozen=True)
class Layout:
    """The roles and the format of a task's files."""

    roles: tuple[Role, ...]
    format: Literal["table", "tagged", "squad", "parallel"] = "table"
    """Format of files that are not plain tables: tagged tokens, SQuAD's JSON, or line-aligned files."""
    label_separator: str | None = None
    """Separator between the labels of a text that has several, if it is known from training."""


TEXT = Role("text", TEXT_NAMES)
PAIR = Role("pair", PAIR_NAMES, "together")
SEQUENCES = Layout(
    (Role("source", SOURCE_NAMES), Role("target", TARGET_NAMES, "labelled", several=True)), format="parallel"
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
        format="tagged",
    ),
    "question-answering": Layout(
        (
            Role("question", ("question", "query")),
            Role("context", ("context", "passage", "paragraph", "document", "text")),
            Role("answers", ("answers", "answer", "answer_text", "answers.text"), "labelled"),
            Role("answer_start", ("answer_start", "answers.answer_start"), "never"),
            Role("is_impossible", ("is_impossible",), "never"),
            Role("id", ("id",), "never"),
        ),
        format="squad",
    ),
    "multiple-choice": Layout(
        (
            Role("text", ("text", "question", "context", "sent1", "ctx", "premise")),
            Role("choices", ("choices", "endings", "options")),
            Role("label", ("label", "answer", "answerKey"), "labelled"),
            Role("context", ("article", "passage", "context", "paragraph", "story", "premise"), "together"),
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
"""The layout of the files of each task."""
QUESTIONS = Layout((Role("question", ("question", "query", "text")), Role("id", ("id",), "never")))
"""Questions without passages, which are answered from a corpus."""
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
COLUMN_OPTIONS = (
    *("text", "pair", "negative", "label", "tokens", "tags", "sentence", "question"),
    *("context", "answers", "choices", "source", "target"),
)
"""Roles whose column can be given by an option, such as `--text`."""


@dataclass(frozen=True)
class Request:
    """The columns to find in the files of one split, such as `--test`."""

    roles: tuple[Role, ...]
    format: str
    labelled: bool
    """Whether labels are required, as for training and evaluation."""
    given: dict[str, str]
    """Columns that were given by options, by role."""
    label_separator: str | None = None
    columns_option: str = ""
    """The option that gives columns for these files only, such as `--test-columns`; empty if there is none."""

    @classmethod
    def of(
        cls, layout: Layout, config: TextFilesConfig, labelled: bool, split: Literal["", "eval", "test"] = ""
    ) -> Request:
        """The request for files of a layout; with a split, `--eval-columns` or `--test-columns` apply to them too.

        Raises:
            ElektronError: a column is given for a role that the layout does not have.
        """
        given = {role: column for role in COLUMN_OPTIONS if (column := getattr(config, role, None)) is not None}
        options = {role: f"--{role}" for role in given}
        columns_option = f"--{split}-columns" if split else ""
        for assignment in getattr(config, f"{split}_columns") if split else []:
            role, _, column = assignment.partition("=")
            if not column:
                raise ElektronError(f"{columns_option} {assignment}: write ROLE=COLUMN, such as text=body")
            given[role], options[role] = column, f"{columns_option} {role}"
        roles = [role.name for role in layout.roles]
        for role, option in options.items():
            if role not in roles:
                possible = ", ".join(f"--{name}" for name in roles if name in COLUMN_OPTIONS)
                raise ElektronError(f"{option} does not apply to this task, whose columns are {possible}")
        separator = getattr(config, "label_separator", None) or layout.label_separator
        return cls(layout.roles, layout.format, labelled, given, separator, columns_option)

    def option(self, role: str) -> str:
        """The option that gives the column of a role."""
        return f"{self.columns_option} {role}=" if self.columns_option else f"--{role}"

    def needs(self, role: Role) -> bool:
        return role.needed == "always" or (role.needed == "labelled" and self.labelled)

    @property
    def only_role(self) -> Role | None:
        """The role that is always needed, if there is only one."""
        always = [role for role in self.roles if role.needed == "always"]
        return always[0] if len(always) == 1 else None

    @property
    def gives_only_numbers(self) -> bool:
        """Whether columns are given, all of them by number."""
        return bool(self.given) and all(map(is_number, self.given.values()))

    def recognised(self, header: Sequence[str]) -> list[str]:
        """The names of the roles that have one of their usual column names in this header."""
        return [
            role.name
            for role in self.roles
            if any(columns_named(name, header) for name in role.names if not is_number(name))
        ]


def is_number(name: str) -> bool:
    """Whether a name is the number of a column, or several numbers separated by commas."""
    return all(part.strip().isdecimal() for part in name.split(","))


def columns_named(name: str, columns: Iterable[str]) -> list[str]:
    """The columns of a usual name, or of names separated by commas, ignoring case; empty if one is missing."""
    by_name = {column.casefold(): column for column in reversed(list(columns))}
    names = [name.casefold()] if name.casefold() in by_name else name.casefold().split(",")
    return [by_name[name] for name in names] if by_name.keys() >= set(names) else []
