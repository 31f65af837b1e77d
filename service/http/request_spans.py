"""A span for each request, if traces are exported: see telemetry.tracing."""

import re
from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send
from opentelemetry import trace

_UNWATCHED = "/health/,/metrics,/assets/"
# The only request headers that a span may contain.
_TOLD = {b"traceparent", b"tracestate", b"user-agent"}


def traced(app: ASGIApp) -> ASGIApp:
    """The application with a span for each request, as a child of the caller's span if there is one.

    The instrumentation sees a request without its query and most of its headers, and of an error only its type.
    """
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    async def inner(told: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            await app(told["rosetta.scope"], receive, send)
        except Exception as error:
            trace.get_current_span().set_status(trace.StatusCode.ERROR, type(error).__name__)
            told["rosetta.error"].append(error)

    # Its ASGI types differ from Litestar's.
    middleware: Any = OpenTelemetryMiddleware(
        cast("Any", inner), excluded_urls=_UNWATCHED, exclude_spans=["receive", "send"], default_span_details=_named
    )

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        errors: list[Exception] = []
        headers = [(name, value) for name, value in scope["headers"] if name in _TOLD and value.isascii()]
        facts = {"headers": headers, "query_string": b"", "rosetta.scope": scope, "rosetta.error": errors}
        await middleware({**scope, **facts}, receive, send)
        for error in errors:
            raise error

    return outer


def _named(scope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    # One name for all sources: people search traces by operation, not by source.
    return f"{scope.get('method', '')} {re.sub(r'/[0-9]+', '/{id}', scope['path'])}".strip(), {}
