"""Predictions worth looking at, out of `predictions.jsonl`: mistakes first, then some that are right.

A line is the row's own columns and behind them what the model says; where a row has a name already,
what the model says stands under `predicted_` and that name, as often as it takes. Which column is
what is in `details.json`; a column that is not there goes by its role. The file may be long: only
what is shown is kept of it.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from elektron.errors import ElektronError
from elektron.reporting.reading import Record, mapping, number
from elektron.reporting.results import PREDICTIONS, Result
from elektron.reporting.wording import NOTHING, percent

MISTAKES, OTHERS = 8, 4
LONGEST_TEXT = 320
MOST_TOKENS = 60
OUTSIDE = "O"
PREFIX = "predicted_"
"""Before the name of what the model says, where a column has it already."""


@dataclass(frozen=True)
class Tagged:
    """A token with the tag that it was given."""

    text: str
    tag: str
    """Empty outside of entities."""
    truth: str | None
    """The right tag, where another was given."""


Cell = str | list[Tagged]


@dataclass(frozen=True)
class Judged:
    """A prediction as it is shown."""

    wrong: bool
    rank: float
    """How much it deserves to be shown."""
    cells: list[Cell]


@dataclass(frozen=True)
class Shown:
    """Predictions of one sort, as a table."""

    title: str
    columns: dict[str, int]
    """Headings, and how wide the columns are in percent."""
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Row:
    """A line of the predictions."""

    content: Record
    columns: Record
    separator: str | None
    """What stands between labels, where a row may have several."""
    by_model: tuple[str, ...]
    """Names of what the model says."""

    def said(self, name: str) -> Any:
        """What the model says."""
        return self.content.get(self._stands_under(name))

    def given(self, role: str) -> Any:
        """What the file says; None where it does not."""
        column = str(self.columns.get(role) or role)
        if column not in self.content and "," in column:
            return [self.content.get(name) for name in column.split(",")]
        if column in self.by_model and self._stands_under(column) == column:
            return None
        return self.content.get(column)

    def _stands_under(self, name: str) -> str:
        """The name under which the model's word stands: the last, since it stands behind the columns."""
        names = [other for other in self.content if _without_prefix(other) == name]
        return names[-1] if names else name


@dataclass(frozen=True)
class View:
    """How the predictions of a task are shown."""

    columns: dict[str, int]
    """Headings, and how wide the columns are in percent."""
    judge: Callable[[Row, float], Judged]
    """Of a row; the number, drawn from 0 to 1, is the rank of what ranks no higher than others."""
    says: tuple[str, ...]
    """Names of what the model says."""
    mistakes: str = "Errors"
    others: str = "Correct predictions"
    most_others: int = OTHERS


@dataclass
class Best:
    """The predictions of the highest rank."""

    most: int
    kept: list[tuple[float, int, list[Cell]]] = field(default_factory=list)

    def add(self, judged: Judged, place: int) -> None:
        """Keep it if it is among them; of equals the first."""
        entry = (judged.rank, -place, judged.cells)
        if len(self.kept) < self.most:
            heapq.heappush(self.kept, entry)
        else:
            heapq.heappushpop(self.kept, entry)

    def rows(self) -> list[list[Cell]]:
        """From the highest rank on."""
        return [cells for _, _, cells in sorted(self.kept, key=lambda e: e[:2], reverse=True)]


def examples(result: Result) -> list[Shown]:
    """Tables of predictions; none where there is no file of them, or for a task without a view.

    Raises:
        ElektronError: a line of the file is damaged.
    """
    view = VIEWS.get(result.task)
    if view is None or not (result.folder / PREDICTIONS).is_file():
        return []
    draw = random.Random(0)
    wrong, others = Best(MISTAKES), Best(view.most_others)
    separator = result.details.label_separator or result.config.get("label_separator")
    columns = _columns(result)
    for place, content in enumerate(_lines(result)):
        row = Row(content, columns, str(separator) if separator else None, view.says)
        judged = view.judge(row, draw.random())
        (wrong if judged.wrong else others).add(judged, place)
    found = [
        Shown(view.mistakes, view.columns, wrong.rows()),
        Shown(view.others, view.columns, others.rows()),
    ]
    return [shown for shown in found if shown.rows]


def _columns(result: Result) -> Record:
    """Names of columns by role, as they were found, or else as they were asked for."""
    return result.config | {
        name: column for name, column in result.details.columns.items() if column
    }


def _lines(result: Result) -> Iterator[Record]:
    path = result.folder / PREDICTIONS
    try:
        with path.open(encoding="utf-8") as lines:
            for place, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield mapping(json.loads(line, parse_constant=lambda _: None))
                except (ValueError, TypeError, RecursionError) as error:
                    raise ElektronError(f"{path}, line {place}: not valid JSON ({error})") from None
    except UnicodeDecodeError:
        raise ElektronError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise ElektronError(f"{path}: cannot be read ({error.strerror})") from error


def shortened(text: Any, longest: int = LONGEST_TEXT) -> str:
    """A text that is no longer than that, cut between words where it has any."""
    text = str(text)
    if len(text) <= longest:
        return text
    head = text[:longest]
    cut = head.rfind(" ", longest * 3 // 4)
    return f"{head[:cut] if cut > 0 else head} …"


def around(text: str, part: str, longest: int = LONGEST_TEXT) -> str:
    """A long text near where the part stands in it."""
    place = max(0, text.find(part)) if part else 0
    first = max(0, place - longest // 2)
    if first == 0:
        return shortened(text, longest)
    first = max(text.find(" ", first, place) + 1, first)
    return f"… {shortened(text[first:], longest)}"


def _without_prefix(name: str) -> str:
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name


def _names(value: Any, separator: str | None = None) -> list[str]:
    """Labels as text, one or several."""
    if isinstance(value, str) and separator:
        value = [part.strip() for part in value.split(separator) if part.strip()]
    values = value if isinstance(value, list) else [value]
    return [_name(value) for value in values if value is not None]


def _name(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _texts(row: Row) -> str:
    pair = row.given("pair")
    text = shortened(_text(row), LONGEST_TEXT if pair is None else LONGEST_TEXT // 2)
    return text if pair is None else f"{text} ‖ {shortened(pair, LONGEST_TEXT // 2)}"


def _text(row: Row) -> str:
    """The text of a row, or its first column with text where it is not known which it is."""
    given = row.given("text")
    texts = (value for value in row.content.values() if isinstance(value, str))
    return str(given) if given is not None else next(texts, "")


def _classified(row: Row, draw: float) -> Judged:
    several = row.said("labels")
    said = _names(row.said("label") if several is None else several)
    truth = _names(row.given("label"), row.separator)
    score = number({"score": row.said("score")}, "score")
    wrong = row.given("label") is not None and sorted(said) != sorted(truth)
    sure = f" ({percent(score, 0)})" if score is not None else ""
    cells: list[Cell] = [
        (", ".join(said) or NOTHING) + sure,
        ", ".join(truth) or NOTHING,
        _texts(row),
    ]
    return Judged(wrong, score if wrong and score is not None else draw, cells)


def _measured(row: Row, draw: float) -> Judged:
    said = number({"score": row.said("score")}, "score")
    truth = _as_number(row.given("label"))
    error = abs(said - truth) if said is not None and truth is not None else 0.0
    numbers = (NOTHING if value is None else f"{value:.6g}" for value in (said, truth))
    cells: list[Cell] = [*numbers, _texts(row)]
    # The farthest off are mistakes; which of the others are shown is left to chance.
    return Judged(truth is not None, error, cells)


def _as_number(value: Any) -> float | None:
    try:
        return number({"value": float(value)}, "value")
    except (TypeError, ValueError, OverflowError):
        return None


def _tagged(row: Row, draw: float) -> Judged:
    # Where the file has a text with entities, tokens and tags stand beside it under these names.
    tokens = _first_list(
        row.content.get("predicted_tokens"), row.given("tokens"), row.content.get("tokens")
    )
    said, truth = (
        _first_list(row.said("tags")),
        _first_list(row.given("tags"), row.content.get("tags")),
    )
    right = truth if len(truth) == len(said) else said
    cell = [
        Tagged(
            str(token),
            "" if tag == OUTSIDE else str(tag),
            None if tag == of_right else str(of_right),
        )
        for token, tag, of_right in zip(tokens, said, right, strict=False)
    ][:MOST_TOKENS]
    mistakes = sum(token.truth is not None for token in cell)
    entities = any(token.tag for token in cell)
    return Judged(mistakes > 0, mistakes / len(cell) if mistakes else entities + draw, [cell])


def _first_list(*values: Any) -> list[Any]:
    """The first that is a list of texts."""
    lists = (value for value in values if isinstance(value, list))
    return next((value for value in lists if all(isinstance(part, str) for part in value)), [])


def _answered(row: Row, draw: float) -> Judged:
    answer = str(row.said("answer") or "")
    given = row.given("answers")
    golds = _answers(given)
    wrong = given is not None and answer.strip().casefold() not in {
        gold.strip().casefold() for gold in golds or [""]
    }
    context = str(row.given("context") or "")
    cells: list[Cell] = [
        shortened(row.given("question") or ""),
        shortened(answer) or "no answer",
        NOTHING if given is None else shortened(" / ".join(dict.fromkeys(golds)) or "no answer"),
        around(context, golds[0] if golds else answer),
    ]
    return Judged(wrong, draw, cells)


def _answers(value: Any) -> list[str]:
    """Right answers as text, from a text, a list or SQuAD's form."""
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, list):
        return [str(v.get("text", "") if isinstance(v, dict) else v) for v in value]
    return [] if value is None else [str(value)]


def _selected(row: Row, draw: float) -> Judged:
    choices, keys = _choices(row.given("choices"))
    said, truth = _names(row.said("label")), _names(row.given("label"))
    truth = [_choice(name, choices, keys) for name in truth]
    choice = str(row.said("choice") or _choice(said[0] if said else "", choices, []))
    score = number({"score": row.said("score")}, "score")
    wrong = bool(truth) and choice not in truth
    sure = f" ({percent(score, 0)})" if score is not None else ""
    cells: list[Cell] = [
        shortened(choice) + sure,
        shortened(", ".join(truth)) or NOTHING,
        _texts(row),
    ]
    return Judged(wrong, score if wrong and score is not None else draw, cells)


def _choices(value: Any) -> tuple[list[str], list[str]]:
    """The choices, and their keys if they have any."""
    texts = value.get("text") if isinstance(value, dict) else value
    return _as_texts(texts), _as_texts(value.get("label") if isinstance(value, dict) else None)


def _as_texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _choice(name: str, choices: list[str], keys: list[str]) -> str:
    """The choice of that key, number or letter; anything else is a choice itself."""
    if keys:
        return choices[keys.index(name)] if name in keys[: len(choices)] else name
    place = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".find(name.upper()) if len(name) == 1 else -1
    if name.isdecimal() and len(name) < 4:
        place = int(name)
    return choices[place] if 0 <= place < len(choices) and name not in choices else name


def _generated(row: Row, draw: float) -> Judged:
    target = row.given("target")
    target = " / ".join(map(str, filter(None, target))) if isinstance(target, list) else target
    cells: list[Cell] = [
        shortened(row.given("source") or ""),
        shortened(row.said("text") or "") or "nothing",
        NOTHING if target is None else shortened(target),
    ]
    return Judged(False, draw, cells)


WRITTEN = View(
    columns={"source": 34, "output": 33, "reference": 33},
    judge=_generated,
    says=("text",),
    others="Random rows",
    most_others=12,
)
VIEWS = {
    "classification": View(
        columns={"predicted": 18, "true": 18, "text": 64},
        judge=_classified,
        says=("label", "score", "labels", "scores"),
        mistakes="Errors with the highest scores",
    ),
    "regression": View(
        columns={"predicted": 18, "true": 18, "text": 64},
        judge=_measured,
        says=("score",),
        mistakes="Largest errors",
        others="Random rows",
        most_others=12,
    ),
    "token-classification": View(
        columns={"tokens with their predicted tags": 100},
        judge=_tagged,
        says=("tags",),
        mistakes="Sentences with most errors",
    ),
    "question-answering": View(
        columns={"question": 22, "predicted": 16, "true": 18, "passage": 44},
        judge=_answered,
        says=("answer", "score"),
        mistakes="Wrong answers",
    ),
    "multiple-choice": View(
        columns={"predicted": 28, "true": 28, "text": 44},
        judge=_selected,
        says=("label", "choice", "score"),
        mistakes="Errors with the highest scores",
    ),
    "translation": WRITTEN,
    "summarization": WRITTEN,
    "generation": WRITTEN,
}
