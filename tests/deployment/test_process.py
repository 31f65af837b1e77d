"""The service in separate processes: two on one Redis, signals, failing starts, logs."""

import json
import signal
import socket
import threading
from time import monotonic

import httpx
import pytest
import redis as sync_redis

from service.http.protocol import _LINGER_S
from tests.fixtures.databases import Databases, Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import Process, StartProcess


def name_of(process: Process, source: int) -> str:
    """The name on a source's page."""
    response = process.client.get(f"/api/v1/sources/{source}/details")
    assert response.status_code == 200, response.text
    return str(response.json()["source"]["name"])


def test_two_processes_on_one_redis_agree(serve: StartProcess, config: Sql, redis: sync_redis.Redis) -> None:
    """A page that one computes serves both; a change by SQL and a DEL by hand reach both."""
    source = add_source(config)
    add_table(config, source)
    processes = [serve(), serve()]
    for process in processes:
        process.until_ready()
    first = processes[0].client.get(f"/api/v1/sources/{source}/details")
    second = processes[1].client.get(f"/api/v1/sources/{source}/details")
    assert first.content == second.content
    assert "hit" in second.headers["cache-status"]
    assert first.headers["etag"] == second.headers["etag"]
    for number in range(50):
        config.execute("UPDATE sources SET name = %s WHERE id = %s", (f"name {number}", source))
        for process in processes:
            # Within milliseconds: each process has its own listener.
            while name_of(process, source) != f"name {number}":
                continue
        # Once a process has served the new name it never serves the old one again.
        assert {name_of(process, source) for process in processes for _ in range(4)} == {f"name {number}"}
    redis.delete(f"source_details:{source}")
    assert [name_of(process, source) for process in processes] == ["name 49", "name 49"]


def test_sigterm_answers_what_was_accepted(serve: StartProcess, config: Sql) -> None:
    """Open requests get their pages at SIGTERM; then it exits with code 0."""
    source = add_source(config)
    add_table(config, source)
    process = serve()
    process.until_ready()
    with config.transaction():
        # Pages that must be computed wait for this lock.
        config.execute("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE")
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(process.client.get(f"/api/v1/sources/{source}")))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'sources'::regclass"
        while (config.execute(waiting).fetchone() or {})["n"] == 0:
            continue
        process.send(signal.SIGTERM)
    for thread in threads:
        thread.join(20)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert process.wait() == 0


@pytest.mark.alone
def test_sigterm_answers_what_idle_connections_were_about_to_send(serve: StartProcess) -> None:
    """The request is answered, and the client told to go; one that had begun to arrive is awaited for longer."""
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def answer_on(connection: socket.socket) -> bytes:
        answer = b""
        while not answer.endswith(b'{"status":"live"}'):
            chunk = connection.recv(65536)
            if not chunk:
                break
            answer += chunk
        return answer

    is_judged = False
    while not is_judged:
        process = serve()
        process.until_ready()
        idle, used, fresh, slow = (socket.create_connection((process.host, process.port), timeout=10) for _ in range(4))
        with idle, used, fresh, slow:
            for connection in (idle, used, slow):
                connection.sendall(request)
                answer_on(connection)
            slow.sendall(request[:20])
            began = monotonic()
            process.send(signal.SIGTERM)
            while True:
                try:
                    socket.create_connection((process.host, process.port), timeout=10).close()
                except (ConnectionRefusedError, ConnectionResetError):
                    break
            for connection in (used, fresh):
                connection.sendall(request)
            # A machine that stood still for so long was not about to send.
            is_judged = monotonic() - began < _LINGER_S
            if is_judged:
                assert all(b"connection: close" in answer_on(connection) for connection in (used, fresh))
                assert idle.recv(1) == b""
            slow.sendall(request[20:])
            assert answer_on(slow)
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ROSETTA_CONFIG_DSN": None}, "rosetta serve: ROSETTA_CONFIG_DSN: is not set"),
        ({"ROSETTA_CACHE_TTL_S": "soon"}, "rosetta serve: ROSETTA_CACHE_TTL_S: "),
        (
            {"ROSETTA_CONFIG_DSN": "postgresql://u:hidden-word@127.0.0.1:1/x"},
            "rosetta serve: ROSETTA_CONFIG_DSN: cannot reach the config database: ",
        ),
        (
            {"ROSETTA_LISTENER_DSN": "postgresql://u:hidden-word@127.0.0.1:1/x"},
            "rosetta serve: ROSETTA_LISTENER_DSN: cannot listen on the config database: ",
        ),
    ],
)
def test_start_that_cannot_be_says_why_in_one_line(
    serve: StartProcess, changes: dict[str, str | None], line: str
) -> None:
    """The line names the variable, and the exit code is 1."""
    process = serve(**changes)
    assert process.wait() == 1
    last = process.log.splitlines()[-1]
    assert last.startswith(line)
    assert "Traceback" not in process.log


def test_start_on_a_database_without_migrations_says_what_to_run(serve: StartProcess, databases: Databases) -> None:
    """It fails at the start, not later with an internal error."""
    process = serve(ROSETTA_CONFIG_DSN=databases.create())
    assert process.wait() == 1
    assert "run rosetta migrate first" in process.log


def test_start_before_a_migration_says_what_to_run(serve: StartProcess, config: Sql) -> None:
    """A balancer would take it for ready. What a process does without, for a time, does not keep it from starting."""
    config.execute("ALTER TABLE source_details_refresh_state DROP COLUMN epoch_xid CASCADE")
    process = serve()
    assert process.wait() == 1
    assert "run rosetta migrate first" in process.log
    config.execute("ALTER TABLE source_details_refresh_state ADD COLUMN epoch_xid xid8 NOT NULL DEFAULT '1'")
    config.execute("DROP MATERIALIZED VIEW source_details_tables")
    serve().until_ready()


def test_port_that_is_taken_is_named(serve: StartProcess) -> None:
    """Exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = serve(ROSETTA_PORT=str(taken.getsockname()[1]))
        assert process.wait() == 1
    assert process.log.splitlines()[-1].startswith("rosetta serve: ROSETTA_PORT: cannot listen on 127.0.0.1")


def test_log_is_one_json_object_per_event(serve: StartProcess, config: Sql) -> None:
    """A request's id is in the response and in the log; a caller may set it."""
    source = add_source(config)
    process = serve()
    process.until_ready()
    path = f"/api/v1/sources/{source}/details"
    given = process.client.get(path, headers={"X-Request-ID": "my-own.id_1"})
    assert given.headers["x-request-id"] == "my-own.id_1"
    odd = process.client.get(path, headers={"X-Request-ID": "not an id\tat all"})
    assert odd.headers["x-request-id"] != "not an id\tat all"
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    events = [json.loads(line) for line in process.log.splitlines()]
    requests = [event for event in events if event["event"] == "request" and event["path"] == path]
    assert [event["request_id"] for event in requests] == ["my-own.id_1", odd.headers["x-request-id"]]
    assert all(event["status"] == 200 and event["timestamp"] and event["took_ms"] > 0 for event in requests)
    assert {"CacheUp", "ListenerUp"} <= {event["event"] for event in events}


def test_log_for_people(serve: StartProcess) -> None:
    """Also one line per event, without escape sequences in a file."""
    process = serve(ROSETTA_LOG_FORMAT="console")
    process.until_ready()
    assert "ListenerUp" in process.log
    assert "\x1b" not in process.log


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/v1/sources/%00/details HTTP/1.1",
        b"GET /api/v1/sources/1/details?force_refresh=%ff%fe HTTP/1.1",
        b"GET /api/v1/sources/" + b"1" * 10_000 + b"/details HTTP/1.1",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1",
        b"HEAD /api/v1/sources HTTP/1.1",
    ],
)
def test_odd_requests_over_a_real_connection(serve: StartProcess, request_line: bytes) -> None:
    """Sends what the in-process client would clean up: never a 500, always a complete response."""
    process = serve()
    process.until_ready()
    with socket.create_connection((process.host, process.port), timeout=10) as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status == 200 if request_line.startswith(b"HEAD") else 400 <= status < 500
    if request_line.startswith(b"HEAD"):
        assert body == b""
    elif b"application/json" in head:
        assert "error" in json.loads(body)
