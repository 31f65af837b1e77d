"""A span for each request, where traces are sent: see telemetry.tracing."""

import re
from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send
from opentelemetry import trace

_UNWATCHED = "/health/,/metrics,/assets/"
# All that a span is told of a request's headers.
_TOLD = {b"traceparent", b"tracestate", b"user-agent"}


def traced(app: ASGIApp) -> ASGIApp:
    """The application with a span for each request, under the caller's own where it names one.

    The span's own side sees a request without its query and most of its headers, and no error but its kind.
    """
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    async def inner(told: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            await app(told["rosetta.scope"], receive, send)
        except Exception as error:
            trace.get_current_span().set_status(trace.StatusCode.ERROR, type(error).__name__)
            told["rosetta.error"].append(error)

    # Its types of ASGI are other ones than Litestar's.
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
    # One name for all sources: a trace is looked for by what was asked, not for whom.
    return f"{scope.get('method', '')} {re.sub(r'/[0-9]+', '/{id}', scope['path'])}".strip(), {}
