"""Changes: from commit to eviction, what the triggers cost a writer, ten thousand sources at once."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from statistics import median
from time import perf_counter

import redis.asyncio

from service.pages.details import Pages
from service.telemetry.events import Event, Evicted
from tests.bench.interval import FEWEST
from tests.bench.rig import Rig, asynchronous, fill
from tests.bench.rows import Row, at_least, at_most, in_turn, p99_at_most
from tests.bench.writers import ONE_ROW, commits
from tests.fixtures.databases import Sql

_MANY, _MANY_QUICKLY = 10_000, 2_000
_SHOWN_TABLES = ("sources", "table_metadata_list")


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """All of these."""
    async for row in _eviction(rig):
        yield row
    async for row in _writing(rig):
        yield row
    async for row in _all_at_once(rig):
        yield row


async def _eviction(rig: Rig) -> AsyncIterator[Row]:
    with rig.database() as config:
        (source,) = fill(config, 1, 50)
        async with (
            rig.runtime(config) as service,
            await asynchronous(config) as writer,
            await asynchronous(config) as echo,
            redis.asyncio.Redis.from_url(rig.valkey.url) as client,
        ):
            # What is committed is a change there as well, and has to be on the disk.
            await echo.execute("CREATE TABLE echo AS SELECT 0 AS n")
            # A copy without the triggers.
            await echo.execute("CREATE TABLE echo_sources (LIKE sources INCLUDING ALL)")
            await echo.execute("INSERT INTO echo_sources SELECT * FROM sources")
            await echo.execute("LISTEN echo")
            number = 0

            async def evicted() -> float:
                nonlocal number
                number += 1
                await service.runtime.pages.read(source)
                heard = service.next(
                    lambda event: isinstance(event, Evicted) and event.sources is not None and source in event.sources
                )
                started = perf_counter()
                await writer.execute("UPDATE sources SET total_tables = %s WHERE id = %s", (number, source))
                await heard
                return perf_counter() - started

            async def echoed(change: str) -> float:
                nonlocal number
                number += 1
                await client.set("echo", b"x" * 140_000)

                async def hear() -> None:
                    async for _ in echo.notifies(stop_after=1):
                        await client.delete("echo")

                hearing = asyncio.create_task(hear())
                await asyncio.sleep(0)
                started = perf_counter()
                await writer.execute(f"WITH w AS ({change}) SELECT pg_notify('echo', '1')", (number, source))
                await hearing
                return perf_counter() - started

            pairs = 600 if rig.is_quick else 2000
            least = partial(echoed, "UPDATE echo SET n = n + 1 WHERE %s + %s > 0")
            ours, theirs = await in_turn(pairs, evicted, least)
            yield at_most("commit to evicted, median", "NOTIFY, LISTEN and DEL alone", 1.5, ours, theirs)
            yield p99_at_most("commit to evicted, p99", "NOTIFY, LISTEN and DEL alone", 1.5, ours, theirs)
            same = partial(echoed, "UPDATE echo_sources SET total_tables = %s WHERE id = %s")
            ours, theirs = await in_turn(pairs, evicted, same)
            yield at_most("commit to evicted, median (b)", "the same change, NOTIFY, LISTEN, DEL", 1.3, ours, theirs)


def _arm(config: Sql, armed: bool) -> None:
    for table in _SHOWN_TABLES:
        config.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        if armed:
            triggers = config.execute(
                "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", (table,)
            ).fetchall()
            for trigger in triggers:
                config.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger['tgname']}")


async def _writing(rig: Rig) -> AsyncIterator[Row]:
    bulk = """
        UPDATE table_metadata_list
        SET schema_table = jsonb_set(schema_table, '{column_1,default_value}', to_jsonb(%(number)s::text))
        WHERE source_id = 1 + %(writer)s
    """
    with rig.database() as config:
        fill(config, 16, 200)
        dsn = rig.postgres.dsn(config.info.dbname)

        async def rate(armed: bool, writers: int, statement: str) -> float:
            await asyncio.to_thread(_arm, config, armed)
            return await asyncio.to_thread(commits, dsn, writers, rig.seconds * 0.6, statement)

        async def beside_a_notify(name: str, writers: int, statement: str) -> Row:
            armed, bare = partial(rate, True, writers, statement), partial(rate, False, writers, _notifying(statement))
            return at_least(name, "with a bare NOTIFY instead", 0.85, *await in_turn(rig.rounds, armed, bare), "/s")

        # In a process of its own, so that only the database is shared with the writers.
        with rig.served(config):
            for name, writers, statement in (
                ("one row, 1 writer", 1, ONE_ROW),
                ("one row, 16 writers", 16, ONE_ROW),
                ("200 rows, 1 writer", 1, bulk),
                ("200 rows, 16 writers", 16, bulk),
            ):
                ours, theirs = await in_turn(
                    rig.rounds, partial(rate, True, writers, statement), partial(rate, False, writers, statement)
                )
                yield at_least(f"commits/s, {name}", "without the triggers", 0.85, ours, theirs, "/s")
                yield await beside_a_notify(f"commits/s, {name} (b)", writers, statement)
        # The service above has the same cores. What the triggers cost is what is left without it.
        for writers in (1, 16):
            name = f"commits/s, one row, {writers} writer{'s' * (writers > 1)}, no service"
            yield await beside_a_notify(name, writers, ONE_ROW)


def _notifying(statement: str) -> str:
    """What NOTIFY alone costs: its commits do not share a flush, since they are in one order. Nobody listens to it."""
    return f"WITH w AS ({statement} RETURNING 1) SELECT pg_notify('echo', %(writer)s::text) FROM w LIMIT 1"


async def _all_at_once(rig: Rig) -> AsyncIterator[Row]:
    with rig.database() as config:
        many = _MANY_QUICKLY if rig.is_quick else _MANY
        ids = fill(config, many, 1)
        async with (
            rig.runtime(config, memory_cache_mb=256) as service,
            await asynchronous(config) as writer,
            redis.asyncio.Redis.from_url(rig.valkey.url) as client,
        ):
            await service.covered()
            pages = service.runtime.pages
            took, slowest = [], []
            for _ in range(FEWEST):
                for start in range(0, many, 100):
                    await asyncio.gather(*(pages.read(source) for source in ids[start : start + 100]))
                assert await client.dbsize() >= many
                gone = service.next(lambda event: isinstance(event, Evicted) and event.cause == "notification")
                reading = asyncio.create_task(_keep_reading(pages, ids[0], gone))
                await writer.execute("UPDATE sources SET total_tables = coalesce(total_tables, 0) + 1")
                committed = perf_counter()
                await gone
                took.append(perf_counter() - committed)
                slowest.append(await reading)
                await service.covered()
            yield at_most(
                f"{many:,} sources change in one statement, all evicted", "one second", 1, took, [1.0] * len(took),
                figures=f"{median(took) * 1000:,.0f} ms; the slowest reader meanwhile {max(slowest) * 1000:,.0f} ms",
            )  # fmt: skip


async def _keep_reading(pages: Pages, source: int, until: "asyncio.Future[Event]") -> float:
    """Reads a page again and again; returns the longest that it took."""
    longest = 0.0
    while not until.done():
        began = perf_counter()
        await pages.read(source)
        longest = max(longest, perf_counter() - began)
        await asyncio.sleep(0.001)
    return longest
