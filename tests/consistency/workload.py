"""Writers that count up, readers that look, and operators that refresh, delete and cut, all at once for a while."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from time import monotonic, time

import psycopg
import redis.exceptions

from tests.consistency.history import History, Read, Register, Verdict, Write
from tests.consistency.rig import SHARED, SOURCES, SYNCED, Rig, shown

_FIRST_MARK = 1_000_000_000
_READERS = 8
Connection = psycopg.AsyncConnection[tuple[object, ...]]


class Workload:
    """One run. `seed` decides what is done and at what intervals; how it interleaves is up to the machine."""

    def __init__(
        self,
        rig: Rig,
        seed: int,
        seconds: float,
        *,
        until_violated: bool = False,
        say: Callable[[str], None] = lambda _: None,
        disturb: Callable[[random.Random], None] | None = None,
    ) -> None:
        self._rig = rig
        self._disturb = disturb
        self._until_violated = until_violated
        self._seed = seed
        self._seconds = seconds
        self._say = say
        self._end = 0.0
        self._marks = _FIRST_MARK
        self.history = History()

    async def run(self) -> Verdict:
        """The verdict on everything that happened."""
        self._end = monotonic() + self._seconds
        tasks = [
            *(self._write(f"name {n}", self._rename, n) for n in range(1, SOURCES + 1)),
            *(self._write(f"schema {n}", self._change_schema, n) for n in range(2, SOURCES + 1)),
            *(self._write(f"version {n}", self._add_version, n) for n in range(2, SOURCES + 1, 2)),
            *(self._write(f"cascade {n}", self._replace_table, n) for n in range(3, SOURCES + 1, 3)),
            *(self._write(f"destination {n}", self._rename_destination, n) for n in range(len(SHARED))),
            self._write("bulk", self._change_all, 0),
            self._sync(),
            *(self._read(n) for n in range(_READERS)),
            *(self._refresh(n) for n in range(3)),
            self._delete_keys(),
            self._cut_listeners(),
            self._disturb_redis(),
            self._progress(),
        ]
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
        verdict = self._judge()
        verdict.view_agrees = self._rig.view_agrees()
        return verdict

    async def _connect(self) -> Connection:
        return await psycopg.AsyncConnection.connect(self._rig.config_dsn, autocommit=True)

    async def _pause(self, rng: random.Random, mean_s: float) -> bool:
        """Waits a random while; false when the run is over."""
        await asyncio.sleep(min(rng.expovariate(1 / mean_s), max(self._end - monotonic(), 0)))
        return monotonic() < self._end

    async def _write(
        self, name: str, write: Callable[[Connection, int, int], Awaitable[list[Register]]], place: int
    ) -> None:
        rng = random.Random(f"{self._seed} {name}")
        number = 0
        async with await self._connect() as connection:
            while await self._pause(rng, 0.3):
                number += 1
                self._marks += 1
                mark = self._marks
                began = time()
                async with connection.transaction():
                    registers = await write(connection, place, number)
                    await connection.execute("SELECT pg_notify('source_details_changed', %s)", (str(mark),))
                self.history.writes.append(Write(registers, number, began, time(), mark))

    async def _rename(self, connection: Connection, source: int, number: int) -> list[Register]:
        await connection.execute("UPDATE sources SET name = %s WHERE id = %s", (f"{source}/{number}", source))
        return [(source, "name")]

    async def _change_schema(self, connection: Connection, source: int, number: int) -> list[Register]:
        await connection.execute(
            """
            UPDATE table_metadata_list
            SET schema_table = jsonb_build_array(jsonb_build_object('column_name', 'c', 'default_value', %s::text))
            WHERE source_id = %s AND table_name = 'fixed'
            """,
            (str(number), source),
        )
        return [(source, "schema")]

    async def _add_version(self, connection: Connection, source: int, number: int) -> list[Register]:
        await connection.execute(
            """
            INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
            SELECT id, %s FROM table_metadata_list WHERE source_id = %s AND table_name = 'fixed'
            """,
            (number, source),
        )
        return [(source, "version")]

    async def _replace_table(self, connection: Connection, source: int, number: int) -> list[Register]:
        await connection.execute(
            "DELETE FROM table_metadata_list WHERE source_id = %s AND table_name LIKE 'gone/%%'", (source,)
        )
        await connection.execute(
            "INSERT INTO table_metadata_list (source_id, table_name) VALUES (%s, %s)", (source, f"gone/{number}")
        )
        return [(source, "cascade")]

    async def _rename_destination(self, connection: Connection, place: int, number: int) -> list[Register]:
        kind = SHARED[place]
        await connection.execute(
            "UPDATE destinations SET name = %s WHERE name LIKE %s", (f"{kind}/{number}", f"{kind}/%")
        )
        return [(source, kind) for source in range(1, SOURCES + 1)]

    async def _change_all(self, connection: Connection, _: int, number: int) -> list[Register]:
        await connection.execute("UPDATE sources SET pg_database = %s WHERE id <> %s", (f"bulk/{number}", SYNCED))
        return [(source, "bulk") for source in range(1, SOURCES + 1) if source != SYNCED]

    async def _sync(self) -> None:
        rng = random.Random(f"{self._seed} sync")
        number = 0
        async with (
            await psycopg.AsyncConnection.connect(self._rig.shop_dsn, autocommit=True) as shop,
            await self._connect() as connection,
        ):
            while await self._pause(rng, 0.5):
                number += 1
                self._marks += 1
                mark = self._marks
                await shop.execute(f"ALTER TABLE orders ALTER COLUMN note SET DEFAULT '{number}'")
                process = rng.choice(self._rig.processes)
                response = await process.client.post(f"/api/v1/sources/{SYNCED}/refresh")
                if response.status_code != 200:
                    # Another program wrote the same rows; the next sync tells more.
                    continue
                began = time()
                await connection.execute("SELECT pg_notify('source_details_changed', %s)", (str(mark),))
                self.history.writes.append(Write([(SYNCED, "sync")], number, began, time(), mark))

    async def _read(self, reader: int) -> None:
        rng = random.Random(f"{self._seed} reader {reader}")
        while monotonic() < self._end:
            process = rng.choice(self._rig.processes)
            source = rng.randint(1, SOURCES)
            headers = {"Cache-Control": "no-cache"} if rng.random() < 0.02 else {}
            started = time()
            response = await process.client.get(f"/api/v1/sources/{source}/details", headers=headers)
            ended = time()
            assert response.status_code == 200, response.text
            self.history.reads.append(
                Read(process.number, source, started, ended, shown(response.json()), response.headers["cache-status"])
            )

    async def _refresh(self, operator: int) -> None:
        rng = random.Random(f"{self._seed} operator {operator}")
        forms = (
            "REFRESH MATERIALIZED VIEW source_details_tables",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY source_details_tables",
            "SELECT source_details_refresh()",
        )
        async with await self._connect() as connection:
            while await self._pause(rng, 1):
                try:
                    async with connection.transaction():
                        await connection.execute(rng.choice(forms))
                        await connection.execute("SELECT pg_sleep(%s)", (rng.random() * 0.02,))
                except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                    # Of two concurrent refreshes the later one fails.
                    continue

    async def _delete_keys(self) -> None:
        rng = random.Random(f"{self._seed} deletions")
        while await self._pause(rng, 0.2):
            with contextlib.suppress(redis.exceptions.RedisError):
                await asyncio.to_thread(self._rig.delete, f"source_details:{rng.randint(1, SOURCES)}")

    async def _cut_listeners(self) -> None:
        rng = random.Random(f"{self._seed} cuts")
        async with await self._connect() as connection:
            while await self._pause(rng, 1.5):
                await connection.execute(
                    """
                    SELECT pg_terminate_backend(pid)
                    FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'rosetta-source-details-listener'
                    """
                )

    async def _disturb_redis(self) -> None:
        rng = random.Random(f"{self._seed} disturbances")
        while self._disturb is not None and await self._pause(rng, 0.5):
            await asyncio.to_thread(self._disturb, rng)

    async def _progress(self) -> None:
        while monotonic() < self._end:
            reads, writes = len(self.history.reads), len(self.history.writes)
            self._say(f"{self._end - monotonic():6.0f} s left, {reads} reads, {writes} writes")
            await asyncio.sleep(min(5, max(self._end - monotonic(), 0)))
            if self._until_violated and self._judge().violations:
                self._end = monotonic()

    def _judge(self) -> Verdict:
        self.history.deliver([process.evicted for process in self._rig.processes])
        return self.history.judge()
