"""The FastAPI application: takes rows as JSON or csv and returns what `elektron predict` writes; errors are JSON."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from elektron import __version__
from elektron.configuration import from_dict
from elektron.corpus.unknown import Unknown, UnknownCounter
from elektron.errors import ElektronError
from elektron.finetuning.config import FilesConfig
from elektron.finetuning.in_memory import Content
from elektron.finetuning.prediction_columns import PredictionColumns
from elektron.finetuning.readers.read import read_records
from elektron.finetuning.readers.records import Record, input_texts
from elektron.finetuning.readers.roles import Layout
from elektron.finetuning.tasks.base import Prediction
from elektron.serve.batching import Batcher, QueueFullError
from elektron.serve.config import ServeConfig
from elektron.serve.guard import MAX_BODY, Guard, JsonResponse, error_response

if TYPE_CHECKING:
    from elektron.serve.serve import ServedModel

CSV = "text/csv"
UPLOAD = "file.csv"
"""Name of the csv in a request, in messages."""
MAX_EXPLAINED_ROWS = 10
"""Maximum number of rows in a request to /explain; each costs as much as a few hundred predictions."""
SHOWN_ERRORS = 3
PAGE_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(served: ServedModel, config: ServeConfig, hosts: Sequence[str] | None) -> Guard:
    """Create the application that serves a model.

    Args:
        served: the model.
        config: its name and limits.
        hosts: allowed values of the Host header; None for any.
    """
    layout = served.layout
    batcher = Batcher(config.max_queue)
    counter = UnknownCounter.of(served.tokenizer)
    rows_model = model_of_rows(layout, config, config.max_rows)
    worker: asyncio.Task[None]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal worker
        worker = asyncio.create_task(batcher.run())
        yield
        worker.cancel()
        await asyncio.wait([worker])

    app = FastAPI(
        title=f"Elektron: {served.task}",
        version=__version__,
        docs_url=None,  # FastAPI's page loads scripts from another host; our page shows the same
        redoc_url=None,
        lifespan=lifespan,
    )
    for error_class in (ElektronError, QueueFullError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(error_class, _answer_to_error)

    def answer(records: Sequence[Record]) -> list[tuple[Prediction, Unknown]]:
        """Predict each record, and count the characters that the tokenizer does not know."""
        unknown = [counter.count(input_texts(layout, [record])) for record in records]
        return list(zip(served.predict(records), unknown, strict=True))

    async def predict(records: Sequence[Record]) -> tuple[list[Prediction], list[str]]:
        """Predictions of records, and warnings about them."""
        answers = await batcher.submit(answer, records)
        unknown = Unknown()
        for _, of_row in answers:
            unknown.add(of_row)
        warnings = [unknown.message] if unknown.message else []
        return [prediction for prediction, _ in answers], warnings

    @app.post(
        "/predict",
        summary="Predictions for rows",
        openapi_extra=body("application/json", schema_of(rows_model)),
        responses=ANSWERS,
    )
    async def predict_rows(request: Request) -> Response:
        content = await body_of(request, "application/json")
        predictions, warnings = await predict(records_in(content, rows_model))
        return JsonResponse({"predictions": predictions, "warnings": warnings})

    @app.post(
        "/predict/csv",
        summary="The rows of a csv in UTF-8, each with its prediction",
        description="Columns are found by their usual names, or given as ?text=NAME, as in `elektron predict`.",
        openapi_extra=body(CSV, {"type": "string"}),
        responses=ANSWERS,
    )
    async def predict_csv(request: Request) -> Response:
        content = await body_of(request, CSV)
        files = from_dict(FilesConfig, request.query_params, label="?{}=".format)
        records = await asyncio.to_thread(records_in_csv, content, layout, files, config)
        predictions, warnings = await predict(records)
        rows = PredictionColumns().rows(records, predictions)
        return JsonResponse({"rows": rows, "warnings": warnings})

    if served.explain is not None:
        rows_explained = model_of_rows(layout, config, MAX_EXPLAINED_ROWS)
        explain = served.explain

        @app.post(
            "/explain",
            summary="Which words the answers to rows depend on",
            description="Attributions by integrated gradients, as `elektron explain` writes them. `parts` are the "
            "texts that were read, `places` the part, the first character and the end of each word.",
            openapi_extra=body("application/json", schema_of(rows_explained)),
            responses=ANSWERS,
        )
        async def explain_rows(request: Request) -> Response:
            content = await body_of(request, "application/json")
            explanations = await batcher.submit(explain, records_in(content, rows_explained), 1)
            return JsonResponse({"explanations": explanations})

    @app.get("/model", summary="Task, fields of a row, labels and limits")
    async def model() -> Response:
        return JsonResponse(
            {
                "model": Path(config.model).name,
                "task": served.task,
                "fields": fields_of(rows_model),
                "labels": served.labels,
                "explains": served.explain is not None,
                "max_length": served.max_length,
                "device": served.device,
                "version": __version__,
                "limits": {
                    "rows": config.max_rows,
                    "characters": config.max_characters,
                    "queue": config.max_queue,
                    "bytes": MAX_BODY,
                    "seconds": config.timeout,
                },
            }
        )

    @app.get("/health", summary="Whether requests are answered")
    async def health() -> Response:
        if worker.done():
            raise HTTPException(503, "the worker has stopped: restart the server")
        return JsonResponse({"status": "ok"})

    @app.get("/metrics", summary="Counts in Prometheus' text format")
    async def metrics() -> Response:
        lines = guard.metrics()
        for name, kind, value in (
            ("rows_total", "counter", batcher.answered),
            ("batches_total", "counter", batcher.batches),
            ("queue_rows", "gauge", batcher.rows),
        ):
            lines += [f"# TYPE elektron_{name} {kind}", f"elektron_{name} {value}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")

    page, policy = page_with_policy()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    paths = [*app.openapi()["paths"], "/openapi.json", "/"]
    guard = Guard(app, hosts, config.timeout, paths)
    return guard


# Rows


def model_of_rows(layout: Layout, config: ServeConfig, max_rows: int) -> type[BaseModel]:
    """Create the pydantic model of `{"rows": […]}`: at most `most` rows with the roles of the layout except labels."""
    text = Annotated[str, Field(max_length=config.max_characters), AfterValidator(_content)]
    kinds: dict[str, Any] = {
        "tokens": text | Annotated[list[text], Field(min_length=1, max_length=config.max_characters)],
        "choices": Annotated[list[text], Field(min_length=2, max_length=100)],
    }
    fields: dict[str, Any] = {}
    for role in layout.roles:
        kind = kinds.get(role.name, text)
        if role.needed == "always":
            fields[role.name] = (kind, ...)
        elif role.needed == "together":
            fields[role.name] = (kind | None, None)
    strict = ConfigDict(extra="forbid", strict=True)
    row = create_model("Row", __config__=strict, **fields)
    rows = Annotated[list[row], Field(min_length=1, max_length=max_rows)]  # type: ignore[valid-type]
    return create_model("Rows", __config__=strict, rows=(rows, ...))


def _content(text: str) -> str:
    if not text or text.isspace():
        raise ValueError("is empty")
    if "\0" in text:
        raise ValueError("has a NUL character")
    return text


def schema_of(rows_model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of the rows, without references."""
    schema = rows_model.model_json_schema()
    schema["properties"]["rows"]["items"] = schema.pop("$defs")["Row"]
    return schema


def fields_of(rows_model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a row for the page: name, whether it is required, whether it is a list of texts."""
    row = schema_of(rows_model)["properties"]["rows"]["items"]
    return [
        {"name": name, "required": name in row["required"], "list": field.get("type") == "array"}
        for name, field in row["properties"].items()
    ]


def records_in(content: bytes, rows_model: type[BaseModel]) -> list[Record]:
    """The records of a JSON body.

    Raises:
        HTTPException: 400 if the body is not JSON, 422 if the rows do not fit the task.
    """
    try:
        rows: Any = rows_model.model_validate_json(content)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        status = 400 if errors[0]["type"] == "json_invalid" else 422
        messages = [f"{_place(each['loc'])}{_message(each)}" for each in errors]
        more = f" and {len(errors) - SHOWN_ERRORS:,} more" if len(errors) > SHOWN_ERRORS else ""
        raise HTTPException(status, "; ".join(messages[:SHOWN_ERRORS]) + more) from None
    records = [Record(row.model_dump(exclude_none=True), {}, f"rows[{number}]") for number, row in enumerate(rows.rows)]
    first = records[0].values.keys()
    for record in records:
        for name in first ^ record.values.keys():
            raise HTTPException(422, f"{record.where}: {name}: give it in all rows or in none")
    return records


def _place(parts: Sequence[int | str]) -> str:
    """Where a validation error is, such as `rows[0].text: `; names after the field are pydantic's and left out."""
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for depth, part in enumerate(parts)
        if depth < 3 or isinstance(part, int)
    )
    return f"{place[1:81]}: " if place else ""


def _message(error: Any) -> str:
    unknown = error["type"] == "extra_forbidden"
    message: str = "no such field, see /model" if unknown else error["msg"]
    return message.removeprefix("Value error, ")


def records_in_csv(content: bytes, layout: Layout, files: FilesConfig, config: ServeConfig) -> list[Record]:
    """The records of a csv, read as `elektron predict` reads one with the options `files`.

    Raises:
        HTTPException: it is not UTF-8, or has too many rows.
        ElektronError: it is not a csv that fits the task, or a text is too long.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"byte {error.start:,} is not UTF-8: save the file as csv in UTF-8") from None
    if "\0" in text:
        raise ElektronError(f"{UPLOAD}: has a NUL character: is it a csv?")
    rows = read_records([Content(UPLOAD, content)], layout, files, labelled=False)
    records = list(islice(rows, config.max_rows + 1))
    if len(records) > config.max_rows:
        raise HTTPException(413, f"more than {config.max_rows:,} rows: send fewer, or run `elektron predict`")
    for record in records:
        longest = max(map(len, input_texts(layout, [record])))
        if longest > config.max_characters:
            raise ElektronError(f"{record.where}: {longest:,} characters, at most {config.max_characters:,}")
    return records


# Requests and answers


def body(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the OpenAPI description about a request's body."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"description": "not JSON, or not UTF-8"},
    413: {"description": "too large"},
    415: {"description": "another content type"},
    422: {"description": "not the rows of this task"},
    429: {"description": "too many rows are waiting"},
    503: {"description": "no answer in time"},
}


async def body_of(request: Request, kind: str) -> bytes:
    """Return the body of a request; raise HTTPException 415 if its Content-Type is not `kind`.

    Browsers ask for permission (CORS preflight) before a page of another origin sends JSON or csv.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        raise HTTPException(415, f"the Content-Type must be {kind}")
    return await request.body()


async def _answer_to_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ElektronError):
        return error_response(422, str(error))
    if isinstance(error, QueueFullError):
        return error_response(429, str(error), {"Retry-After": "1"})
    if isinstance(error, HTTPException):
        return error_response(error.status_code, error.detail, error.headers)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # the client has disconnected
    return error_response(500, "internal error: the server's log has more")


def page_with_policy() -> tuple[str, str]:
    """Return the page, and the Content-Security-Policy that allows no scripts and styles but its own."""
    page = resources.files("elektron.serve").joinpath("page.html").read_text(encoding="utf-8")
    digests = {}
    for tag in ("script", "style"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests[tag] = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
    return page, PAGE_POLICY.format(**digests)
