"""The servers of the demo, and the service over them."""

import os
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from service.config.credentials import encrypt
from service.database.migrations import migrate
from service.demo import catalog, shop
from service.demo.embedded import spawn
from service.demo.life import Life
from service.demo.reaper import Reaper
from service.demo.servers import Postgres, Valkey

_START_S = 30.0


class DemoError(Exception):
    """The demo cannot continue; the message is one line for a person."""


class Demo:
    """The servers of the demo, and the service over them. If it `is_alive`, the sources are written to and change."""

    def __init__(self, reaper: Reaper, http_port: int, *, is_alive: bool) -> None:
        self.reaper = reaper
        self.key = secrets.token_hex(16)
        self.config = Postgres(reaper, "config", port=5433)
        self.source = Postgres(reaper, "source", settings={"wal_level": "logical", "max_wal_size": "64MB"})
        self.redis = Valkey(reaper, "redis", port=6379)
        self.url = f"http://127.0.0.1:{http_port}"
        self._http_port = http_port
        self._service: subprocess.Popen[bytes] | None = None
        self._life = Life(reaper, self.source, self.url) if is_alive else None
        self._started = time.monotonic()

    @property
    def config_dsn(self) -> str:
        """The config database."""
        return self.config.dsn("rosetta_config")

    @property
    def source_dsn(self) -> str:
        """The database that is a source."""
        return self.source.dsn(shop.DATABASE)

    def step(self, text: str) -> None:
        """Prints a step, with the seconds since the start."""
        print(f"  {time.monotonic() - self._started:5.1f} s  {text}", flush=True)

    def start(self) -> None:
        """Starts everything and waits until the service is ready."""
        for server, name in ((self.config, "config database"), (self.source, "source database"), (self.redis, "redis")):
            server.start()
            self.step(f"{name} on port {server.port}")
        _create_database(self.config, "rosetta_config")
        for database in (shop.DATABASE, catalog.DATABASE):
            _create_database(self.source, database)
        with psycopg.connect(self.source_dsn, autocommit=True) as connection:
            self.step(f"source has {shop.create(connection)} published tables and a slot")
        with psycopg.connect(self.source.dsn(catalog.DATABASE), autocommit=True) as connection:
            catalog.create(connection)
        applied = migrate(self.config_dsn, say=lambda _: None)
        self.step(f"{len(applied)} migrations applied")
        with psycopg.connect(self.config_dsn, autocommit=True) as connection:
            self._seed(connection)
        self._serve()
        self.step(f"service on {self.url}")
        report = httpx.post(f"{self.url}/api/v1/sources/1/refresh", timeout=_START_S).raise_for_status().json()
        self.step(f"first sync with the source: {len(report['tables_added'])} tables registered")
        if self._life:
            # The service would sync them by itself within minutes. The one without a server answers 502.
            listed = httpx.get(f"{self.url}/api/v1/sources", timeout=_START_S).raise_for_status().json()
            for found in (each for each in listed if each["id"] != 1):
                httpx.post(f"{self.url}/api/v1/sources/{found['id']}/refresh", timeout=_START_S)
            self._life.start()
            self.step("the sources are written to, their slots are read")

    def _seed(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        """A shop and a catalog that work, one without a server, one whose publication does not exist."""
        password = encrypt(self.key.encode(), self.source.password)
        address, login = ("127.0.0.1", self.source.port), ("postgres", password)
        rows = [
            (shop.DATABASE, *address, shop.DATABASE, *login, shop.PUBLICATION, shop.SLOT),
            ("warehouse (unreachable)", "127.0.0.1", 1, "warehouse", "rosetta", password, "warehouse", "warehouse"),
            ("shop, archive", *address, shop.DATABASE, *login, "archive", "archive"),
            (catalog.DATABASE, *address, catalog.DATABASE, *login, catalog.PUBLICATION, catalog.SLOT),
        ]
        with connection.cursor() as cursor:
            cursor.executemany(
                """
                INSERT INTO sources
                    (name, pg_host, pg_port, pg_database, pg_username, pg_password, publication_name, replication_name)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (name) DO UPDATE SET pg_port = excluded.pg_port, pg_password = excluded.pg_password
                """,
                rows,
            )
        connection.execute(
            """
            INSERT INTO destinations (name, type) VALUES ('analytics', 'SNOWFLAKE'), ('search', 'POSTGRES')
            ON CONFLICT DO NOTHING;
            INSERT INTO pipelines (name, source_id, status) SELECT 'pipeline of ' || name, id, 'START' FROM sources
            ON CONFLICT DO NOTHING;
            INSERT INTO pipelines_destination (pipeline_id, destination_id)
            SELECT p.id, d.id FROM pipelines AS p CROSS JOIN destinations AS d
            WHERE NOT EXISTS (SELECT FROM pipelines_destination);
            INSERT INTO wal_monitor (source_id, total_wal_size, wal_lsn, replication_slot_name, status)
            SELECT id, '16 MB', '0/1', replication_name, 'ACTIVE' FROM sources
            ON CONFLICT DO NOTHING
            """
        )

    def write_settings(self) -> Path:
        """A file for a shell to source: commands in it then work with this demo."""
        path = self.reaper.folder / "settings.sh"
        commands = Path(sys.executable).parent
        variables = self._settings | {"url": self.url}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        path.write_text("\n".join([*lines, f'export PATH={shlex.quote(str(commands))}:"$PATH"', ""]))
        path.chmod(0o600)
        return path

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "ROSETTA_CONFIG_DSN": self.config_dsn,
            "ROSETTA_REDIS_URL": self.redis.url,
            "CREDENTIAL_ENCRYPTION_KEY": self.key,
            "ROSETTA_PORT": str(self._http_port),
            # Not while the story measures: it would find that nobody reads the slots, and evict.
            "ROSETTA_WAL_INTERVAL_S": "2" if self._life else "0",
        }

    def _serve(self) -> None:
        log_path = self.reaper.folder / "service.log"
        # -P: not what the folder that a person is in happens to hold; its .env is not the demo's either.
        command = [sys.executable, "-P", "-m", "service", "serve"]
        environment = os.environ | self._settings
        self._service = spawn(self.reaper, command, log_path, env=environment, cwd=self.reaper.folder)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                httpx.get(f"{self.url}/health/ready", timeout=2).raise_for_status()
                listed = httpx.get(f"{self.url}/api/v1/sources", timeout=2).raise_for_status().json()
                # Another demo's service answers, too, if it was faster with this port.
                if self.source.port not in {source["pg_port"] for source in listed}:
                    raise DemoError(f"another program answers on {self.url}; choose another port with --port")
            except httpx.HTTPError as error:
                if self._service.poll() is not None or time.monotonic() > deadline:
                    log_text = log_path.read_text(errors="replace").strip()
                    raise DemoError(f"the service did not start: {log_text[-500:]}") from error
                time.sleep(0.02)
            else:
                return

    def wait(self) -> None:
        """Waits, and raises DemoError if the service ends."""
        assert self._service is not None
        code = self._service.wait()
        raise DemoError(f"the service ended with exit code {code}; see {self.reaper.folder / 'service.log'}")

    def stop(self) -> None:
        """Stops everything in order."""
        if self._life:
            self._life.stop()
        if self._service is not None:
            self._service.terminate()
            self._service.wait(timeout=_START_S)
            self.reaper.release(self._service.pid)
        self.redis.stop()
        self.source.stop()
        self.config.stop()


def _create_database(server: Postgres, name: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
