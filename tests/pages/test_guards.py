"""Guards of the read path that no page shows at once: each of these fails without one (tests/simulation/mutants.py)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis as sync_redis

from service.cache import primaries
from service.cache.digests import digest_of
from service.cache.link import Key
from service.cache.primaries import Client
from service.cache.values import CacheUnavailableError
from service.pages.memory import Memory
from service.pages.page import Page
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until


def test_process_cache_is_bounded_in_bytes_and_time() -> None:
    """The least recently used pages go; one above the limit is not kept; one past its life is the last known."""
    memory = Memory(100, 1e18)
    for number in range(5):
        memory.put(number, Page(b"x" * 30, 1e18, 30), is_current=True)
    assert memory.bytes <= 100
    assert [number for number in range(5) if memory.get(number)] == [2, 3, 4]
    memory.put(9, Page(b"x" * 101, 1e18, 30), is_current=True)
    assert memory.get(9) is None
    assert memory.get(4) is not None
    memory.put(7, Page(b"x", 0, 30), is_current=True)
    assert memory.get(7) is None
    assert memory.last_known(7) is not None


async def test_lease_is_given_back_by_its_holder_alone(service: Service, redis: sync_redis.Redis) -> None:
    """A fill that took too long has lost its lease to another: it may not end that one's."""
    cache, lease = service.runtime.cache, service.runtime.cache.keys.lease(1)
    assert (await cache.claim(1, "first", force=False)).is_granted
    assert not (await cache.claim(1, "second", force=False)).is_granted
    assert (await cache.claim(1, "second", force=True)).is_granted
    await cache.release(1, "first")
    assert redis.get(lease) == "second"
    assert not await cache.store(1, "first", b"page", "digest", 1000)
    await cache.release(1, "second")
    assert redis.get(lease) is None


async def test_page_that_is_stored_while_all_are_evicted_does_not_stay(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease was found by the scan, and not yet deleted: the pages have to be scanned afterwards."""
    cache = service.runtime.cache
    assert (await cache.claim(1, "slow", force=False)).is_granted
    scan = primaries._scan

    async def scan_and_store(client: Client, pattern: str) -> AsyncIterator[list[Key]]:
        async for found in scan(client, pattern):
            if cache.keys.lease(1).encode() in found:
                assert await cache.store(1, "slow", b"old", digest_of(b"old"), 10_000)
            yield found

    monkeypatch.setattr(primaries, "_scan", scan_and_store)
    await cache.evict(None)
    assert (await cache.claim(1, "next", force=False)).is_granted


async def test_publication_of_an_older_sync_replaces_none(service: Service) -> None:
    """Two syncs of two processes: the one that was recorded later may have stored first."""
    cache = service.runtime.cache
    await cache.remember_publication(1, 5, b"{later}", 10_000)
    await cache.remember_publication(1, 4, b"{earlier}", 10_000)
    held = (await cache.claim(1, "token", force=True)).publication
    assert held is not None
    assert held.text == b"{later}"


async def test_doubted_page_replaces_no_newer_one(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fill was doubted and took long; another has read later."""
    source = add_source(config)
    await service.settled(config)
    pages = service.runtime.pages
    gate = Gate(monkeypatch, pages.filling, "compute")
    slow = asyncio.ensure_future(pages.read(source))
    await gate.until_reached()
    pages.doubt(source)
    monkeypatch.undo()
    newer = (await pages.reload(source)).page
    gate.open()
    await slow
    await until(lambda: not pages._fills)
    assert pages.memory.last_known(source) is newer


async def test_page_that_is_deleted_while_it_is_read_is_not_kept(
    service: Service, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has answered with the page, and the process has not gone on yet."""
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    pages = service.runtime.pages
    pages.memory.drop([source])
    gate = Gate(monkeypatch, service.runtime.cache, "claim", after=True)
    reading = asyncio.ensure_future(pages.read(source))
    await gate.until_reached()
    (fill,) = pages._fills[source]
    before = fill.state
    redis.delete(service.runtime.cache.keys.page(source))
    await until(lambda: fill.state is not before)
    gate.open()
    assert (await reading).found == "redis"
    await until(lambda: not pages._fills)
    assert pages.memory.get(source) is None


async def test_page_that_redis_does_not_hold_is_asked_for_again(
    start: Start, config: Sql, redis: sync_redis.Redis
) -> None:
    """A fill waited too long for another's. Redis would report no DEL of its page: the process may not rest on it."""
    service: Service = await start(fill_wait_ms=1)
    source = add_source(config)
    await service.settled(config)
    cache = service.runtime.cache
    assert (await cache.claim(source, "another's", force=False)).is_granted
    page = await service.details(source)
    assert "stored" not in page.headers["cache-status"]
    # Known if Redis fails, but not served while it answers.
    assert service.runtime.pages.memory.last_known(source) is not None
    redis.delete(cache.keys.lease(source))
    assert "stored" in (await service.details(source)).headers["cache-status"]


async def test_failure_of_an_earlier_session_ends_no_later_one(service: Service) -> None:
    """A command of that session was still waiting for its answer."""
    cache = service.runtime.cache
    cache._fail(await service.runtime.redis.find(), "too late")
    assert cache.is_trusted


async def test_readers_in_the_queue_of_a_redis_that_hangs_wait_for_one_timeout(
    start: Start, redis: sync_redis.Redis, bound: Bound
) -> None:
    """More than there are connections: those in the queue do not begin to wait when the first have failed."""
    service: Service = await start(redis_timeout_ms=300)
    cache = service.runtime.cache
    await cache.count("warm", 60_000)
    redis.client_pause(5000, all=True)
    with bound("Redis hangs, timeout 300 ms: four hundred readers at once", 0.3 + 1):
        counts = await asyncio.gather(*(cache.count(f"{n}", 60_000) for n in range(400)), return_exceptions=True)
    assert all(isinstance(count, CacheUnavailableError) for count in counts)
    redis.client_unpause()
