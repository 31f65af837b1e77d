"""The session's own connection: whose changes it reports, and what becomes of its commands when it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from urllib.parse import urlsplit

import pytest
import redis as sync_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.cache.deployment import Deployment
from service.cache.keys import Keys
from service.cache.link import Link, close
from service.cache.primaries import SinglePrimary
from service.cache.store import Cache
from service.cache.values import CacheUnavailableError
from service.telemetry.events import CacheDown, CacheUp, Observer
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import MakeProxy, Proxy, through
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.faults


class Heard(list[bytes | None]):
    """The keys that were reported; None for all."""

    def note(self, names: list[bytes] | None) -> None:
        """Notes one report."""
        self.extend(names or [None])


@asynccontextmanager
async def linked(url: str, heard: Heard, timeout_s: float = 5) -> AsyncIterator[Link]:
    """A link that is open."""
    deployment = Deployment(url, timeout_s)
    (link,) = (await deployment.find()).links
    try:
        assert await link.open("mine:", heard.note)
        yield link
    finally:
        await close([link])
        await deployment.close()


async def test_others_changes_are_reported_and_its_own_are_not(redis_url: str, redis: sync_redis.Redis) -> None:
    """Of keys with its prefix; and everything at once."""
    heard = Heard()
    async with linked(redis_url, heard) as link:
        for key in ("mine:1", "mine:2", "theirs"):
            redis.set(key, "page")
        await until(lambda: sorted(map(str, heard)) == ["b'mine:1'", "b'mine:2'"])
        heard.clear()
        assert await link.run("DEL", "mine:1") == 1
        redis.delete("mine:2")
        await until(lambda: bool(heard))
        assert heard == [b"mine:2"]
        redis.flushall()
        await until(lambda: heard == [b"mine:2", None])


async def test_answers_come_to_those_who_asked(redis_url: str, redis: sync_redis.Redis) -> None:
    """However many ask at once, however their commands end, and if one does not wait for its answer."""
    async with linked(redis_url, Heard()) as link:
        redis.set("mine:text", "page")
        impatient = asyncio.ensure_future(link.run("DEL", "mine:none"))
        asking = [asyncio.ensure_future(link.run("ECHO", f"{number}")) for number in range(50)]
        await asyncio.sleep(0)
        impatient.cancel()
        assert await asyncio.gather(*asking) == [b"%d" % number for number in range(50)]
        first, refused, last = await link.run_all([("ECHO", "a"), ("INCR", "mine:text"), ("ECHO", "b")])
        assert (first, last) == (b"a", b"b")
        assert isinstance(refused, ResponseError)
        with pytest.raises(ResponseError, match="not an integer"):
            await link.run("INCR", "mine:text")


async def test_end_of_the_connection_fails_all_that_wait(proxy: MakeProxy, redis_url: str) -> None:
    """At once, not when they have waited long enough; and no later command opens it again."""
    between, url = await through(proxy, redis_url)
    async with linked(url.get_secret_value(), Heard()) as link:
        between.swallow()
        asking = [asyncio.ensure_future(link.run("ECHO", "a")) for _ in range(3)]
        await until(lambda: len(link._asked) == 3)
        began = monotonic()
        await between.cut()
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(outcome, RedisConnectionError)
        assert monotonic() - began < 1
        await between.start()
        with pytest.raises(RedisConnectionError, match="has ended"):
            await link.run("ECHO", "a")
        assert not link.connection.is_connected


@asynccontextmanager
async def caching(url: str) -> AsyncIterator[tuple[Cache, Link]]:
    """A cache that is trusted, and its link."""
    deployment = Deployment(url, 5)
    primaries = await deployment.find()
    (link,) = primaries.links
    cache = Cache(Observer(), Keys(), eviction_wait_s=5)
    try:
        await link.open(cache.keys.prefix, Heard().note)
        cache.begin(primaries, "a database")
        cache.trust(is_tracked=True)
        yield cache, link
    finally:
        await close([link])
        await deployment.close()


def test_eviction_over_a_transport_that_has_just_been_closed_is_a_lost_one(
    redis_url: str, runner: asyncio.Runner
) -> None:
    """Whoever hears on it has not learned of that. uvloop raises a RuntimeError, which is no error of Redis'."""

    async def ask() -> None:
        async with caching(redis_url) as (cache, link):
            assert link.connection._writer is not None
            link.connection._writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(CacheUnavailableError):
                await cache.evict([1])
            assert cache.failed.is_set()

    runner.run(ask())


async def test_eviction_that_is_cancelled_is_a_lost_one(redis_url: str, redis: sync_redis.Redis) -> None:
    """A claim could overtake it: its page would go from Redis only."""
    async with caching(redis_url) as (cache, link):
        redis.client_pause(300, all=True)
        evicting = asyncio.ensure_future(cache.evict([1]))
        await until(lambda: bool(link._asked))
        evicting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await evicting
        assert not cache.is_trusted


async def test_claim_waits_for_every_eviction_that_began_before_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two, the first may arrive last: a large one, in parts. Nobody would hear that it deletes the new page."""
    async with caching(redis_url) as (cache, _):
        gate = Gate(monkeypatch, SinglePrimary, "delete")
        first = asyncio.ensure_future(cache.evict([1, 2, 3]))
        await gate.until_reached()
        monkeypatch.undo()
        await cache.evict([3])
        claiming = asyncio.ensure_future(cache.claim(3, "token", force=False))
        other = asyncio.ensure_future(cache.claim(4, "token", force=False))
        assert (await other).is_granted
        assert not claiming.done()
        gate.open()
        await first
        assert (await claiming).is_granted
        assert cache.evictions_under_way == 0


def test_connection_that_is_reset_while_it_is_idle_costs_nothing(redis_url: str, runner: asyncio.Runner) -> None:
    """A pooled one: the next command goes over a new one. redis-py looks for data on it only."""
    place = urlsplit(redis_url)

    async def ask() -> None:
        between = Proxy(str(place.hostname), int(str(place.port)))
        await between.start()
        deployment = Deployment(f"redis://127.0.0.1:{between.port}/0", 5)
        (client,) = (await deployment.find()).clients
        await client.ping()
        (idle,) = client.connection_pool._available_connections
        writer = idle._writer
        assert writer is not None
        try:
            between.reset()
            await until(writer.is_closing)
            assert await client.ping()
            assert between.accepted == 2
        finally:
            await deployment.close()
            await between.cut()

    runner.run(ask())


async def test_server_that_does_not_answer_costs_one_timeout(redis_url: str, redis: sync_redis.Redis) -> None:
    """And the answer that comes too late is nobody else's."""
    async with linked(redis_url, Heard(), 0.2) as link:
        redis.client_pause(600, all=True)
        with pytest.raises(RedisTimeoutError, match="no answer within 200 ms"):
            await link.run("ECHO", "late")
        await until(lambda: not link._asked)
        assert await link.run("ECHO", "next") == b"next"


async def test_redis_ends_a_process_that_reads_nothing(redis_url: str, redis: sync_redis.Redis) -> None:
    """Reports would pile up in Redis: its limit for subscribers is there by default, and none for other clients."""
    async with linked(redis_url, Heard()):
        (own,) = (client for client in redis.client_list() if client["sub"] == "1")
        assert own["resp"] == "3"
        assert "P" in own["flags"]
        assert "B" in own["flags"]


async def test_proxy_that_knows_no_hello_keeps_pages_in_redis_only(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str
) -> None:
    """Evictions go over the connection as well, which then speaks RESP2."""
    between, url = await through(proxy, redis_url)
    between.altered = b"HELLO", b"HOLLA"
    service: Service = await start(redis_url=url)
    source = add_source(config)
    await service.settled(config)
    for _ in range(3):
        page = await service.details(source)
    assert "detail=redis" in page.headers["cache-status"]
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    page = await service.details(source)
    assert page.json()["source"]["name"] == "renamed"
    assert "fwd=miss" in page.headers["cache-status"]
    assert [event.tracking for event in service.events.of(CacheUp)] == [False]


async def test_eviction_does_not_wait_for_readers(start: Start, config: Sql, proxy: MakeProxy, redis_url: str) -> None:
    """More of them than there are connections wait for a slow Redis."""
    between, url = await through(proxy, redis_url)
    service: Service = await start(redis_url=url, redis_timeout_ms=2000)
    cache = service.runtime.cache
    await cache.count("warm", 60_000)
    between.delay_s = 0.1
    reading = [asyncio.ensure_future(cache.count(f"{number}", 60_000)) for number in range(300)]
    await asyncio.sleep(0)
    await cache.evict([add_source(config)])
    assert sum(task.done() for task in reading) < len(reading)
    await asyncio.gather(*reading)
    assert service.events.of(CacheDown) == []
