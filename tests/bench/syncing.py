"""Syncs and first reads of a source that is 100 ms away, in round trips."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter

import psycopg

from tests.bench.rig import Rig
from tests.bench.rows import Row, at_most, in_turn
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import Proxy

_ONE_WAY_S = 0.05
_FAR_ONE_WAY_S = 1.0
_BUDGET_MS = 250


@asynccontextmanager
async def _away(rig: Rig, one_way_s: float) -> AsyncIterator[Proxy]:
    """A proxy to the server that delays each direction by `one_way_s` seconds."""
    proxy = Proxy("127.0.0.1", rig.postgres.port)
    proxy.delay_s = one_way_s
    await proxy.start()
    yield proxy
    await proxy.cut()


def _shop(rig: Rig, name: str, tables: int) -> str:
    """Creates a source database with this many published tables."""
    with connect(rig.postgres.dsn()) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    columns = ", ".join(f"column_{number} bigint" for number in range(2, 15))
    with connect(rig.postgres.dsn(name)) as shop:
        for number in range(tables):
            shop.execute(f"CREATE TABLE table_{number} (id bigint PRIMARY KEY, {columns})")
        shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    return rig.postgres.dsn(name)


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Syncs and reads with warm connections, as for a page that somebody watches."""
    shops = {tables: _shop(rig, f"shop_{tables}", tables) for tables in (50, 1000)}
    with rig.database() as config:
        async with _away(rig, _ONE_WAY_S) as proxy, _away(rig, _FAR_ONE_WAY_S) as far:
            sources = {
                tables: add_source(config, dsn, pg_host="127.0.0.1", pg_port=proxy.port)
                for tables, dsn in shops.items()
            }
            # A source that was too far away once is skipped for a while, so each is read once.
            distant = [add_source(config, shops[50], pg_host="127.0.0.1", pg_port=far.port) for _ in range(rig.rounds)]
            plain = await psycopg.AsyncConnection.connect(
                psycopg.conninfo.make_conninfo(shops[50], host="127.0.0.1", port=proxy.port), autocommit=True
            )
            async with (
                plain,
                rig.runtime(config, publication_budget_ms=_BUDGET_MS, sync_budget_ms=30_000) as service,
            ):
                synchronizer, pages = service.runtime.synchronizer, service.runtime.pages

                async def round_trip() -> float:
                    started = perf_counter()
                    await plain.execute("SELECT")
                    return perf_counter() - started

                async def sync(tables: int) -> float:
                    started = perf_counter()
                    await synchronizer.sync(sources[tables])
                    await pages.reload(sources[tables])
                    return perf_counter() - started

                async def first(tables: int) -> float:
                    await asyncio.to_thread(_forget, config, sources[tables])
                    return await sync(tables)

                for tables in shops:
                    ours, theirs = await in_turn(rig.rounds + 1, partial(first, tables), round_trip)
                    # Without the first sync, which includes the connection's handshake.
                    yield at_most(
                        f"first force_refresh, {tables:,} new tables", "one round trip of 100 ms", 3, ours[1:],
                        theirs[1:], allowance_ms=tables,
                    )  # fmt: skip
                ours, theirs = await in_turn(rig.rounds, lambda: sync(50), round_trip)
                yield at_most(
                    "force_refresh, 50 unchanged tables", "one round trip of 100 ms", 1.5, ours, theirs,
                    allowance_ms=30,
                )  # fmt: skip

                async def uncached(source: int) -> float:
                    await asyncio.to_thread(rig.flush)
                    pages.memory.drop(None)
                    started = perf_counter()
                    await pages.read(source)
                    return perf_counter() - started

                ours, theirs = await in_turn(rig.rounds, lambda: uncached(sources[50]), round_trip)
                yield at_most("page, nothing cached, source 100 ms away", "one round trip", 1.2, ours, theirs)
                took = [await uncached(source) for source in distant]
                budget = [_BUDGET_MS / 1000] * len(took)
                yield at_most(
                    "page, nothing cached, source 2 s away", "the budget of 250 ms", 1, took, budget, allowance_ms=30
                )


def _forget(config: Sql, source: int) -> None:
    config.execute("DELETE FROM table_metadata_list WHERE source_id = %s", (source,))
