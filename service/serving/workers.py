"""Several processes of the service on one port, supervised: uvicorn's supervisor, with workers that start as ours do.

The workers share one listening socket: a connection that nobody has accepted waits for whoever comes next.
"""

import socket
import tempfile
from pathlib import Path
from time import monotonic

import structlog
import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from service.config.settings import Settings
from service.errors import StartError
from service.serving.port import url
from service.serving.worker import Worker

# Seconds. A place stays empty for so long after its worker died; twice as long each time it dies early.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# A worker that has run so long did not die of what ended the one before it.
_STEADY_S = 60.0
# To start, beside the time that it may wait for the config database.
_START_S = 30.0
# To stop: a worker answers what it has accepted within ten seconds.
_STOP_S = 15.0


def run(settings: Settings, bound: socket.socket) -> None:
    """Serves with `settings.workers` processes until SIGTERM or SIGINT, and closes the socket.

    SIGHUP replaces each worker by one that has started. Raises StartError if the first worker cannot start.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="rosetta-")
    except OSError as error:
        raise StartError(f"ROSETTA_WORKERS: the workers' sockets need a folder ({error}): set TMPDIR") from None
    with folder as path, bound:
        Workers(settings, bound, Path(path)).run()


class Workers(Multiprocess):
    """The workers by their places. uvicorn's loop calls `handle_signals` and `keep_subprocess_alive` twice a second.

    Neither waits for a worker to start or to stop: meanwhile another may die, or SIGTERM may come.
    """

    def __init__(self, settings: Settings, bound: socket.socket, folder: Path) -> None:
        super().__init__(uvicorn.Config("", workers=settings.workers, log_config=None), [bound])
        self._settings = settings
        self._folder = folder
        self._workers: dict[int, Worker] = {}
        self._log = structlog.get_logger()
        # When a place is filled again (monotonic seconds), and how long the pause before was.
        self._due: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        # Places whose worker is to be replaced, the replacement that starts, and those that stop, until when.
        self._outdated: list[int] = []
        self._successor: Worker | None = None
        self._retiring: dict[Worker, float] = {}
        self._has_served = False

    def run(self) -> None:
        """Returns when a signal has ended all workers; raises StartError if none could start."""
        try:
            super().run()
        finally:
            # Whatever failed here: no worker stays behind.
            self.terminate_all()
            self.join_all()

    def init_processes(self) -> None:
        """Starts one worker. If it cannot start, neither could the others, and one line says why."""
        self._workers[1] = self._start(1)

    def keep_subprocess_alive(self) -> None:
        """Fills the places of workers that died, and goes on with replacing."""
        if self.should_exit.is_set():
            return
        for worker in [each for each in self._retiring if each.exitcode is not None]:
            del self._retiring[worker]
        for worker in [each for each, until in self._retiring.items() if monotonic() > until]:
            worker.end(0)
        for number, worker in list(self._workers.items()):
            if worker.has_ended():
                self._bury(number, worker)
        if not self._has_served:
            self._has_served = 1 in self._workers and self._workers[1].is_ready()
            return
        for number in range(1, self.processes_num + 1):
            if number not in self._workers and monotonic() >= self._due.get(number, 0):
                self._workers[number] = self._start(number)
        self._replace()

    def handle_hup(self) -> None:
        """Replaces every worker, one after the other."""
        self._log.info("replacing the workers", workers=len(self._workers))
        self._outdated = sorted(self._workers)

    # uvicorn's would start or stop a process of its own kind.

    def handle_ttin(self) -> None:
        """Nothing: the number of workers is a setting."""

    def handle_ttou(self) -> None:
        """Nothing: the number of workers is a setting."""

    def terminate_all(self) -> None:
        """Asks every worker to stop."""
        for worker in self._all():
            worker.terminate()

    def join_all(self) -> None:
        """Returns when all have stopped; kills those that take too long."""
        until = monotonic() + _STOP_S
        for worker in self._all():
            worker.end(until - monotonic())

    def _all(self) -> list[Worker]:
        return [*self._workers.values(), *self._retiring, *([self._successor] if self._successor else [])]

    def _start(self, number: int) -> Worker:
        worker = Worker(number, self._settings, self._folder, self.config, self.sockets)
        worker.start()
        self._log.info("worker started", worker=number, pid=worker.pid, url=url(self.sockets[0]))
        return worker

    def _bury(self, number: int, worker: Worker) -> None:
        del self._workers[number]
        reason = worker.pop_reason()
        if not self._has_served:
            raise StartError(reason or f"the first worker ended before it served (exit code {worker.exitcode})")
        is_steady = monotonic() - worker.began > _STEADY_S
        pause = _FIRST_PAUSE_S if is_steady else min(2 * self._pauses.get(number, _FIRST_PAUSE_S / 2), _LONGEST_PAUSE_S)
        self._pauses[number] = pause
        self._due[number] = monotonic() + pause
        self._log.error(
            "worker died", worker=number, pid=worker.pid, exit_code=worker.exitcode, reason=reason, replaced_in_s=pause
        )

    def _replace(self) -> None:
        successor = self._successor
        if successor is None:
            if self._outdated:
                self._successor = self._start(self._outdated.pop(0))
            return
        is_late = monotonic() - successor.began > _START_S + self._settings.start_wait_s
        if successor.has_ended() or (is_late and not successor.is_ready()):
            # What keeps it from starting (its settings, the config database) would end the others' places as well.
            if successor.exitcode is None:
                successor.end(0)
            self._log.error(
                "the workers stay: a new one cannot start", worker=successor.number, exit_code=successor.exitcode,
                reason=successor.pop_reason(),
            )  # fmt: skip
            self._successor, self._outdated = None, []
        elif successor.is_ready():
            number = successor.number
            if (old := self._workers.get(number)) is not None:
                old.terminate()
                self._retiring[old] = monotonic() + _STOP_S
            self._workers[number], self._successor = successor, None
