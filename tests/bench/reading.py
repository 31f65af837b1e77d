"""Pages that are not in this process: from Redis, from the config database, and with nothing cached at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from statistics import median
from time import perf_counter

from service.cache.deployment import Deployment
from service.pages.page import row_of
from tests.bench.rig import Rig, asynchronous, fill
from tests.bench.rows import Row, at_least, at_most, in_turn, percentile
from tests.fixtures.view import asked

_NOTES_JOIN = """
SELECT t.*, max(h.version_schema) AS version
FROM plain.table_metadata_list AS t
LEFT JOIN plain.history_schema_evolution AS h ON h.table_metadata_list_id = t.id
WHERE t.source_id = %s
GROUP BY t.id
"""


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds."""
    started = perf_counter()
    await work()
    return perf_counter() - started


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Redis alone, a miss, the view against the join without it, a read beside a refresh."""
    repeats = 100 if rig.is_quick else 300
    with rig.database() as config:
        fill(config, 1, 50)
        fill(config, 1, 1000)
        small, large = 1, 2
        (client,) = (await Deployment(rig.valkey.url, 1).find()).clients
        async with (
            rig.runtime(config, memory_cache_mb=0) as service,
            await asynchronous(config) as plain,
            aclosing(client),
        ):
            await service.covered()
            pages = service.runtime.pages
            await pages.read(small)
            ours, theirs = await in_turn(
                repeats,
                lambda: timed(lambda: pages.read(small)),
                lambda: timed(lambda: client.get(f"source_details:{small}")),
            )
            yield at_most("page from Redis", "one GET by the same client", 2, ours, theirs, allowance_ms=0.3)
            for source, tables in ((small, 50), (large, 1000)):

                async def rows_of(source: int = source) -> None:
                    cursor = await plain.execute(
                        "SELECT * FROM source_details_tables WHERE source_id = %s", (source,), prepare=True, binary=True
                    )
                    await cursor.fetchall()

                await pages.reload(source)
                ours, theirs = await in_turn(
                    repeats // (1 if tables == 50 else 5),
                    partial(timed, partial(pages.reload, source)),
                    partial(timed, rows_of),
                )
                yield at_most(
                    f"a miss, {tables} tables", "the same rows by one statement", 1.5, ours, theirs, allowance_ms=0.5
                )
    sources, tables = (100, 100) if rig.is_quick else (1000, 100)
    with rig.database() as config:
        rig.say(f"{sources:,} sources with {tables} tables, 10 versions each")
        ids = fill(config, sources, tables, versions=10)
        config.execute("CREATE SCHEMA plain")
        for name in ("table_metadata_list", "history_schema_evolution"):
            config.execute(f"CREATE TABLE plain.{name} AS TABLE public.{name}")
            config.execute(f"ALTER TABLE plain.{name} ADD PRIMARY KEY (id)")
        config.execute("ANALYZE plain.table_metadata_list, plain.history_schema_evolution")
        # The only refresh: the service makes none with so small a share.
        config.execute("SELECT source_details_refresh()")
        async with (
            rig.runtime(config, memory_cache_mb=0, refresh_share=1e-6) as service,
            await asynchronous(config) as plain,
        ):
            database = service.runtime.database
            config.execute(
                "UPDATE table_metadata_list SET table_name = table_name || '!' WHERE source_id = %s", (ids[0],)
            )

            async def live() -> None:
                row = row_of(await database.fetch_tuples_nowait("details", **asked(1)))
                assert row is not None
                assert not row["view_is_current"]

            async def view() -> None:
                row = row_of(await database.fetch_tuples_nowait("details", **asked(ids[-1])))
                assert row is not None
                assert row["view_is_current"]

            async def join() -> None:
                await (await plain.execute(_NOTES_JOIN, (ids[-1],), prepare=True)).fetchall()

            ours, theirs = await in_turn(rig.rounds * 5, lambda: timed(join), lambda: timed(view), warm_up=10)
            yield at_least(
                "the note's join without view and indexes", "the details statement from the view", 20, ours, theirs,
                figures=f"{median(ours) * 1000:,.1f} and {median(theirs) * 1000:,.2f} ms",
            )  # fmt: skip

            ours, theirs = await in_turn(repeats, lambda: timed(live), lambda: timed(view), warm_up=10)
            name = f"the details statement live, {tables} of {sources * tables:,} tables"
            yield at_most(name, "the same from the view", 10, ours, theirs)

            is_over = False

            async def refresh() -> None:
                while not is_over:
                    await plain.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY source_details_tables")

            async def p99() -> float:
                return percentile([await timed(view) for _ in range(repeats)], 0.99)

            async def p99_beside_refreshes() -> float:
                nonlocal is_over
                is_over = False
                refreshing = asyncio.create_task(refresh())
                worst = await p99()
                is_over = True
                await refreshing
                return worst

            ours, theirs = await in_turn(rig.rounds, p99_beside_refreshes, p99)
            yield at_most("p99 of the statement during a refresh", "without one", 1.5, ours, theirs)
