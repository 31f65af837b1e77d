"""The migrations on a database full of tables, while other programs write to it: how long a write waits for them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from time import perf_counter

import psycopg

from service.database.migrations import migrate
from service.database.queries import folder
from tests.bench.rig import Rig, fill
from tests.bench.rows import Row, percentile
from tests.fixtures.databases import connect

_TABLES, _TABLES_QUICKLY = 100_000, 10_000
_SOURCES = 1_000
_WRITERS = 4
_PAUSE_S = 0.005
# What the migrations give themselves to get a lock (service/database/migrations.py).
_LOCK_TIMEOUT_S = 0.5


class Writers:
    """Threads that write as the platform does, until they are stopped. `writes`: when each ended, how long it took."""

    def __init__(self, dsn: str) -> None:
        self.writes: list[tuple[float, float]] = []
        self.errors: list[str] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(dsn, number)) for number in range(_WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, dsn: str, number: int) -> None:
        with connect(dsn) as connection:
            turn = 0
            while not self._stopped.wait(_PAUSE_S):
                turn += 1
                source = 1 + (turn * 7 + number) % _SOURCES
                started = perf_counter()
                try:
                    connection.execute(
                        "UPDATE table_metadata_list SET is_changes_schema = NOT is_changes_schema "
                        "WHERE source_id = %s AND table_name = 'table_1'",
                        (source,),
                    )
                    connection.execute("UPDATE sources SET total_tables = %s WHERE id = %s", (turn, source))
                except psycopg.Error as error:
                    self.errors.append(str(error))
                self.writes.append((perf_counter(), perf_counter() - started))

    def stop(self) -> None:
        """Ends them."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """One row: the longest write during the migrations, beside the longest time that a migration waits for a lock."""
    tables = _TABLES_QUICKLY if rig.is_quick else _TABLES
    with connect(rig.postgres.dsn()) as admin:
        admin.execute("CREATE DATABASE unmigrated")
    dsn = rig.postgres.dsn("unmigrated")
    with connect(dsn) as config:
        config.execute((folder("migrations") / "001_base_tables.sql").read_bytes())
        fill(config, _SOURCES, tables // _SOURCES, versions=2)
        writers = Writers(dsn)
        await asyncio.sleep(rig.seconds)
        begun = perf_counter()
        await asyncio.to_thread(migrate, dsn, say=lambda _: None)
        done = perf_counter()
        writers.stop()
    with connect(rig.postgres.dsn()) as admin:
        admin.execute("DROP DATABASE unmigrated WITH (FORCE)")
    before = [took for ended, took in writers.writes if ended < begun]
    during = [took for ended, took in writers.writes if ended >= begun]
    longest = max(during)
    yield Row(
        f"longest write during the migrations, {tables:,} tables",
        f"the {_LOCK_TIMEOUT_S * 1000:.0f} ms that they wait for a lock",
        longest / _LOCK_TIMEOUT_S,
        "<= 1x",
        longest <= _LOCK_TIMEOUT_S and not writers.errors,
        percentile(during, 0.5) / _LOCK_TIMEOUT_S,
        longest / _LOCK_TIMEOUT_S,
        f"{longest * 1000:.0f} ms in {done - begun:.1f} s (p99 {percentile(during, 0.99) * 1000:.0f} ms of "
        f"{len(during):,}); {max(before) * 1000:.0f} ms before (p99 {percentile(before, 0.99) * 1000:.0f} ms); "
        f"{len(writers.errors)} errors",
    )
