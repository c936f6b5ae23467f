"""Middleware for every request: checks the Host header, limits size and time, sets response headers, counts metrics."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elektron.io.files import to_json

MAX_BODY = 4 << 20
"""Maximum size of a request body in bytes."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every response; the page has its own Content-Security-Policy."""


class JsonResponse(Response):
    """A response with a value as JSON."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return to_json(content).encode()


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Create the response `{"error": message}`."""
    return JsonResponse({"error": message}, status, headers)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        hosts: allowed values of the Host header; None for any. On a loopback address this prevents DNS rebinding: a
            web page cannot reach the server through a domain name of its own.
        timeout: seconds for a request.
        paths: paths with metrics of their own; all others count as `other`.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] | None, timeout: float, paths: Sequence[str]) -> None:
        self.app = app
        self.hosts = hosts
        self.timeout = timeout
        self.paths = paths
        self.requests: Counter[tuple[str, int]] = Counter()
        """Number of requests by path and status."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Total seconds of requests by path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        received, status = 0, 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413, TOO_LARGE)
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            async with asyncio.timeout(self.timeout):
                app = self._refused(Headers(scope=scope)) or self.app
                await app(scope, limited_receive, counted_send)
        except TimeoutError:
            if not status:
                message = f"no answer within {self.timeout:g} seconds: send fewer rows, or try later"
                app = error_response(503, message, {"Retry-After": "1"})
                await app(scope, receive, counted_send)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            # There is no status if the client has disconnected or the application has failed.
            self.requests[path, status or 499] += 1
            self.seconds[path] += time.perf_counter() - began

    def _refused(self, headers: Headers) -> Response | None:
        """The error response to a request with a wrong host or too large a body; None for any other."""
        host = re.sub(r":\d*$", "", headers.get("host", "").lower())
        if self.hosts is not None and host not in self.hosts:
            return error_response(
                421, f"this server only accepts the hosts {' and '.join(self.hosts)}: set the Host header"
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20 and int(length) > MAX_BODY:
            return error_response(413, TOO_LARGE, {"Connection": "close"})
        return None

    def metrics(self) -> list[str]:
        """Requests and seconds as lines of Prometheus' text format."""
        lines = ["# TYPE elektron_requests_total counter"]
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'elektron_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE elektron_request_seconds_total counter")
        for path, seconds in sorted(self.seconds.items()):
            lines.append(f'elektron_request_seconds_total{{path="{path}"}} {seconds:.6f}')
        return lines


TOO_LARGE = f"the body has more than {MAX_BODY:,} bytes: send fewer rows"
