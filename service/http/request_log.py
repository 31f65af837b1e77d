"""One log line and one id per request. Pages from the process cache are logged at level debug only."""

import logging
import random
import re
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LONGEST_PATH = 200
# An IPv6 address with a zone. A proxy may pass on any text.
_LONGEST_ADDRESS = 64


def request_id(given: bytes) -> bytes:
    """The caller's id if it is fit for a header and a log line, else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else b"%016x" % random.getrandbits(64)


def shown_path(scope: HTTPScope) -> str:
    """The path as log lines have it: its first 200 characters."""
    return scope["path"][:_LONGEST_PATH]


def shown_client(scope: HTTPScope) -> str:
    """The client's address, as a trusted proxy says if there is one; its first 64 characters."""
    client = scope.get("client")
    return client[0][:_LONGEST_ADDRESS] if client else "unknown"


def is_verbose() -> bool:
    """Whether the log includes level debug."""
    log: Any = structlog.get_logger().bind()
    return bool(log.is_enabled_for(logging.DEBUG))


def write(level: str, scope: HTTPScope, started: float, **facts: Any) -> None:
    """Logs a request that began at `started` (monotonic time)."""
    took_ms = round((monotonic() - started) * 1000, 3)
    log = structlog.get_logger()
    getattr(log, level)("request", method=scope["method"], path=shown_path(scope), took_ms=took_ms, **facts)


def log_requests(app: ASGIApp, count: Callable[[int], None]) -> ASGIApp:
    """Around `app`: the request's id is in the response and in every log line; `count` gets the status."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        own_id = request_id(next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")).decode()
        started = monotonic()
        facts: dict[str, Any] = {}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                headers["X-Request-ID"] = own_id
                facts.update(status=message["status"], cache=headers.get("cache-status"))
                count(message["status"])
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=own_id):
            try:
                await app(scope, receive, send_with_id)
            finally:
                write("info", scope, started, **facts)

    return logged
