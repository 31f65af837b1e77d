"""One of several processes of the service on a port: how its supervisor holds it, and what the process itself does."""

import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

import uvicorn

from service.config import settings
from service.errors import StartError

# A new interpreter: a forked one would share the supervisor's threads' locks and open files.
_SPAWN = multiprocessing.get_context("spawn")
_BEAT_S = 0.5
_STARTING, _READY, _FAILED = b"starting", b"ready", b"failed "
_LONGEST_WORD = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """What all workers have in common: the options that were chosen for their settings, how many they are, their socket
    and their folder.

    The settings themselves come from the environment, which a worker has from its supervisor: one of a newer version
    may have settings that its supervisor does not know.
    """

    chosen: Mapping[str, object]
    count: int
    bound: socket.socket
    folder: Path


class Worker:
    """The process of worker `number`, from 1, which starts at once; OSError if the system has no process left.

    It tells twice a second that it is there. `silent_s` is for how long it has not, as its supervisor counts;
    `is_ready` is whether it serves, `reason` why it cannot.
    """

    def __init__(self, number: int, place: Place) -> None:
        self.number = number
        self.began = monotonic()
        self.silent_s = 0.0
        self.is_ready = False
        self.reason = ""
        self._heard, told = _SPAWN.Pipe(duplex=False)
        self._process = _SPAWN.Process(target=_work, args=(number, place, told))
        try:
            self._process.start()
        finally:
            # The process has its own. While this one is open, its end would not be heard.
            told.close()

    @property
    def pid(self) -> int | None:
        """The id of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while the process runs."""
        return self._process.exitcode

    @property
    def sentinel(self) -> int:
        """A descriptor that is readable when the process has ended."""
        return self._process.sentinel

    def listen(self, passed_s: float) -> None:
        """Takes what it has told; it was silent for `passed_s` more seconds if it has told nothing."""
        self.silent_s += passed_s
        try:
            while self._heard.poll():
                word = self._heard.recv_bytes(_LONGEST_WORD)
                self.silent_s = 0.0
                self.is_ready = word == _READY
                if word.startswith(_FAILED):
                    self.reason = word.removeprefix(_FAILED).decode(errors="replace")
        except (EOFError, OSError):
            # It ends; the sentinel says when it has.
            return

    def terminate(self) -> None:
        """Asks it to stop."""
        self._process.terminate()

    def end(self, within_s: float = 0) -> None:
        """Returns when it has ended; kills it if it does not by itself."""
        self._process.join(max(within_s, 0))
        if self.exit_code is None:
            self._process.kill()
        self._process.join()
        self.listen(0)
        self._heard.close()


def _work(number: int, place: Place, told: Connection) -> None:
    # These are for the supervisor, even if a terminal sends them to everybody.
    for sent in (signal.SIGHUP, signal.SIGINT):
        signal.signal(sent, signal.SIG_IGN)
    pulse = _Pulse(told)
    threading.Thread(target=pulse.beat, daemon=True).start()
    # The supervisor, which imports this module too, does without all that these import.
    gc.disable()
    from service.serving import process
    from service.telemetry.log_lines import configure_logging
    from service.telemetry.siblings import Siblings

    try:
        chosen = settings.load(chosen=_options(place))
        configure_logging(chosen.log_format, chosen.log_level, chosen.secrets, number)
        siblings = Siblings(place.folder, number, place.count)
        process.run(chosen, place.bound, siblings=siblings, on_server=pulse.follow)
    except StartError as error:
        pulse.tell(_FAILED + str(error).encode()[: _LONGEST_WORD - len(_FAILED)])
        sys.exit(1)


def _options(place: Place) -> Mapping[str, object]:
    # A supervisor of version 0.1.0 sends its settings instead. Of the options, `--host` is the one that matters here.
    return place.chosen if isinstance(place.chosen, Mapping) else {"host": place.chosen.host}


class _Pulse:
    """Tells the supervisor twice a second that this process is there, unless its event loop is stuck."""

    def __init__(self, told: Connection) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._server: uvicorn.Server | None = None
        self._last_turn = 0.0

    def follow(self, server: uvicorn.Server) -> None:
        """From now on it is this server's event loop that has to turn."""
        self._server = server

    def beat(self) -> None:
        """Ends this process once its supervisor is gone: nobody else would, and the port would stay taken."""
        try:
            while True:
                if self.is_turning():
                    self.tell(_READY if self._server and self._server.started else _STARTING)
                self._pause.wait(_BEAT_S)
        except OSError:
            os.kill(os.getpid(), signal.SIGTERM)

    def is_turning(self) -> bool:
        """Whether the event loop has run since the last call; true before there is one."""
        before, self._last_turn = self._last_turn, getattr(self._server, "beat", self._last_turn)
        return self._server is None or self._last_turn != before

    def tell(self, word: bytes) -> None:
        """Sends a word; OSError if nobody hears it any more."""
        with self._lock:
            self._told.send_bytes(word)
