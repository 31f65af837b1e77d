"""A client that reads a replication slot and throws away what it reads: `pg_recvlogical`."""

import os
import signal
import subprocess

from service.demo.embedded import Account, spawn
from service.demo.reaper import Reaper
from service.demo.servers import Postgres

_END_S = 15.0


class SlotClient:
    """Reads `slot` of `database`, and connects again if it loses the server. It can pause."""

    def __init__(self, reaper: Reaper, source: Postgres, database: str, *, slot: str, publication: str) -> None:
        self._reaper = reaper
        self._source = source
        self._database = database
        self._options = [
            f"--slot={slot}", "--file=/dev/null", "--status-interval=1", "--fsync-interval=1",
            "--option=proto_version=1", f"--option=publication_names={publication}",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it. It connects by itself, now or later."""
        place = f"host=127.0.0.1 port={self._source.port} user=postgres dbname={self._database}"
        self._process = spawn(
            self._reaper,
            [str(self._source.binaries / "pg_recvlogical"), "--start", f"--dbname={place}", *self._options],
            self._reaper.folder / f"client-{self._database}.log",
            env=os.environ | {"PGPASSWORD": self._source.password},
            cwd="/",
            **Account().popen,
        )

    def pause(self) -> None:
        """Reads nothing more, and stays connected."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Reads on."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it."""
        if self._process is None:
            return
        self._send(signal.SIGINT)
        self.resume()
        self._process.wait(_END_S)
        self._reaper.release(self._process.pid)
        self._process = None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
