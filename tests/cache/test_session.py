"""Redis goes away and comes back: pages stay correct without it, and nothing outdated is left afterwards."""

import asyncio
from typing import Any

import pytest
import redis as sync_redis
from redis.exceptions import RedisError

from service.cache.deployment import Deployment
from service.cache.link import Link
from service.cache.primaries import Primaries
from service.telemetry.events import CacheDown, CacheUp, TaskFailed
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import MakeProxy, through
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.faults


async def test_redis_cut_off_and_back(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str, redis: sync_redis.Redis, bound: Bound
) -> None:
    """Without Redis, pages come from the process and PostgreSQL; afterwards Redis's older pages are gone."""
    between, url = await through(proxy, redis_url)
    service: Service = await start(redis_url=url)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    memory = service.runtime.pages.memory
    # Redis reports the storing too; the page that is read next stays.
    await until(lambda: memory.get(source) is None)
    await service.details(source)
    assert memory.get(source) is not None
    seen = len(service.events.events)
    await between.cut()
    await service.events.until(CacheDown, after=seen)
    # A DEL that its last connection did not carry any more would never be heard of.
    assert memory.get(source) is None
    assert redis.exists(f"source_details:{source}")
    config.execute("UPDATE sources SET name = 'without redis'")
    await service.settled(config)
    with bound("Redis cut off: a page", 1):
        first = await service.details(source)
    assert first.json()["source"]["name"] == "without redis"
    assert "fwd=miss" in first.headers["cache-status"]
    assert "detail=memory" in (await service.details(source)).headers["cache-status"]
    health = (await service.client.get("/health/ready")).json()
    assert health["status"] == "degraded"
    assert health["redis"]["status"] == "down"

    with bound("Redis cut off and back: used again", 8):
        await between.start()
        await service.events.until(CacheUp, after=seen)
    page = await service.details(source)
    assert page.json()["source"]["name"] == "without redis"
    assert "stored" in page.headers["cache-status"]
    assert len(service.events.of(CacheDown)) == 1


async def test_silence_ends_the_session(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str, redis: sync_redis.Redis, bound: Bound
) -> None:
    """Nothing else is sent that could fail. A page that was deleted meanwhile is let go."""
    between, url = await through(proxy, redis_url)
    service: Service = await start(redis_url=url, canary_interval_s=3600)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    seen = len(service.events.events)
    with bound("Redis silent, nobody asks it: noticed", 6):
        between.swallow()
        redis.delete(f"source_details:{source}")
        await service.events.until(CacheDown, after=seen)
    assert service.runtime.pages.memory.get(source) is None
    between.flow()


async def test_redis_that_hangs_costs_one_timeout_in_all(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str, bound: Bound
) -> None:
    """It accepts connections and never answers: readers wait one timeout, and later readers do not wait."""
    between, url = await through(proxy, redis_url)
    service: Service = await start(redis_url=url, redis_timeout_ms=300, memory_cache_mb=0)
    sources = [add_source(config, pg_password="none") for _ in range(20)]
    await service.settled(config)
    between.swallow()
    with bound("Redis hangs, timeout 300 ms: twenty readers at once", 0.3 + 1):
        await asyncio.gather(*(service.details(source) for source in sources))
    await service.events.until(CacheDown)
    with bound("Redis hangs, timeout 300 ms: twenty more, one after the other", 1):
        for source in sources:
            await service.details(source)
    config.execute("UPDATE sources SET name = name || ' after'")
    await service.settled(config)
    assert (await service.details(sources[0])).json()["source"]["name"].endswith("after")
    between.flow()
    await service.events.until(CacheUp, after=service.events.events.index(service.events.of(CacheDown)[0]))


async def test_redis_is_used_again_even_if_a_cancellation_is_lost(
    start: Start, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for may lose it on Python 3.11: a command fails, and a healthy connection's reader goes on."""
    hear = Link._hear
    lost: list[str] = []

    async def stubborn(link: Link, on_invalid: Any) -> None:
        reading = asyncio.ensure_future(hear(link, on_invalid))
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            lost.append("a cancellation")
            await reading

    monkeypatch.setattr(Link, "_hear", stubborn)
    service: Service = await start(redis_timeout_ms=200, memory_cache_mb=0)
    source = add_source(config, pg_password="none")
    await service.settled(config)
    seen = len(service.events.events)
    redis.client_pause(700, all=True)
    await service.details(source)
    await service.events.until(CacheDown)
    await service.events.until(CacheUp, after=seen)
    assert lost


async def test_transport_that_closes_as_it_is_written_to_is_a_lost_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For which uvloop raises RuntimeError: the session says why, and tries again soon."""
    service: Service = await start()
    find, failed = Deployment.find, asyncio.Event()

    async def fail_once(deployment: Deployment) -> Primaries:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("the handler is closed")
        return await find(deployment)

    monkeypatch.setattr(Deployment, "find", fail_once)
    seen = len(service.events.events)
    service.runtime.cache.fail("the first session ends")
    await service.events.until(CacheUp, after=seen)
    assert failed.is_set()
    assert service.events.of(TaskFailed) == []


async def test_start_without_redis_serves_and_takes_it_in_later(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str
) -> None:
    """Degraded from the first page on, and recovered without a restart."""
    between, url = await through(proxy, redis_url)
    await between.cut()
    service: Service = await start(redis_url=url)
    source = add_source(config)
    assert (await service.details(source)).json()["source"]["id"] == source
    await between.start()
    await service.events.until(CacheUp)
    await service.settled(config)
    assert "stored" in (await service.details(source)).headers["cache-status"]


async def test_attempt_that_fails_costs_no_page_of_the_process(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str
) -> None:
    """Without Redis nobody could have changed it there: the page lives as long as any."""
    between, url = await through(proxy, redis_url)
    await between.cut()
    service: Service = await start(redis_url=url)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    session = service.runtime.session
    for _ in range(2):
        # The second attempt has begun after the page was read.
        session.tried.clear()
        await session.tried.wait()
    assert "hit; ttl=" in (await service.details(source)).headers["cache-status"]


async def test_page_from_before_a_session_leaves_the_process_as_it_begins(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis does not hold that page: no DEL of it would be heard of."""
    between, url = await through(proxy, redis_url)
    await between.cut()
    service: Service = await start(redis_url=url)
    source = add_source(config)
    await service.settled(config)
    gate = Gate(monkeypatch, service.runtime.session, "_identity")
    await between.start()
    await gate.until_reached()
    await service.details(source)
    assert service.runtime.pages.memory.get(source) is not None
    gate.open()
    await service.events.until(CacheUp)
    assert service.runtime.pages.memory.get(source) is None


async def test_redis_that_lost_everything_is_filled_again(
    service: Service, config: Sql, redis: sync_redis.Redis, bound: Bound
) -> None:
    """FLUSHALL empties the process cache too, long before the page's life ends."""
    source = add_source(config)
    await service.settled(config)
    for _ in range(3):
        await service.details(source)
    with bound("FLUSHALL by hand: heard", 5):
        redis.flushall()
        await until(lambda: service.runtime.pages.memory.get(source) is None)
    assert "fwd=miss" in (await service.details(source)).headers["cache-status"]
    assert redis.exists(f"source_details:{source}")


async def test_eviction_that_fails_while_a_session_begins_is_not_forgotten(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An eviction that was lost on another connection keeps the new session from being trusted."""
    service: Service = await start()
    source = add_source(config)
    cache = service.runtime.cache
    evict_all = cache.evict_all
    trusted: list[bool] = []

    async def fail_meanwhile() -> None:
        await evict_all()
        if not trusted:
            cache.fail("an eviction over another connection was lost")
        trusted.append(cache.is_trusted)

    monkeypatch.setattr(cache, "evict_all", fail_meanwhile)
    seen = len(service.events.events)
    cache.fail("the first session ends")
    await service.events.until(CacheUp, after=seen)
    assert trusted == [False, False]
    assert "stored" in (await service.details(source)).headers["cache-status"]


async def test_closing_leaves_no_connection_of_a_command_under_way(redis_url: str, redis: sync_redis.Redis) -> None:
    """At every stage of the command: waiting for the pool, connecting, handshake, query."""
    is_asked, is_cut_off = False, False
    for steps in range(40):
        deployment = Deployment(redis_url, 5)
        primaries = await deployment.find()
        asking = asyncio.ensure_future(primaries.clients[0].ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        await deployment.close()
        (outcome,) = await asyncio.gather(asking, return_exceptions=True)
        is_asked |= outcome is True
        is_cut_off |= isinstance(outcome, RedisError)
    assert is_asked
    assert is_cut_off
    await until(lambda: all(client["name"] != "rosetta-source-details" for client in redis.client_list()))


async def test_more_readers_than_connections_wait_and_are_no_loss(
    start: Start, proxy: MakeProxy, redis_url: str
) -> None:
    """Redis answers each in time; the length of the queue says nothing about Redis."""
    between, url = await through(proxy, redis_url)
    service: Service = await start(redis_url=url, redis_timeout_ms=1500)
    between.delay_s = 0.15
    cache = service.runtime.cache
    assert await asyncio.gather(*(cache.count(f"reader {n}", 60_000) for n in range(400))) == [1] * 400
    assert service.events.of(CacheDown) == []


async def test_session_begins_without_the_connections_of_the_one_before(start: Start, redis: sync_redis.Redis) -> None:
    """Whatever ended that session may have broken its connections too, unnoticed."""
    service: Service = await start()

    def connections() -> dict[str, bool]:
        ours = (client for client in redis.client_list() if client["name"] == "rosetta-source-details")
        return {client["id"]: client["sub"] != "0" for client in ours}

    await asyncio.gather(*(service.runtime.cache.count(f"reader {n}", 60_000) for n in range(20)))
    before = connections()
    assert len(before) > 2
    (listening,) = (number for number, listens in before.items() if listens)
    redis.client_kill_filter(_id=listening)
    await service.events.until(CacheUp, after=len(service.events.events))
    assert not connections().keys() & before.keys()
