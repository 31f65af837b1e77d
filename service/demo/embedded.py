"""A server as a child on 127.0.0.1: its port, whose rights it has, how it starts and ends.

Each is in a process group of its own, which the reaper watches.
"""

import itertools
import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from service.demo.reaper import Reaper

_START_S = 30.0
_UNPRIVILEGED = "nobody"
_ATTEMPTS = 5
_IN_USE = ("Address already in use", "could not bind")

# Below the ports that Linux gives to outgoing connections, which could take one between the check and the server.
_PORTS = range(20_000, 32_768)
_numbers = itertools.count(random.randrange(len(_PORTS)))
# Also one that a person asked for: its server may start last.
_given: set[int] = set()


class EmbeddedServerError(Exception):
    """A server did not start; the message holds the end of its log."""


def free_port(wanted: int = 0) -> int:
    """`wanted` if it is free on 127.0.0.1, else another free port; never the same twice."""
    others = (_PORTS[number % len(_PORTS)] for number in itertools.islice(_numbers, len(_PORTS)))
    for port in itertools.chain([wanted] if wanted else [], others):
        if port in _given and port != wanted:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise EmbeddedServerError("no free port on 127.0.0.1")


def spawn(reaper: Reaper, command: Sequence[str], log_path: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Starts a child in a process group of its own, which ends with this process; it logs to a file.

    `options` are further ones of subprocess.Popen.
    """
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
    reaper.watch(child.pid)
    return child


class Account:
    """Whose rights a server has: this user's, or those of nobody if this one is root, without any of root's groups."""

    def __init__(self) -> None:
        self._entry = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None

    @property
    def is_other(self) -> bool:
        """Whether it is another user."""
        return self._entry is not None

    @property
    def popen(self) -> dict[str, Any]:
        """Options of subprocess.Popen and run."""
        if self._entry is None:
            return {}
        return {"user": self._entry.pw_uid, "group": self._entry.pw_gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Makes a file or folder this account's."""
        if self._entry is not None:
            os.chown(path, self._entry.pw_uid, self._entry.pw_gid)


class EmbeddedServer:
    """A child process that serves on `port`."""

    def __init__(self, reaper: Reaper, name: str, port: int) -> None:
        self._reaper = reaper
        self.folder = reaper.folder / name
        self.port = free_port(port)
        self._process: subprocess.Popen[bytes] | None = None
        self._account = Account()
        self._has_a_port = False

    def start(self) -> None:
        """Starts it. EmbeddedServerError if it does not answer."""
        raise NotImplementedError

    def _start_somewhere(self, command: Callable[[], Sequence[str]], answers: Callable[[int], bool]) -> None:
        """Starts it on its port, or on another one if somebody else was faster. `answers` gets the process's id."""
        for _ in range(_ATTEMPTS):
            pid = self._spawn(command())
            deadline = time.monotonic() + _START_S
            while self.is_running and time.monotonic() < deadline:
                if answers(pid):
                    self._has_a_port = True
                    return
                time.sleep(0.02)
            # Clients know the port of one that has been up.
            if self.is_running or self._has_a_port or not any(words in self.log() for words in _IN_USE):
                break
            self._reaper.release(pid)
            self.port = free_port()
        raise EmbeddedServerError(f"{type(self).__name__} did not start:\n{self.log()}")

    def _spawn(self, command: Sequence[str]) -> int:
        log_path = self.folder / "server.log"
        self._process = spawn(self._reaper, command, log_path, cwd="/", **self._account.popen)
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """The end of what the server printed."""
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-10:])

    def pause(self) -> None:
        """Freezes the server: connections stay open, nothing answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a pause."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kills it, as in a crash."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(timeout=_START_S)
        self._reaper.release(self._process.pid)
        self._process = None
