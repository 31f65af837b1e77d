"""What the supervisor of several workers does in what seldom happens: it runs in a thread, its workers as processes."""

import dataclasses
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from pydantic import SecretStr

from service.errors import StartError
from service.runtime import Runtime
from service.serving import worker as held
from service.serving import workers
from service.serving.port import bind
from service.serving.worker import Place, Worker
from service.serving.workers import Supervisor
from service.telemetry.siblings import Siblings
from tests.fixtures.databases import as_service
from tests.fixtures.metadata import KEY
from tests.fixtures.process import until
from tests.fixtures.runtime import settings

_PATIENCE_S = 60


class Supervised:
    """A supervisor that runs. Signals come as the bytes that Python would write."""

    def __init__(self, place: Place) -> None:
        self._signals, self._send = socket.socketpair()
        self._signals.setblocking(False)
        self.supervisor = Supervisor(place, self._signals, 60)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run()
        except StartError as error:
            self.error = error
        finally:
            self.supervisor.stop()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._send.send(bytes([number]))

    def pids(self) -> list[int | None]:
        """The processes of the workers that serve."""
        return [worker.pid for _, worker in sorted(self.supervisor._workers.items()) if worker.is_ready]

    def end(self) -> None:
        """Ends it."""
        self.send(signal.SIGTERM)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()
        for end in (self._signals, self._send):
            end.close()


@pytest.fixture
def place(config_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Two workers."""
    for name, value in {
        "ROSETTA_CONFIG_DSN": as_service(config_dsn),
        "ROSETTA_REDIS_URL": redis_url,
        "CREDENTIAL_ENCRYPTION_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, value)
    return Place({"workers": 2}, 2, bind("127.0.0.1", 0), tmp_path)


@pytest.fixture
def supervised(place: Place) -> Iterator[Supervised]:
    """Both serve."""
    started = Supervised(place)
    try:
        until(lambda: len(started.pids()) == 2)
        yield started
    finally:
        started.end()


def test_worker_that_hangs_is_replaced(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells nothing any more, whatever keeps it: here it is stopped."""
    monkeypatch.setattr(workers, "_STUCK_S", 2)
    first, second = supervised.pids()
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    until(lambda: len(supervised.pids()) == 2 and first not in supervised.pids())
    assert second in supervised.pids()


def test_system_without_processes_ends_no_service(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of a worker that died stays empty for a while, and the others go on; so it is when all are replaced."""
    first, second = supervised.pids()
    assert first is not None
    refused: list[int] = []

    def refuse(number: int, _place: Place) -> Worker:
        refused.append(number)
        raise OSError("Resource temporarily unavailable")

    with monkeypatch.context() as without:
        without.setattr(workers, "Worker", refuse)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(refused) == 2)
        supervised.send(signal.SIGHUP)
        until(lambda: 2 in refused)
        assert supervised.pids() == [second]
    until(lambda: len(supervised.pids()) == 2)
    assert supervised.pids()[1] == second


def test_worker_that_dies_while_its_successor_starts_is_replaced_once(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of one number would take each other's place among their siblings."""
    first, second = supervised.pids()
    assert first is not None
    started: list[int] = []

    def watched(number: int, where: Place) -> Worker:
        started.append(number)
        return Worker(number, where)

    monkeypatch.setattr(workers, "Worker", watched)
    monkeypatch.setattr(workers, "_FIRST_PAUSE_S", 0.0)
    supervised.send(signal.SIGHUP)
    until(lambda: started == [1])
    os.kill(first, signal.SIGKILL)
    until(lambda: len(supervised.pids()) == 2 and not {first, second} & set(supervised.pids()))
    assert started == [1, 2]


def test_worker_knows_settings_that_its_supervisor_does_not(
    place: Place, supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that SIGHUP starts may be newer: than a supervisor of version 0.1.0, which sends its settings, too."""
    first, second = supervised.pids()
    older = settings()
    vars(older).pop("most_streams")
    monkeypatch.setattr(supervised.supervisor, "_place", dataclasses.replace(place, chosen=cast("Any", older)))
    supervised.send(signal.SIGHUP)
    until(lambda: len(supervised.pids()) == 2 and not {first, second} & set(supervised.pids()))


def test_signal_during_the_first_start_ends_it(place: Place) -> None:
    """At once and without an error, also if it reaches the worker first."""
    started = Supervised(place)
    until(lambda: 1 in started.supervisor._workers)
    process = started.supervisor._workers[1]
    started.send(signal.SIGTERM)
    process.terminate()
    started.end()
    assert started.error is None
    assert not process.is_ready


def test_worker_whose_loop_is_stuck_tells_nothing() -> None:
    """Its thread goes on, and would tell otherwise."""
    heard, told = held._SPAWN.Pipe(duplex=False)
    with heard, told:
        pulse = held._Pulse(told)
        assert pulse.is_turning()
        server: Any = uvicorn.Server(uvicorn.Config(""))
        pulse.follow(server)
        for beat, is_turning in ((1.0, True), (1.0, False), (2.0, True)):
            server.beat = beat
            assert pulse.is_turning() is is_turning


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


async def test_worker_takes_the_place_of_the_one_before_it_last(
    config_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """One that dies as it starts would leave a socket that nobody answers: the old one would be reported dead."""
    chosen = settings(config_dsn=SecretStr(as_service(config_dsn)), redis_url=SecretStr(redis_url))
    runtime = Runtime(chosen, siblings=Siblings(tmp_path, 1, 2))
    try:
        await runtime.start()
        assert names(tmp_path) == []
        await runtime.reports.open()
        assert names(tmp_path) == ["1"]
    finally:
        await runtime.stop()
