"""`elektron serve`: loads a model, prints what it exposes, and answers requests until it receives a signal.

The model is a fine-tuned one, or the networks of a pre-training run, which find suspicious words.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from elektron.errors import ElektronError, first_line, requires_extra
from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.explain.importance import captum
from elektron.finetuning.config import DecodingConfig
from elektron.finetuning.predictor import Predictor
from elektron.finetuning.readers.records import Record
from elektron.finetuning.readers.roles import TEXTS, Layout
from elektron.finetuning.tasks.base import Prediction
from elektron.inference.config import DetectConfig
from elektron.inference.detect import load_detector
from elektron.inference.models import load_predictor
from elektron.models.onnx_model import exported_file
from elektron.models.pair import DISCRIMINATOR, network_of_run
from elektron.serve.config import ServeConfig
from elektron.terminal import echo

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
"""Maximum number of open connections; each may hold a request body in memory while it is read."""
IDLE_SECONDS = 65
"""Seconds after which an idle connection is closed. Clients (httpx 5) and proxies (60) close it earlier, so that
no request is sent on a connection that the server is closing."""


def serve(config: ServeConfig) -> None:
    """Answer requests until SIGINT or SIGTERM; those that have arrived are still answered.

    Raises:
        ElektronError: there is no such model, nothing can listen on host and port, or a package is missing.
    """
    with requires_extra("serve", "serve"):
        import uvicorn

        from elektron.serve.app import create_app
    with listen(config.host, config.port) as listening:
        served = load_model(config)
        address, port = listening.getsockname()[:2]
        loopback = ipaddress.ip_address(address).is_loopback
        host = f"[{address}]" if ":" in address else address
        app = create_app(served, config, [host, "localhost"] if loopback else None)
        # Warnings of the file readers quote the texts of requests, which must not be logged.
        logging.getLogger("elektron.finetuning").setLevel(logging.ERROR)
        echo(
            f"{Path(config.model).name}: {served.task}, on {served.device}\n"
            f"http://{host}:{port}/ is the page; POST rows to /predict, a csv to /predict/csv; "
            "GET /openapi.json, /model, /health, /metrics\n"
            f"At most {config.max_rows:,} rows a request, {config.max_characters:,} characters a text, "
            f"{config.max_queue:,} rows waiting, {config.timeout:g} seconds. No authentication, no TLS.\n"
            "Stop with Ctrl-C or SIGTERM; requests that have arrived are still answered."
        )
        if not loopback:
            log.warning(
                "%s is not a loopback address: everyone who reaches it can use the model. Put a proxy "
                "with TLS and authentication before it",
                host,
            )
        uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="on",
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=round(config.timeout) + 1,
            )
        ).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on host and port; raise ElektronError if that is not possible."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host such as `127.0.0..1`
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ElektronError(f"--host {host} --port {port}: cannot listen on this address ({reason})") from error
    # Accepted connections inherit TCP_NODELAY. asyncio sets it only on sockets created with proto=IPPROTO_TCP; without
    # it, a client waits 40 ms for the second packet of a response.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@dataclass(frozen=True)
class ServedModel:
    """A model, with what the application needs to know about it."""

    task: str
    layout: Layout
    """The roles of a row's fields."""
    predict: Callable[[Sequence[Record]], list[Prediction]]
    tokenizer: PreTrainedTokenizerBase
    device: str
    max_length: int
    """Maximum number of tokens that are read at once."""
    labels: list[str] | None = None
    explain: Callable[[Sequence[Record]], list[dict[str, Any]]] | None = None
    """Explains the predictions for records; None if the model cannot be explained."""


def load_model(config: ServeConfig) -> ServedModel:
    """Load the model to serve; that of a pre-training run finds suspicious words.

    Raises:
        ElektronError: there is no such model, or it has another task.
    """
    if network_of_run(config.model, DISCRIMINATOR):
        if config.task is not None or config.decoding != DecodingConfig():
            raise ElektronError(f"{config.model} is a pre-training run, to which --task and --decoding do not apply")
        settings = DetectConfig(model=config.model, batch_size=config.batch_size, precision=config.precision)
        detector = load_detector(settings)
        return ServedModel(
            "detection", TEXTS, detector.predict, detector.tokenizer, detector.accelerator.name, detector.max_tokens
        )
    predictor = load_predictor(config.model, config.task, config.decoding, config.batch_size, config.precision)
    task = predictor.task
    return ServedModel(
        task.name,
        task.files(),
        predictor.predict,
        predictor.tokenizer,
        predictor.accelerator.name,
        task.max_length,
        getattr(task, "labels", None),
        explanations_of(predictor, config),
    )


def explanations_of(
    predictor: Predictor, config: ServeConfig
) -> Callable[[Sequence[Record]], list[dict[str, Any]]] | None:
    """A function that explains records as `elektron explain` does; None if that is not possible."""
    if exported_file(config.model) is not None:  # exported models have no gradients
        return None
    try:
        captum()
        explainer = Explainer.of_finetuned(predictor, ExplainConfig(model=config.model, task=config.task))
    except ElektronError:
        return None

    def explain(records: Sequence[Record]) -> list[dict[str, Any]]:
        results = []
        for record in records:
            explanation = explainer.explain(record)
            reading = explanation.reading
            places = [[word.part, word.start, word.end] for word in reading.words]
            results.append(explanation.as_json() | {"parts": reading.parts, "places": places})
        return results

    return explain
