"""Traces as a collector receives them: over OTLP, from a separate process."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from time import monotonic

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import StartProcess
from tests.fixtures.secrets import Walker

pytestmark = pytest.mark.operations

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """The spans that arrived over HTTP at `url`."""

    def __init__(self, walker: Walker) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.bodies: list[bytes] = []
        self._changed = threading.Condition()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                walker.look("traces", body.decode("latin-1"))
                collector.bodies.append(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Logs nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keeps the spans of a request."""
        with self._changed:
            for resource in request.resource_spans:
                facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
                self.services.add(facts["service.name"])
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def until(self, name: str, count: int = 1) -> list[Span]:
        """Waits for `count` spans of that name, and returns them."""

        def found() -> list[Span]:
            return [span for span in self.spans if span.name == name]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, 20), [span.name for span in self.spans]
            return found()


@pytest.fixture
def collector(no_leaks: Walker) -> Iterator[Collector]:
    """A running collector."""
    made = Collector(no_leaks)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.usefixtures("published")
def test_a_request_is_one_trace_down_to_its_source(
    serve: StartProcess, config: Sql, shop_dsn: str, collector: Collector
) -> None:
    """Below the caller's span; a page from the process cache has a span too, with no spans below it."""
    source = add_source(config, shop_dsn)
    add_table(config, source)
    process = serve(ROSETTA_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50")
    process.until_ready()
    path = f"/api/v1/sources/{source}/details"
    answers: list[httpx.Response] = []
    while not answers or "detail=memory" not in answers[-1].headers["cache-status"]:
        answers.append(process.client.get(path, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}))
    process.client.get(f"{path}?force_refresh=true").raise_for_status()
    spans = collector.until("GET /api/v1/sources/{id}/details", len(answers) + 1)
    miss, *_, hit, forced = sorted(spans, key=lambda span: span.start_time_unix_nano)
    assert (miss.trace_id.hex(), miss.parent_span_id.hex()) == (TRACE, PARENT)
    assert (hit.trace_id.hex(), forced.trace_id.hex() == TRACE) == (TRACE, False)
    collector.until("sql record_sync")
    below = {
        root.span_id: [span.name for span in collector.spans if span.parent_span_id == root.span_id]
        for root in (miss, hit, forced)
    }
    assert sorted(below[miss.span_id]) == ["redis claim", "redis store", "source", "sql details"]
    assert below[hit.span_id] == []
    assert {"source", "sql record_sync", "sql details"} <= set(below[forced.span_id])
    assert collector.services == {"rosetta-source-details"}


def test_only_requests_are_traced_and_nothing_that_they_ask_for(
    serve: StartProcess, config: Sql, collector: Collector
) -> None:
    """No probe, no background work, no query and no header, even if a request is malformed."""
    source = add_source(config)
    process = serve(
        ROSETTA_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50", ROSETTA_SYNC_INTERVAL_S="300",
        ROSETTA_POLL_INTERVAL_S="0.1", ROSETTA_WAL_INTERVAL_S="1",
    )  # fmt: skip
    process.until_ready()
    process.client.get("/health/ready").raise_for_status()
    odd = {b"User-Agent": b"\xff\\x", b"traceparent": b"\xff\\x", b"Authorization": b"Bearer pst-secret"}
    process.client.get("/?search=psst-secret", headers=odd).raise_for_status()
    process.client.get(f"/api/v1/sources/{source}/details").raise_for_status()
    collector.until("GET /")
    collector.until("redis store")
    process.end()
    roots = {span.name for span in collector.spans if not span.parent_span_id}
    assert roots == {"GET /", "GET /api/v1/sources/{id}/details"}
    assert not any(b"secret" in body for body in collector.bodies)
    assert "Traceback" not in process.log


def test_what_fails_says_no_more_than_its_kind(serve: StartProcess, config: Sql, collector: Collector) -> None:
    """A source that refuses the connection."""
    source = add_source(config)
    process = serve(ROSETTA_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50")
    process.until_ready()
    process.client.get(f"/api/v1/sources/{source}/details").raise_for_status()
    (failed,) = collector.until("source")
    assert (failed.status.code, failed.status.message) == (2, "OperationalError")
    assert list(failed.events) == []


@pytest.mark.alone
@pytest.mark.parametrize("is_refusing", [True, False])
def test_collector_that_is_away_holds_up_nothing(
    serve: StartProcess, config: Sql, tell: Callable[[str], None], *, is_refusing: bool
) -> None:
    """Neither a page nor the end of the process, even if it accepts everything and answers nothing."""
    source = add_source(config)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = 1 if is_refusing else silent.getsockname()[1]
        process = serve(ROSETTA_OTLP_ENDPOINT=f"http://127.0.0.1:{port}/v1/traces", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1")
        process.until_ready()
        for _ in range(30):
            process.client.get(f"/api/v1/sources/{source}/details").raise_for_status()
        started = monotonic()
        process.end()
        took_ms = (monotonic() - started) * 1000
    tell(f"end of a process whose collector {'refuses' if is_refusing else 'is silent'}: {took_ms:,.0f} ms")
    assert took_ms < 6000
    assert "Traceback" not in process.log


def test_no_more_than_a_share_is_traced(serve: StartProcess, config: Sql, collector: Collector) -> None:
    """Of requests without a sampled traceparent."""
    source = add_source(config)
    process = serve(ROSETTA_OTLP_ENDPOINT=collector.url, ROSETTA_TRACE_SHARE="0", OTEL_BSP_SCHEDULE_DELAY="50")
    process.until_ready()
    path = f"/api/v1/sources/{source}/details"
    process.client.get(path)
    process.client.get(path, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    collector.until("GET /api/v1/sources/{id}/details")
    process.end()
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
