"""OpenTelemetry traces: of a request, of what it asks Redis, the config database and sources.

Without ROSETTA_OTLP_ENDPOINT a span is nothing but a call. Spans carry names, never parameters: no password can be in
one.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send
from opentelemetry import trace

import service
from service.errors import StartError

# A collector that is away must not hold up the end of the process.
_END_S = 2
_UNWATCHED = "/health/,/metrics,/assets/"
# All that a span is told of a request's headers.
_TOLD = {b"traceparent", b"tracestate", b"user-agent"}
_tracer = trace.get_tracer("rosetta", service.__version__)


@contextmanager
def span(name: str, **attributes: int | str) -> Iterator[None]:
    """A part of a request that is traced; what the service does by itself is none. Where it fails only the error's kind
    is told: a message may hold much.
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
    """Sends a share of the traces to an OTLP collector (HTTP); returns what ends that, within 2 s. StartError where the
    extra `tracing` is not installed.

    Who calls with a sampled `traceparent` (W3C Trace Context) is always followed.
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
        # It would send every batch that is queued, each with its own time; a daemon does not outlive the process.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_END_S)

    return end


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
