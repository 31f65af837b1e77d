"""What the rows run on: servers of their own, pages of a realistic size, the service as a process and in this one."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import redis
from pydantic import SecretStr

from service.config.settings import Settings
from service.database.migrations import migrate
from service.demo.embedded import free_port
from service.demo.reaper import Reaper
from service.demo.servers import Postgres, Valkey
from service.runtime import Runtime
from service.telemetry.events import Event, Observer
from tests.bench.busy import Watch
from tests.bench.interval import FEWEST
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import KEY, add_source
from tests.fixtures.process import surroundings, until_answers


@dataclass
class Rig:
    """Servers. `rounds` is how often each comparison is made, `seconds` how long a load lasts."""

    reaper: Reaper
    postgres: Postgres
    valkey: Valkey
    is_quick: bool
    say: Callable[[str], None]
    watch: Watch = field(default_factory=Watch)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    # The processes that serve at present, by URL.
    pids: dict[str, int] = field(default_factory=dict)
    _number: int = 0

    @property
    def rounds(self) -> int:
        # Nine: one of them may be disturbed at each end, and the interval is that of the others.
        return FEWEST if self.is_quick else 9

    @property
    def seconds(self) -> float:
        return 1 if self.is_quick else 4

    @contextmanager
    def database(self) -> Iterator[Sql]:
        """A migrated config database of its own, and an empty Redis."""
        self._number += 1
        name = f"config_{self._number}"
        with connect(self.postgres.dsn()) as admin:
            admin.execute(f"CREATE DATABASE {name}")
            migrate(self.postgres.dsn(name), say=lambda _: None)
            self.flush()
            with connect(self.postgres.dsn(name)) as config:
                yield config
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def flush(self) -> None:
        """Empties Redis."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    def environment(self, config: Sql, **changes: str) -> dict[str, str]:
        """For `rosetta serve`."""
        own = {
            "ROSETTA_CONFIG_DSN": self.postgres.dsn(config.info.dbname),
            "ROSETTA_REDIS_URL": self.valkey.url,
            "CREDENTIAL_ENCRYPTION_KEY": KEY,
            "ROSETTA_SYNC_INTERVAL_S": "0",
            "ROSETTA_WARM_PAGES": "0",
            "ROSETTA_SYNCS_PER_MINUTE": "0",
        }
        return surroundings() | own | changes

    @asynccontextmanager
    async def runtime(self, config: Sql, **changes: Any) -> AsyncIterator["Watched"]:
        """The service without its HTTP side, in this process."""
        values: dict[str, Any] = {
            "config_dsn": SecretStr(self.postgres.dsn(config.info.dbname)),
            "redis_url": SecretStr(self.valkey.url),
            "CREDENTIAL_ENCRYPTION_KEY": SecretStr(KEY),
            "sample_share": 0.0,
            # Sources that are asked by a row are asked on purpose.
            "publication_ttl_s": 3600,
            "sync_interval_s": 0,
            "warm_pages": 0,
            "syncs_per_minute": 0,
        }
        observer = Observer()
        runtime = Runtime(Settings(**(values | changes)), observer)
        await runtime.start()
        try:
            yield Watched(runtime, observer)
        finally:
            await runtime.stop()

    @contextmanager
    def child(self, command: list[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
        """A module of Python that runs as a child; `options` are those of subprocess.Popen."""
        child = subprocess.Popen([sys.executable, "-m", *command], start_new_session=True, **options)
        self.reaper.watch(child.pid)
        try:
            yield child
        finally:
            child.terminate()
            child.wait(20)
            self.reaper.release(child.pid)

    @contextmanager
    def process(self, command: list[str], environment: dict[str, str], port: int) -> Iterator[str]:
        """A child that serves HTTP on the port; yields its URL when it answers."""
        url = f"http://127.0.0.1:{port}"
        with self.child(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            with httpx.Client(base_url=url) as client:
                until_answers(client, child, lambda: " ".join(command))
            self.pids[url] = child.pid
            try:
                yield url
            finally:
                del self.pids[url]

    @contextmanager
    def served(self, config: Sql, **changes: str) -> Iterator[str]:
        """`rosetta serve`."""
        port = free_port()
        environment = self.environment(config, ROSETTA_PORT=str(port), **changes)
        with self.process(["service", "serve"], environment, port) as url:
            yield url

    @contextmanager
    def beside(self, kind: str, size: int) -> Iterator[str]:
        """A server of `beside`."""
        port = free_port()
        with self.process(["tests.bench.beside", kind, str(size), str(port)], dict(os.environ), port) as url:
            yield url


class Watched:
    """A runtime and its events."""

    def __init__(self, runtime: Runtime, observer: Observer) -> None:
        self.runtime = runtime
        self._observer = observer

    def next(self, which: Callable[[Event], bool]) -> "asyncio.Future[Event]":
        """Resolves with the first such event from now on."""
        found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def look(event: Event) -> None:
            if not found.done() and which(event):
                found.set_result(event)
                stop()

        stop = self._observer.subscribe(look)
        return found

    async def covered(self) -> None:
        """Returns when the view covers everything."""
        assert await self.runtime.refresher.wait_until_covered(600)


def fill(config: Sql, sources: int, tables: int, versions: int = 1, dsn: str | None = None) -> list[int]:
    """Sources with tables of 12 to 17 columns (50 of them make a page of about 140 KB), each with its versions."""
    first = add_source(config, dsn)
    ids = [first]
    if sources > 1:
        rows = config.execute(
            """
            INSERT INTO sources (
                name, pg_host, pg_port, pg_database, pg_username, pg_password, publication_name, replication_name
            )
            SELECT 'filled-' || n, '127.0.0.1', 1, 'shop', 'nobody', NULL, 'rosetta', 'rosetta_slot'
            FROM generate_series(2, %s) AS n
            RETURNING id
            """,
            (sources,),
        ).fetchall()
        ids += [row["id"] for row in rows]
    with config.transaction():
        config.execute("SET LOCAL synchronous_commit = off")
        config.execute(
            """
            INSERT INTO table_metadata_list (source_id, table_name, schema_table)
            SELECT s.id, 'table_' || t, (
                SELECT jsonb_object_agg('column_' || c, jsonb_build_object(
                    'column_name', 'column_' || c, 'is_nullable', 'YES', 'numeric_precision', 64, 'numeric_scale', 0,
                    'real_data_type', 'BIGINT', 'is_primary_key', c = 1, 'has_default', false, 'default_value', NULL))
                FROM generate_series(1, 12 + t %% 6) AS c
            )
            FROM unnest(%s::int []) AS s (id), generate_series(1, %s) AS t
            """,
            (ids, tables),
        )
        config.execute(
            """
            INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
            SELECT t.id, v FROM table_metadata_list AS t, generate_series(1, %s) AS v WHERE t.source_id = ANY(%s)
            """,
            (versions, ids),
        )
    config.execute("ANALYZE")
    return ids


async def asynchronous(config: Sql) -> "psycopg.AsyncConnection[Any]":
    """Another connection to the same database, for this event loop."""
    dsn = psycopg.conninfo.make_conninfo("", **config.info.get_parameters(), password=config.info.password)
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True)
