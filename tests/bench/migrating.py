"""The migrations on a database full of tables, while other programs write to it: how long a write waits for them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median
from time import perf_counter

import psycopg

from service.database.migrations import migrate
from service.database.queries import folder
from tests.bench.interval import FEWEST, Verdict
from tests.bench.rig import Rig, fill
from tests.bench.rows import Row, at_most, percentile
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


@dataclass(frozen=True, slots=True)
class _Migration:
    """How long writes took before and during the migrations, how long these took, and the writers' errors."""

    before: list[float]
    during: list[float]
    seconds: float
    errors: list[str]


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """One row: the longest write during the migrations, beside the longest time that a migration waits for a lock."""
    tables = _TABLES_QUICKLY if rig.is_quick else _TABLES
    with connect(rig.postgres.dsn()) as admin:
        admin.execute("CREATE DATABASE unmigrated")
        with connect(rig.postgres.dsn("unmigrated")) as config:
            config.execute((folder("migrations") / "001_base_tables.sql").read_bytes())
            fill(config, _SOURCES, tables // _SOURCES, versions=2)
        runs = []
        for _ in range(FEWEST):
            admin.execute("CREATE DATABASE migrated TEMPLATE unmigrated")
            runs.append(await _migrated(rig.postgres.dsn("migrated"), rig.seconds / 2))
            admin.execute("DROP DATABASE migrated WITH (FORCE)")
        admin.execute("DROP DATABASE unmigrated WITH (FORCE)")
    longest = [max(run.during) for run in runs]
    during, before = chain.from_iterable(run.during for run in runs), chain.from_iterable(run.before for run in runs)
    errors = sum(len(run.errors) for run in runs)
    row = at_most(
        f"longest write during the migrations, {tables:,} tables",
        f"the {_LOCK_TIMEOUT_S * 1000:.0f} ms that they wait for a lock",
        1,
        longest,
        [_LOCK_TIMEOUT_S] * len(runs),
        figures=f"{_shown(during)} while they are applied for {median(run.seconds for run in runs):.1f} s; "
        f"{_shown(before)} before; {errors} errors",
    )
    # A write that failed was not merely late.
    yield replace(row, verdict=Verdict.FAILS) if errors else row


async def _migrated(dsn: str, seconds: float) -> _Migration:
    writers = Writers(dsn)
    await asyncio.sleep(seconds)
    begun = perf_counter()
    await asyncio.to_thread(migrate, dsn, say=lambda _: None)
    done = perf_counter()
    writers.stop()
    return _Migration(
        [took for ended, took in writers.writes if ended < begun],
        [took for ended, took in writers.writes if ended >= begun],
        done - begun,
        writers.errors,
    )


def _shown(writes: Iterable[float]) -> str:
    times = list(writes)
    return f"at most {max(times) * 1000:.0f} ms (p99 {percentile(times, 0.99) * 1000:.0f} ms)"
