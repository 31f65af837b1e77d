"""The service as its users run it: `rosetta serve` in processes of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

import httpx
import pytest

from service.demo.reaper import Reaper
from service.demo.servers import free_port
from tests.fix_databases import as_service
from tests.fix_metadata import KEY
from tests.fix_secrets import Walker
from tests.fix_servers import Servers


def until_answers(client: httpx.Client, child: "subprocess.Popen[bytes]", log: Callable[[], str]) -> None:
    """Returns when a child that serves HTTP answers anything at all."""
    deadline = monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            client.get("/health/live")
            return
        assert child.poll() is None, log()
        assert monotonic() < deadline, log()


class Process:
    """One `rosetta serve`. `client` is an HTTP client for it."""

    def __init__(self, reaper: Reaper, environment: dict[str, str], log: Path, port: int, walker: Walker) -> None:
        self._log = log
        self._reaper = reaper
        self.host, self.port = "127.0.0.1", port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self._walker = walker
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve"],
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        reaper.watch(self._process.pid)

    def until_ready(self) -> None:
        """Returns when pages can be asked for."""
        until_answers(self.client, self._process, lambda: self.log)

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        return self._process.wait(60)

    def end(self) -> None:
        """Ends it, and looks through its log."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(60)
        self._reaper.release(self._process.pid)
        self.client.close()
        for line in self.log.splitlines():
            self._walker.look("log lines", line)


StartProcess = Callable[..., Process]


@pytest.fixture
def serve(
    servers: Servers, config_dsn: str, redis_url: str, tmp_path: Path, no_leaks: Walker
) -> Iterator[StartProcess]:
    """Starts processes; with other variables by keyword, None leaves one out."""
    with ExitStack() as stack:

        def start(**changes: str | None) -> Process:
            port = free_port()
            variables: dict[str, str | None] = {
                "ROSETTA_CONFIG_DSN": as_service(config_dsn),
                "ROSETTA_REDIS_URL": redis_url,
                "CREDENTIAL_ENCRYPTION_KEY": KEY,
                "ROSETTA_PORT": str(port),
                "ROSETTA_POOL_MAX_SIZE": "4",
                # A busy machine is no Redis that is lost.
                "ROSETTA_REDIS_TIMEOUT_MS": "2000",
                # A sample is a computation that nobody asked for; tests that count them want none.
                "ROSETTA_SAMPLE_SHARE": "0",
                # Nor does any want a sync that nobody asked for.
                "ROSETTA_SYNC_INTERVAL_S": "0",
                "ROSETTA_WARM_PAGES": "0",
            }
            kept = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTA_")}
            wanted = {name: value for name, value in (variables | changes).items() if value is not None}
            process = Process(servers.reaper, kept | wanted, tmp_path / f"{port}.log", port, no_leaks)
            stack.callback(process.end)
            return process

        yield start
