"""Chooses the predictions of `predictions.jsonl` that a report shows: errors first, then some correct ones.

A line has the row's own columns and then the predictions, each under its name with the prefix `predicted_`, which is
repeated if the row has such a column. `details.json` has the columns by role; others have the name of their role.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from elektron.errors import ElektronError
from elektron.io.files import to_json, unreadable
from elektron.reporting import page
from elektron.reporting.formatting import NOTHING, percent
from elektron.reporting.page import Inline, Token
from elektron.reporting.reading import PREFIX, REMEDY, Record, finite, number, read_lines
from elektron.reporting.task_result import PREDICTIONS, TaskResult

LONGEST_TEXT = 320
MAX_TOKENS = 60


@dataclass(frozen=True)
class Row:
    """A line of the predictions."""

    content: Record
    columns: Record
    """Names of the columns by role."""
    shorten: Callable[[str], str]
    """Leaves out the middle of a long text."""

    def predicted(self, name: str) -> Any:
        """The prediction of that name: the last column that matches, since predictions follow the row's own columns."""
        names = [other for other in self.content if re.fullmatch(f"({PREFIX})+{name}", other)]
        return self.content[names[-1]] if names else None

    def given(self, role: str) -> Any:
        """The value of a role in the file; None if the file has no such column."""
        column = str(self.columns.get(role) or role)
        if column not in self.content and "," in column:
            return [self.content.get(name) for name in column.split(",")]
        return self.content.get(column)

    @property
    def text(self) -> str:
        """The text and its pair, if it has one; the first column with text if the text's column is not known."""
        text, pair = self.given("text"), self.given("pair")
        if text is None:
            text = next((value for value in self.content.values() if isinstance(value, str)), "")
        if pair is None:
            return self.shorten(str(text))
        return f"{middle_left_out(text, LONGEST_TEXT // 2)} ‖ {middle_left_out(pair, LONGEST_TEXT // 2)}"


@dataclass(frozen=True)
class Example:
    """A prediction as it is shown."""

    wrong: bool
    cells: Sequence[Inline]
    rank: float | None = None
    """Examples with the highest rank are shown; those without a rank are chosen at random."""


@dataclass(frozen=True)
class View:
    """How the predictions of a task are shown."""

    columns: dict[str, int]
    """Headings, and the widths of the columns in percent."""
    example: Callable[[Row], Example]
    errors: str = "Errors with the highest scores"
    others: str = "Correct predictions"
    max_others: int = 4


def tested_rows(result: TaskResult) -> str | None:
    """A digest of the rows that a model was tested on, without its predictions; None if there is no file of them."""
    path, digest = result.folder / PREDICTIONS, hashlib.sha256()
    if not path.is_file():
        return None
    for row in read_lines(path):
        columns = {name: value for name, value in (row or {}).items() if not name.startswith(PREFIX)}
        digest.update(to_json(columns).encode())
    return digest.hexdigest()


def prediction_tables(result: TaskResult) -> list[page.Block]:
    """Tables of predictions; empty if there is no file of them, or no view for the task.

    Raises:
        ElektronError: a line of the file, or the tokenizer, is damaged.
    """
    view, path = VIEWS.get(result.task), result.folder / PREDICTIONS
    if view is None or not path.is_file():
        return []
    generator, limits = random.Random(0), {True: 8, False: view.max_others}
    columns = result.config | {name: c for name, c in result.details.columns.items() if c}
    # By whether the prediction is wrong: the entries of highest rank, as (rank, -line number, row).
    heaps: dict[bool, list[tuple[float, int, Record]]] = {True: [], False: []}
    for line_number, content in enumerate(read_lines(path), start=1):
        if content is None:
            raise ElektronError(f"{path}, line {line_number}: not valid JSON")
        example, random_rank = view.example(Row(content, columns, middle_left_out)), generator.random()
        heap = heaps[example.wrong]
        heapq.heappush(heap, (random_rank if example.rank is None else example.rank, -line_number, content))
        if len(heap) > limits[example.wrong]:
            heapq.heappop(heap)
    blocks: list[page.Block] = []
    shorten = text_shortener(result)
    for title, heap in zip((view.errors, view.others), heaps.values(), strict=True):
        rows = [view.example(Row(content, columns, shorten)).cells for _, _, content in sorted(heap, reverse=True)]
        table = page.Table(list(view.columns), rows, widths=list(view.columns.values()))
        blocks += [page.Heading(title), table] if rows else []
    return blocks


def text_shortener(result: TaskResult) -> Callable[[str], str]:
    """A function that shortens a long text and says which part of it the model reads, by its tokenizer and task."""
    length, truncation = number(result.learned, "max_length"), result.learned.get("truncation")
    path = result.folder / "tokenizer.json"
    if not length or not path.is_file() or truncation not in ("head", "head-tail"):
        return middle_left_out
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other; the check in hub.py needs transformers
        raise unreadable(path, error, REMEDY) from error
    tokenizer.no_truncation()
    room = int(length) - tokenizer.num_special_tokens_to_add(False)

    def show(text: str) -> str:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= room:
            return middle_left_out(text)
        counts = f"{room:,} of {len(offsets):,} tokens"
        if truncation == "head":
            return f"{middle_left_out(text[: offsets[room - 1][1]])} [read: the first {counts}]"
        return f"{middle_left_out(text)} [read: the first and last, {counts}]"

    return show


def shortened(text: Any, longest: int = LONGEST_TEXT) -> str:
    """Cut a text that is longer than `longest` characters, between words if possible."""
    text = str(text)
    if len(text) <= longest:
        return text
    head = text[:longest]
    cut = head.rfind(" ", longest * 3 // 4)
    return f"{head[:cut] if cut > 0 else head} …"


def middle_left_out(text: Any, longest: int = LONGEST_TEXT) -> str:
    """Leave out the middle of a text that is longer than `longest` characters, between words if possible."""
    text = str(text)
    if len(text) <= longest:
        return text
    tail = text[-longest // 3 :]
    return f"{shortened(text, longest - len(tail))} {tail[tail.find(' ', 0, len(tail) // 4) + 1 :]}"


def around(text: str, part: str, longest: int = LONGEST_TEXT) -> str:
    """Shorten a long text to about `longest` characters around `part`."""
    index = text.find(part)
    start = index - longest // 2
    if start <= 0:
        return shortened(text, longest)
    start = max(text.find(" ", start, index) + 1, start)
    return f"… {shortened(text[start:], longest)}"


def _labels(value: Any) -> list[str]:
    """One or several labels as text."""
    labels = value if isinstance(value, list) else [value]
    labels = [int(label) if isinstance(label, float) and label.is_integer() else label for label in labels]
    return [str(label).strip() for label in labels if label is not None]


def _with_score(text: str, score: float | None) -> str:
    return text if score is None else f"{text} ({percent(score, 0)})"


def _classification(row: Row) -> Example:
    several, given = row.predicted("labels"), row.given("label")
    predicted = _labels(row.predicted("label") if several is None else several)
    truth, score = _labels(given), finite(row.predicted("score"))
    wrong = given is not None and sorted(predicted) != sorted(truth)
    cells = [_with_score(", ".join(predicted) or NOTHING, score), ", ".join(truth) or NOTHING, row.text]
    return Example(wrong, cells, score if wrong else None)


def _regression(row: Row) -> Example:
    try:
        truth = finite(float(row.given("label")))
    except (TypeError, ValueError, OverflowError):
        truth = None
    predicted = finite(row.predicted("score"))
    error = abs(predicted - truth) if predicted is not None and truth is not None else 0.0
    numbers = [NOTHING if value is None else f"{value:.6g}" for value in (predicted, truth)]
    return Example(truth is not None, [*numbers, row.text], error)


def _embedding(row: Row) -> Example:
    cosine, truth, rank = (
        finite(value) for value in (row.predicted("score"), row.given("label"), row.predicted("rank"))
    )
    other = rank if truth is None else truth
    cells = [NOTHING if value is None else f"{value:.4g}" for value in (cosine, other)]
    wrong = rank is not None and rank > 1
    return Example(wrong, [*cells, row.text], rank if wrong else None)


def _tagging(row: Row) -> Example:
    # Where the file has a text with entities, the prediction has tokens and tags of its own.
    tokens = _first_list(row.predicted("tokens"), row.given("tokens"), row.content.get("tokens"))
    predicted = _first_list(row.predicted("tags"))
    truth = _first_list(row.given("tags"), row.content.get("tags"))
    right = truth if len(truth) == len(predicted) else predicted
    shown: list[Token] = []
    for token, tag, true in zip(tokens, predicted, right, strict=False):
        mark = "" if tag == true == "O" else tag
        shade = 0.3 if tag != "O" else 0.0
        shown.append(Token(token, bool(shown), shade, note=mark, correction=None if tag == true else true))
    wrong = [place for place, token in enumerate(shown) if token.correction is not None]
    last = max(0, len(shown) - MAX_TOKENS)
    begin = min(last, max(0, wrong[0] - MAX_TOKENS // 4)) if wrong else 0
    part = [Token("…"), *shown[begin:]] if begin else shown
    if begin < last:
        part = [*part[:MAX_TOKENS], Token("…")]
    cells = [page.Cell(tokens=part)]
    if wrong:
        return Example(True, cells, len(wrong) / len(shown))
    return Example(False, cells, None if any(token.note for token in shown) else 0.0)


def _first_list(*values: Any) -> list[str]:
    """The first value that is a list of strings; empty if there is none."""
    lists = (value for value in values if isinstance(value, list))
    return next((value for value in lists if all(isinstance(part, str) for part in value)), [])


def _question_answering(row: Row) -> Example:
    answer, given = str(row.predicted("answer") or ""), row.given("answers")
    right = _answers(given)
    cells = [
        shortened(row.given("question") or ""),
        shortened(answer) or "no answer",
        NOTHING if given is None else shortened(" / ".join(dict.fromkeys(right)) or "no answer"),
        around(str(row.given("context") or ""), right[0] if right else answer),
    ]
    wrong = given is not None and answer.strip().casefold() not in {text.strip().casefold() for text in right or [""]}
    return Example(wrong, cells)


def _answers(value: Any) -> list[str]:
    """Right answers, from a text, a list or SQuAD's form."""
    value = value.get("text") if isinstance(value, dict) else value
    if isinstance(value, list):
        return [str(v.get("text", "") if isinstance(v, dict) else v) for v in value]
    return [] if value is None else [str(value)]


def _multiple_choice(row: Row) -> Example:
    choices, keys = _choices(row.given("choices"))
    predicted = _labels(row.predicted("label"))
    truth = [_choice(label, choices, keys) for label in _labels(row.given("label"))]
    choice = row.predicted("choice") or _choice(predicted[0] if predicted else "", choices, [])
    score = finite(row.predicted("score"))
    wrong = bool(truth) and str(choice) not in truth
    cells = [_with_score(shortened(choice), score), shortened(", ".join(truth)) or NOTHING, row.text]
    return Example(wrong, cells, score if wrong else None)


def _choices(value: Any) -> tuple[list[str], list[str]]:
    """The choices, and their keys if they have any."""
    texts, keys = (value.get("text"), value.get("label")) if isinstance(value, dict) else (value, 0)
    return _labels(texts if isinstance(texts, list) else []), _labels(keys or [])


def _choice(label: str, choices: list[str], keys: list[str]) -> str:
    """The choice with that key, number or letter; any other label is the choice itself."""
    if keys:
        return choices[keys.index(label)] if label in keys[: len(choices)] else label
    index = string.ascii_uppercase.find(label.upper()) if len(label) == 1 else -1
    if label.isdecimal() and len(label) < 4:
        index = int(label)
    return choices[index] if 0 <= index < len(choices) and label not in choices else label


def _generation(row: Row) -> Example:
    target = row.given("target")
    target = " / ".join(map(str, filter(None, target))) if isinstance(target, list) else target
    written = shortened(row.predicted("text") or "") or "nothing"
    reference = NOTHING if target is None else shortened(target)
    return Example(False, [row.shorten(str(row.given("source") or "")), written, reference])


VIEWS = {
    "classification": View({"predicted": 18, "true": 18, "text": 64}, _classification),
    "regression": View(
        {"predicted": 18, "true": 18, "text": 64}, _regression, "Largest errors", "Random rows", max_others=12
    ),
    "token-classification": View({"tokens with their predicted tags": 100}, _tagging, "Sentences with most errors"),
    "question-answering": View(
        {"question": 22, "predicted": 16, "true": 18, "passage": 44}, _question_answering, "Wrong answers"
    ),
    "multiple-choice": View({"predicted": 28, "true": 28, "text": 44}, _multiple_choice),
    "embedding": View(
        {"cosine": 18, "score or rank": 18, "texts": 64}, _embedding, "Worst ranks", "Random rows", max_others=12
    ),
} | dict.fromkeys(
    ("translation", "summarization", "generation"),
    View({"source": 34, "output": 33, "reference": 33}, _generation, others="Random rows", max_others=12),
)
