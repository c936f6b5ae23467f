"""`elektron serve`: load a model, say what is exposed, and answer requests until a signal ends it."""

from __future__ import annotations

import ipaddress
import logging
import socket
from pathlib import Path

from elektron.errors import ElektronError, requires_extra
from elektron.serve.config import ServeConfig
from elektron.serve.model import load_model
from elektron.terminal import echo

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
"""Each may hold a body in memory while it is read."""
IDLE_SECONDS = 5
"""After which a connection without a request is closed."""


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
        # The readers' notes quote the texts of requests.
        logging.getLogger("elektron.finetuning").setLevel(logging.ERROR)
        echo(
            f"{Path(config.model).name}: {served.task}, on {served.device}\n"
            f"http://{host}:{port}/ is the page; POST rows to /predict, a csv to /predict/csv; "
            "GET /openapi.json, /model, /health, /metrics\n"
            f"At most {config.max_rows:,} rows a request, {config.max_characters:,} characters a text, "
            f"{config.max_queue:,} rows waiting, {config.timeout:g} seconds. No authentication, no TLS.\n"
            "Ctrl-C or SIGTERM answers what has arrived and ends."
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
    """A socket that listens on host and port. Raises ElektronError if there is none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise ElektronError(f"--host {host} --port {port}: nothing can listen there ({error.strerror})") from error
