"""OpenTelemetry traces: of a request, of what it asks Redis, the config database and sources.

Without ROSETTA_OTLP_ENDPOINT a span is nothing but a call. Spans carry names, never parameters: no password can be in
one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import trace

import service
from service.errors import StartError

# A collector that is away must not hold up the end of the process.
_END_S = 2
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
