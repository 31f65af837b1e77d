"""One of several processes of the service on a port, as its supervisor holds it."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from time import monotonic

import uvicorn
from uvicorn.supervisors.multiprocess import Process

from service.config.settings import Settings
from service.errors import StartError

# Seconds. A worker is hung if its event loop has not run for so long.
_HUNG_S = 30.0
# How long its supervisor waits for an answer; a thread gives it, however busy the loop is.
_PING_S = 5.0


class Worker(Process):
    """The process in the place `number`, from 1. `began` is when it was made (monotonic seconds)."""

    def __init__(
        self, number: int, settings: Settings, folder: Path, config: uvicorn.Config, sockets: list[socket.socket]
    ) -> None:
        # uvicorn pickles this object, and the process that it starts calls `target` of the copy.
        self._settings = settings
        self._folder = folder
        self.number = number
        self.began = monotonic()
        super().__init__(config, sockets)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """What the started process does."""
        # The supervisor, a process of its own, does without all that these import.
        from service.serving import process
        from service.telemetry.log_lines import configure_logging
        from service.telemetry.siblings import Siblings

        chosen = self._settings
        configure_logging(chosen.log_format, chosen.log_level, chosen.secrets, self.number)
        # A copy of the supervisor's end came along. While it is open here, the supervisor's death is not noticed.
        self.parent_conn.close()
        # It is for the supervisor, even if a terminal sends it to everybody.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        threading.Thread(target=self.always_pong, daemon=True).start()
        assert sockets is not None
        (bound,) = sockets
        siblings = Siblings(self._folder, self.number)
        try:
            process.run(chosen, bound, siblings=siblings, on_server=self._note_server)
        except StartError as error:
            self._reason.write_text(str(error))
            sys.exit(1)

    def always_pong(self) -> None:
        """Answers the supervisor until it is gone; then this process has nobody who would end it, and ends."""
        try:
            super().always_pong()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)

    def pong(self) -> None:
        """Answers whether it serves; not at all if its event loop is stuck."""
        self.child_conn.recv()
        server = self._server
        beat = getattr(server, "beat", None)
        if beat is None or monotonic() - beat < _HUNG_S:
            self.child_conn.send(server is not None and server.started)

    def has_ended(self) -> bool:
        """Whether the process is gone, or stuck and therefore killed."""
        if self.is_alive(_PING_S):
            return False
        if self.exitcode is None:
            self.kill()
        self.process.join()
        return True

    def end(self, within_s: float) -> None:
        """Returns when the process has ended; kills it if that takes longer."""
        self.process.join(max(within_s, 0))
        if self.exitcode is None:
            self.kill()
            self.process.join()

    def pop_reason(self) -> str:
        """Why it could not start; empty if it did not say."""
        try:
            return self._reason.read_text()
        except OSError:
            return ""
        finally:
            self._reason.unlink(missing_ok=True)

    @property
    def _reason(self) -> Path:
        return self._folder / f"{self.number}.reason"

    def _note_server(self, server: uvicorn.Server) -> None:
        self._server = server
