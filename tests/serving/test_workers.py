"""`rosetta serve --workers`: one port, one health report, one /metrics; workers that die, stop and are replaced."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import Process, StartProcess, logged, pid_of, until, until_logged

_PATIENCE_S = 60


def until_ended(pid: int, process: Process) -> None:
    """Returns when there is no such process, or it has ended and nobody has asked how."""

    def is_gone() -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    until(is_gone, lambda: process.log)


def accepts(process: Process) -> bool:
    """Whether the port takes a connection."""
    try:
        socket.create_connection((process.host, process.port), timeout=10).close()
    except ConnectionError:
        return False
    return True


@pytest.fixture
def process(serve: StartProcess, tmp_path: Path) -> Iterator[Process]:
    """Two workers that serve, started in a folder with modules of somebody else, which they do not run."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("socket", "secrets", "asyncio", "psycopg"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('somebody else is running')\n")
    started = serve(ROSETTA_WORKERS="2", preexec=lambda: os.chdir(elsewhere))
    started.until_ready()
    until_logged(started, "serving", 2)
    yield started
    pids = [int(line["pid"]) for line in logged(started, "worker started")]
    started.end()
    for pid in pids:
        until_ended(pid, started)


def report(process: Process) -> dict[str, Any]:
    """The health report."""
    told: dict[str, Any] = process.client.get("/health/ready").json()
    return told


def test_whichever_is_asked_tells_of_all(process: Process, config: Sql) -> None:
    """Health and metrics have each worker, with one question; each of their log lines too."""
    assert report(process)["workers"] == {"1": "ready", "2": "ready"}
    source = add_source(config)
    for _ in range(20):
        # A connection of its own, which either may accept.
        httpx.get(f"{process.url}/api/v1/sources/{source}/details").raise_for_status()
    for accept in ("text/plain", "application/openmetrics-text"):
        told = process.client.get("/metrics", headers={"accept": accept})
        assert accept in told.headers["content-type"]
        for number in ("1", "2"):
            assert f'rosetta_listener_up{{worker="{number}"}} 1.0' in told.text
            assert f'rosetta_worker_up{{worker="{number}"}} 1.0' in told.text
        # Each family is described once.
        assert told.text.count("# TYPE rosetta_listener_up ") == 1
        served = [line for line in told.text.splitlines() if line.startswith("rosetta_pages_total{")]
        assert sum(float(line.rpartition(" ")[2]) for line in served) == 20
    assert {line["worker"] for line in logged(process, "ListenerUp")} == {1, 2}


def test_worker_that_dies_is_replaced(process: Process, config: Sql) -> None:
    """The other one goes on, and says that it is alone; each early death makes the next pause longer."""
    source = add_source(config)
    add_table(config, source)
    for deaths, pause in ((1, 0.5), (2, 1.0)):
        os.kill(pid_of(process, 2), signal.SIGKILL)
        (*_, died) = until_logged(process, "worker died", deaths)
        assert (died["worker"], died["exit_code"], died["replaced_in_s"]) == (2, -signal.SIGKILL, pause)
        state = httpx.get(f"{process.url}/health/ready", timeout=10)
        assert state.status_code == 200
        # It takes longer to start than to ask.
        assert (state.json()["status"], state.json()["workers"]["2"]) == ("degraded", "down")
        assert any(why.startswith("worker 2: does not answer") for why in state.json()["degraded"])
        assert 'rosetta_worker_up{worker="2"} 0.0' in httpx.get(f"{process.url}/metrics", timeout=10).text
        until_logged(process, "serving", 2 + deaths)
        assert report(process)["workers"]["2"] == "ready"


def test_sighup_replaces_all_and_loses_no_request(process: Process, config: Sql) -> None:
    """Clients that reuse their connections, and ones that do not, get an answer to every request meanwhile."""
    source = add_source(config)
    add_table(config, source)
    before = {pid_of(process, 1), pid_of(process, 2)}
    is_over = threading.Event()
    statuses: list[int | str] = []

    def read(is_kept: bool) -> None:
        # No retries: httpx makes none.
        client = httpx.Client(base_url=process.url)
        while not is_over.is_set():
            try:
                statuses.append(client.get(f"/api/v1/sources/{source}/details").status_code)
            except httpx.TransportError as error:
                statuses.append(repr(error))
            if not is_kept:
                client.close()
                client = httpx.Client(base_url=process.url)
        client.close()

    threads = [threading.Thread(target=read, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        process.send(signal.SIGHUP)
        until_logged(process, "serving", 4)
        for pid in before:
            until_ended(pid, process)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
    assert set(statuses) == {200}
    assert "down" not in report(process)["workers"].values()


def test_sigterm_ends_all(process: Process, config: Sql) -> None:
    """What they have accepted is answered, nothing else is accepted, and the fixture finds no process."""
    source = add_source(config)
    clients = [httpx.Client(base_url=process.url, timeout=30) for _ in range(8)]
    for client in clients:
        client.get("/health/live").raise_for_status()
    with config.transaction():
        # Pages that must be computed wait for this lock.
        config.execute("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE")
        answers: list[httpx.Response] = []
        path = f"/api/v1/sources/{source}"
        threads = [
            threading.Thread(target=lambda client: answers.append(client.get(path)), args=(client,))
            for client in clients
        ]
        for thread in threads:
            thread.start()
        waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'sources'::regclass"
        until(lambda: (config.execute(waiting).fetchone() or {})["n"] > 0, lambda: process.log)
        process.send(signal.SIGTERM)

        # No new connection is accepted, and then left alone: the supervisor has closed the socket too.
        until(lambda: not accepts(process), lambda: process.log)
    for thread in threads:
        thread.join(_PATIENCE_S)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert process.wait() == 0


def test_workers_end_when_their_supervisor_was_killed(process: Process) -> None:
    """Else the port would stay taken. The fixture waits for their end."""
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"ROSETTA_CONFIG_DSN": "postgresql://u:hidden-word@127.0.0.1:1/x"},
            "rosetta serve: ROSETTA_CONFIG_DSN: cannot reach the config database: ",
        ),
        ({"ROSETTA_WORKERS": "0"}, "rosetta serve: ROSETTA_WORKERS: "),
        ({"ROSETTA_WORKERS": "many"}, "rosetta serve: ROSETTA_WORKERS: "),
    ],
)
def test_start_that_cannot_be_says_why_in_one_line(serve: StartProcess, changes: dict[str, str], line: str) -> None:
    """Once, not once for each worker; and the exit code is 1."""
    process = serve(**({"ROSETTA_WORKERS": "3"} | changes))
    assert process.wait() == 1
    said = [text for text in process.log.splitlines() if not text.startswith("{")]
    assert len(said) == 1
    assert said[0].startswith(line)


def test_workers_stay_if_a_new_one_cannot_start(process: Process, config: Sql) -> None:
    """A SIGHUP while the database takes no new connections does not end a service that runs."""
    before = [pid_of(process, number) for number in (1, 2)]
    name = config.info.dbname
    config.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    process.send(signal.SIGHUP)
    (stays,) = until_logged(process, "the workers stay: a new one cannot start", 1)
    assert "ROSETTA_CONFIG_DSN" in stays["reason"]
    config.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
    assert process.client.get("/health/live").status_code == 200
    assert "down" not in report(process)["workers"].values()
    process.send(signal.SIGHUP)
    for pid in before:
        until_ended(pid, process)
