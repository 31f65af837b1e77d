"""While the config database is unavailable: the last known page, for a bounded time, marked as stale."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest
import redis as sync_redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from service.telemetry.events import ListenerDown, ListenerUp
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql, connect, database_away
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.faults


@pytest.mark.alone
async def test_page_is_served_past_its_life_and_says_so(
    start: Start, config: Sql, config_dsn: str, redis: sync_redis.Redis, bound: Bound
) -> None:
    """The key is gone from Redis, but the process still has the page; no reader of it waits for the database."""
    service: Service = await start(config_timeout_ms=2500)
    source, never = add_source(config), add_source(config)
    await service.settled(config)
    known = await service.details(source)
    with database_away(config, config_dsn):
        await service.events.until(ListenerDown)
        redis.delete(f"source_details:{source}")
        page = await service.details(source)
        assert page.content == known.content
        assert page.headers["cache-status"].startswith("rosetta; fwd=stale; ttl=")
        started, slowest = monotonic(), 0.0
        # Several times as long as a reader who waits for the database would wait.
        while monotonic() - started < 6:
            asked = monotonic()
            await service.details(source)
            slowest = max(slowest, monotonic() - asked)
        assert slowest < 2
        with bound("config database away, timeout 2,500 ms: a known page", 2):
            await service.details(source)
        with bound("config database away, timeout 2,500 ms: the 503 for another", 2.5 + 1):
            assert (await service.client.get(f"/api/v1/sources/{never}/details")).status_code == 503
        again = await service.client.get(
            f"/api/v1/sources/{source}/details", headers={"If-None-Match": known.headers["etag"]}
        )
        assert again.status_code == 304
    with connect(config_dsn) as writer:
        writer.execute("UPDATE sources SET name = 'back' WHERE id = %s", (source,))
    await service.events.until(ListenerUp, after=service.events.events.index(service.events.of(ListenerDown)[0]))
    async with asyncio.timeout(60):
        while (page := await service.details(source)).json()["source"]["name"] != "back":
            assert "fwd=stale" in page.headers["cache-status"]


async def test_page_is_served_for_a_bounded_time(start: Start, config: Sql, config_dsn: str) -> None:
    """After that time the answer is a 503."""
    service: Service = await start(config_timeout_ms=300, cache_ttl_s=1, stale_if_error_s=0)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    with database_away(config, config_dsn):
        async with asyncio.timeout(60):
            while (response := await service.client.get(f"/api/v1/sources/{source}/details")).status_code == 200:
                assert int(response.headers["age"]) <= 1
                await asyncio.sleep(0)
    assert response.status_code == 503
    assert response.headers["retry-after"]


async def test_page_that_was_evicted_is_never_the_last_known(start: Start, config: Sql, config_dsn: str) -> None:
    """The page is known to be old: a 503 is better."""
    service: Service = await start(config_timeout_ms=300)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    with database_away(config, config_dsn):
        assert (await service.client.get(f"/api/v1/sources/{source}/details")).status_code == 503


async def test_database_that_hangs_costs_readers_of_known_pages_one_wait(
    start: Start,
    config: Sql,
    config_dsn: str,
    proxy: Callable[[str, int], Awaitable[Proxy]],
    redis: sync_redis.Redis,
    bound: Bound,
) -> None:
    """It accepts connections and never answers: the first reader waits for the timeout, later ones do not wait."""
    place = conninfo_to_dict(config_dsn)
    between = await proxy(str(place["host"]), int(str(place["port"])))
    service: Service = await start(
        config_dsn=make_conninfo(config_dsn, host="127.0.0.1", port=between.port), config_timeout_ms=500
    )
    sources = [add_source(config) for _ in range(5)]
    await service.settled(config)
    for source in sources:
        await service.details(source)
    between.swallow()
    redis.flushall()
    with bound("config database hangs, timeout 500 ms: a hundred readers of known pages at once", 0.5 + 1.5):
        pages = await asyncio.gather(*(service.details(source) for source in sources * 20))
    assert all("fwd=stale" in page.headers["cache-status"] for page in pages)
    assert (await service.client.get("/health/ready")).status_code == 503
    between.flow()
