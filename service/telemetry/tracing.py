"""OpenTelemetry traces of requests, and of their calls to Redis, the config database and sources.

Without ROSETTA_OTLP_ENDPOINT a span costs only a function call. Spans carry names, never parameters: they cannot
contain a password.
"""

import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from opentelemetry import trace

import service
from service.errors import StartError

# ASGI: https://asgi.readthedocs.io/en/latest/specs/main.html
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_UNWATCHED = "/health/,/metrics,/assets/"
# The only request headers that a span may contain.
_HEADERS = {b"traceparent", b"tracestate", b"user-agent"}
# An unreachable collector must not delay the end of the process.
_END_S = 2
_tracer = trace.get_tracer("rosetta", service.__version__)


@contextmanager
def span(name: str, **attributes: int | str) -> Iterator[None]:
    """Traces a part of a request; background work is not traced. Of a failure only the error's type is recorded, since
    its message may contain anything.
    """
    if not trace.get_current_span().get_span_context().is_valid:
        yield
        return
    with _tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def start(endpoint: str, share: float) -> Callable[[], None]:
    """Sends a share of the traces to an OTLP collector (HTTP); returns a function that stops it within 2 s.
    StartError if the extra `tracing` is not installed.

    A request with a sampled `traceparent` (W3C Trace Context) is always traced.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError:
        raise StartError("ROSETTA_OTLP_ENDPOINT: pip install 'rosetta-source-details[tracing]' is needed") from None
    facts = {"service.name": "rosetta-source-details", "service.version": service.__version__}
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(share), resource=Resource.create(facts), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_END_S)))
    trace.set_tracer_provider(provider)

    def end() -> None:
        # It would send every queued batch, each with its own timeout; a daemon thread does not outlive the process.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_END_S)

    return end


def traced(app: ASGIApp) -> ASGIApp:
    """The application with a span for each request, as a child of the caller's span if there is one.

    The instrumentation sees a request without its query and most of its headers, and of an error only its type.
    """
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await app(scope["rosetta.scope"], receive, send)
        except Exception as error:
            trace.get_current_span().set_status(trace.StatusCode.ERROR, type(error).__name__)
            scope["rosetta.error"].append(error)

    middleware: Any = OpenTelemetryMiddleware(
        cast("Any", inner), excluded_urls=_UNWATCHED, exclude_spans=["receive", "send"], default_span_details=_named
    )

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        errors: list[Exception] = []
        headers = [(name, value) for name, value in scope["headers"] if name in _HEADERS and value.isascii()]
        facts = {"headers": headers, "query_string": b"", "rosetta.scope": scope, "rosetta.error": errors}
        await middleware({**scope, **facts}, receive, send)
        for error in errors:
            raise error

    return outer


def _named(scope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    # One name for all sources: people search traces by operation, not by source.
    return f"{scope.get('method', '')} {re.sub(r'/[0-9]+', '/{id}', scope['path'])}".strip(), {}
