"""Clients that send or read without end are limited in size and in time."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import Process, StartProcess

pytestmark = pytest.mark.operations


@contextmanager
def connected(process: Process) -> Iterator[socket.socket]:
    """A raw connection."""
    with socket.create_connection((process.host, process.port), timeout=60) as client:
        yield client


def said(client: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    heard = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65536):
            heard += data
    return heard


def refusal(answer: bytes) -> tuple[int, str]:
    """The status, and the error's kind in the JSON."""
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.fixture
def process(serve: StartProcess) -> Process:
    """A service that gives a client one second, and closes an idle connection after two."""
    made = serve(ROSETTA_REQUEST_TIMEOUT_S="1", ROSETTA_KEEP_ALIVE_S="2")
    made.until_ready()
    return made


@pytest.mark.parametrize(
    ("request_head", "status", "error"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 600_000, 431, "RequestHeaderFieldsTooLarge"),
        (b"GET /" + b"x" * 600_000, 414, "Request-URITooLong"),
        (b"GET /" + b"x" * 1024 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "Request-URITooLong"),
        (b"GET /?search=" + b"x" * 2042 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "Request-URITooLong"),
        (b"GET /?" + b"a&" * 20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "Request-URITooLong"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n", 413, "RequestEntityTooLarge"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 400, "BadRequest"),
        (b"no request at all\r\n\r\n", 400, "BadRequest"),
    ],
    ids=["header", "endless path", "path", "query", "parameters", "body", "length", "nonsense"],
)
def test_what_is_too_large_is_refused(process: Process, request_head: bytes, status: int, error: str) -> None:
    """In JSON, and the connection is closed."""
    with connected(process) as client:
        with suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(request_head)
        found_status, found = refusal(said(client))
    assert found_status == status
    assert found == error
    assert process.client.get("/health/live").status_code == 200


@pytest.mark.parametrize("begin", [b"", b"GET /api/v1/sour", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_who_never_ends_a_request_is_not_waited_for(process: Process, begin: bytes) -> None:
    """Whether the first byte or the last one never comes."""
    with connected(process) as client:
        client.sendall(begin)
        assert refusal(said(client))[0] == 408


def test_second_request_of_a_connection_is_bounded_as_well(process: Process) -> None:
    """The keep-alive timer stops at its first byte."""
    with connected(process) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /health")
        assert refusal(said(client))[0] == 408


def test_request_that_begins_before_the_last_one_is_answered_is_bounded(process: Process, config: Sql) -> None:
    """Its first bytes come together with the request before it."""
    source = add_source(config)
    with connected(process) as client:
        client.sendall(b"GET /api/v1/sources/%d/details HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health" % source)
        answers = said(client)
        assert answers.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 408" in answers


def test_requests_ahead_of_their_answers_are_bounded(process: Process) -> None:
    """Some are answered in their order; thousands in one packet would wait in memory, and end the connection."""
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(process) as client:
        client.sendall(request * 50)
        assert said(client).count(b"HTTP/1.1 200") == 50
    with connected(process) as client:
        with suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(request * 5000)
        assert said(client).count(b"HTTP/1.1 200") < 1000
    assert process.client.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("whole", "more"),
    [
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1", b"2"),
    ],
    ids=["line", "body"],
)
def test_bytes_that_are_no_request_keep_no_connection(process: Process, whole: bytes, more: bytes) -> None:
    """uvicorn's own timer for idle connections stops at the first of them."""
    with connected(process) as client:
        client.sendall(whole)
        assert client.recv(65536).startswith(b"HTTP/1.1 ")
        client.sendall(more)
        said(client)
    assert "client too slow" in process.log


def test_trailers_without_an_end_are_refused(process: Process) -> None:
    """Trailers are headers that come after the body."""
    with connected(process) as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        trailers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 50_000) for number in range(1000))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(trailers)


@pytest.mark.parametrize("more", [b"", b"GET /health"], ids=["nothing", "another"])
def test_who_does_not_read_is_let_go(process: Process, config: Sql, more: bytes) -> None:
    """A page that the client does not take does not stay in memory."""
    source = add_source(config)
    for number in range(300):
        add_table(config, source, f"table_{number}", columns=100)
    with connected(process) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        request = b"GET /api/v1/sources/%d/details HTTP/1.1\r\nHost: localhost\r\n\r\n" % source
        client.sendall(request + more)
        while "client too slow" not in process.log:
            assert process.client.get("/health/live").status_code == 200
        # The bytes that the kernel had already taken arrive; then the connection ends, in the middle of the page.
        length = re.search(rb"content-length: (\d+)", answer := said(client))
        assert length is not None
        assert len(answer) < int(length[1])


def test_live_stream_has_no_end(process: Process, config: Sql) -> None:
    """It stays open for longer than any request may take."""
    source = add_source(config)
    with connected(process) as client, connected(process) as idle:
        client.sendall(b"GET /api/v1/sources/%d/events HTTP/1.1\r\nHost: localhost\r\n\r\n" % source)
        assert b"event: hello" in client.recv(65536) + client.recv(65536)
        # That is how long a request may take: the idle connection was closed for it.
        assert refusal(said(idle))[0] == 408
        config.execute("UPDATE sources SET name = name || '+'")
        assert b"event: " in client.recv(65536)


def test_slow_line_may_take_as_long_as_it_moves(process: Process, config: Sql) -> None:
    """The whole page arrives, over several times the time limit of a client that stands still."""
    source = add_source(config)
    add_table(config, source, "table", columns=100)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name, schema_table) "
        "SELECT source_id, table_name || n, schema_table FROM table_metadata_list, generate_series(1, 1500) AS n"
    )
    path = f"/api/v1/sources/{source}/details"
    status = ""
    while "detail=memory" not in status:
        # To compute such a page may take longer than the limit; a later request finds it in memory.
        with suppress(httpx.TransportError):
            status = process.client.get(path).headers["cache-status"]
    with connected(process) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert said(client).endswith(b"}}")


def test_idle_connection_stays_open_as_long_as_the_setting_says(serve: StartProcess) -> None:
    """A balancer in front must be the first to close one."""
    process = serve(ROSETTA_KEEP_ALIVE_S="1")
    process.until_ready()
    with connected(process) as client:
        client.settimeout(20)
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = said(client)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'{"status":"live"}')
