"""Several processes of the service on one port, and the supervisor that starts, replaces and ends them.

The workers share one listening socket. A new connection waits in it until one of them accepts it.
"""

import contextlib
import fcntl
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic

import structlog

from service.config.settings import Settings
from service.errors import StartError
from service.serving.port import url
from service.serving.worker import Place, Worker

# Seconds, all of them. How often the supervisor looks, unless something happens.
_ROUND_S = 0.5
# A place stays empty for so long after its worker died; twice as long each time one dies early.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# A worker that has run so long did not die of what ended the one before it.
_STEADY_S = 60.0
# A worker is stuck if it has told nothing for so long.
_STUCK_S = 30.0
# To start, beside the time that it may wait for the config database.
_START_S = 60.0
# To stop: a worker answers what it has accepted within ten seconds.
_STOP_S = 15.0


def run(settings: Settings, chosen: Mapping[str, object], bound: socket.socket) -> None:
    """Serves with `settings.workers` processes until SIGTERM or SIGINT, and closes the socket.

    `chosen` are the options that these settings were loaded with. SIGHUP replaces each worker by one that serves.
    Raises StartError if the first worker cannot start.
    """
    # Python would look for modules in the current folder first, in each process that it spawns.
    os.environ["PYTHONSAFEPATH"] = "1"
    with bound, _folder() as folder, _signals() as signals:
        supervisor = Supervisor(Place(chosen, settings.workers, bound, folder), signals, settings.start_wait_s)
        try:
            supervisor.run()
        finally:
            # Whatever failed: no worker stays behind.
            supervisor.stop()


class Supervisor:
    """The workers by their numbers. It waits neither for a worker to start nor for one to stop.

    Else the death of another, or SIGTERM, would go unnoticed meanwhile. `start_wait_s`: how long a worker may wait for
    the config database.
    """

    def __init__(self, place: Place, signals: socket.socket, start_wait_s: float) -> None:
        self._place = place
        self._longest_start = _START_S + start_wait_s
        self._signals = signals
        self._log = structlog.get_logger()
        self._workers: dict[int, Worker] = {}
        # When an empty place is filled again (monotonic seconds), and how long the last pause was.
        self._due: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        # The numbers whose worker is to be replaced, the replacement that starts, and those that stop, until when.
        self._outdated: list[int] = []
        self._successor: Worker | None = None
        self._retiring: dict[Worker, float] = {}
        self._has_served = False
        self._is_stopping = False

    def run(self) -> None:
        """Returns after SIGTERM or SIGINT."""
        # One, to begin with: if it cannot start, neither could the others, and one line says why.
        try:
            self._workers[1] = self._start(1)
        except OSError as error:
            raise StartError(f"ROSETTA_WORKERS: no process can be started: {error}") from None
        before = monotonic()
        while True:
            happened = wait([self._signals, *(worker.sentinel for worker in self._all())], _ROUND_S)
            # Before any death is judged: a signal to the whole group ends workers too.
            if self._signals in happened:
                self._hear()
            if self._is_stopping:
                return
            now = monotonic()
            # If this process was halted, so were the others, and cannot have told anything.
            passed_s, before = min(now - before, 2 * _ROUND_S), now
            for worker in self._all():
                worker.listen(passed_s)
            self._retire()
            self._bury()
            self._has_served = self._has_served or any(worker.is_ready for worker in self._workers.values())
            if self._has_served:
                self._fill()
                self._replace()

    def stop(self) -> None:
        """Returns when all workers have ended; kills those that take too long."""
        # While it is open here, clients could connect, and nobody would answer them.
        self._place.bound.close()
        for worker in self._all():
            worker.terminate()
        until = monotonic() + _STOP_S
        for worker in self._all():
            worker.end(until - monotonic())

    def _hear(self) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                self._log.info("replacing the workers", workers=len(self._workers))
                self._outdated = sorted(self._workers)
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._is_stopping = True

    def _all(self) -> list[Worker]:
        return [*self._workers.values(), *self._retiring, *([self._successor] if self._successor else [])]

    def _start(self, number: int) -> Worker:
        worker = Worker(number, self._place)
        self._log.info("worker started", worker=number, pid=worker.pid, url=url(self._place.bound))
        return worker

    def _is_lost(self, worker: Worker) -> bool:
        if worker.exit_code is not None:
            return True
        is_late = not worker.is_ready and monotonic() - worker.began > self._longest_start
        return is_late or worker.silent_s > _STUCK_S

    def _retire(self) -> None:
        for worker, until in list(self._retiring.items()):
            if worker.exit_code is not None or monotonic() > until:
                worker.end()
                del self._retiring[worker]

    def _bury(self) -> None:
        for number, worker in list(self._workers.items()):
            if not self._is_lost(worker):
                continue
            worker.end()
            del self._workers[number]
            if not self._has_served:
                raise StartError(worker.reason or f"the first worker ended before it served ({worker.exit_code})")
            is_steady = monotonic() - worker.began > _STEADY_S
            pause = self._pause(number, is_first=is_steady)
            self._log.error(
                "worker died", worker=number, pid=worker.pid, exit_code=worker.exit_code, reason=worker.reason,
                replaced_in_s=pause,
            )  # fmt: skip

    def _pause(self, number: int, *, is_first: bool) -> float:
        before = 0.0 if is_first else self._pauses.get(number, 0.0)
        pause = min(2 * before, _LONGEST_PAUSE_S) or _FIRST_PAUSE_S
        self._pauses[number], self._due[number] = pause, monotonic() + pause
        return pause

    def _fill(self) -> None:
        for number in range(1, self._place.count + 1):
            # Two of one number would take each other's place among their siblings.
            is_coming = self._successor is not None and self._successor.number == number
            if number in self._workers or is_coming or monotonic() < self._due.get(number, 0):
                continue
            try:
                self._workers[number] = self._start(number)
            except OSError as error:
                # No process or no descriptor is left; the others go on.
                pause = self._pause(number, is_first=False)
                self._log.error("no worker can be started", worker=number, reason=str(error), again_in_s=pause)

    def _replace(self) -> None:
        successor = self._successor
        if successor is None:
            if self._outdated:
                try:
                    self._successor = self._start(self._outdated.pop(0))
                except OSError as error:
                    self._keep(str(error))
        elif self._is_lost(successor):
            successor.end()
            self._successor = None
            self._keep(successor.reason or f"it ended with exit code {successor.exit_code}")
        elif successor.is_ready:
            if (old := self._workers.get(successor.number)) is not None:
                old.terminate()
                self._retiring[old] = monotonic() + _STOP_S
            self._workers[successor.number], self._successor = successor, None

    def _keep(self, reason: str) -> None:
        # What keeps one from starting (its settings, the config database) would keep the others too.
        self._outdated = []
        self._log.error("the workers stay: a new one cannot start", reason=reason)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for the workers' sockets, which only their user can open."""
    try:
        # systemd gives one with RuntimeDirectory=.
        made = tempfile.TemporaryDirectory(prefix="rosetta-", dir=os.environ.get("RUNTIME_DIRECTORY"))
    except OSError as error:
        raise StartError(f"ROSETTA_WORKERS: the workers' sockets need a folder ({error}): set TMPDIR") from None
    with made as path:
        # systemd-tmpfiles removes what is old, unless it is locked (tmpfiles.d(5)).
        held = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            yield Path(path)
        finally:
            os.close(held)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket with a byte for each signal that came: its number."""
    read, write = socket.socketpair()
    with read, write:
        write.setblocking(False)
        read.setblocking(False)
        before = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(before)
