"""The caches: their guards, and what a reader is told."""

import asyncio
import hashlib
from typing import Any

import pytest
import redis as sync_redis

from service.cache.primaries import SinglePrimary
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source, add_table, count_computations
from tests.fixtures.runtime import Service, Start


async def test_first_read_misses_then_hits_with_the_same_bytes(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """Redis holds the very body, with a TTL; the process cache follows; If-None-Match costs a 304."""
    source = add_source(config)
    await service.settled(config)
    miss = await service.details(source)
    assert "fwd=miss" in miss.headers["cache-status"]
    assert "stored" in miss.headers["cache-status"]
    assert redis.get(f"source_details:{source}") == miss.text
    ttl = redis.ttl(f"source_details:{source}")
    assert isinstance(ttl, int)
    assert 0 < ttl <= 30
    hits = [await service.details(source) for _ in range(3)]
    for hit in hits:
        assert hit.content == miss.content
        assert hit.headers["etag"] == miss.headers["etag"]
        assert hit.headers["cache-status"].startswith("rosetta; hit; ttl=")
    unchanged = await service.client.get(
        f"/api/v1/sources/{source}/details", headers={"If-None-Match": f'W/"other", {miss.headers["etag"]}'}
    )
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_deletion_by_hand_takes_effect_in_every_process(
    start: Start, config: Sql, redis: sync_redis.Redis
) -> None:
    """`redis-cli DEL` reaches the process caches: they hear of it through Redis."""
    source = add_source(config)
    processes: list[Service] = [await start(), await start()]
    for process in processes:
        await process.settled(config)
    for process in processes:
        for _ in range(3):
            await process.details(source)
    heard = [asyncio.Event(), asyncio.Event()]
    for process, event in zip(processes, heard, strict=True):
        session = process.runtime.session
        original = session._on_invalid

        def hear(source_id: int | None, original: Any = original, event: asyncio.Event = event) -> None:
            original(source_id)
            event.set()

        session._on_invalid = hear
    redis.delete(f"source_details:{source}")
    for event in heard:
        await asyncio.wait_for(event.wait(), 5)
    for process in processes:
        assert process.runtime.pages.memory.get(source) is None
    assert "fwd=miss" in (await processes[0].details(source)).headers["cache-status"]


async def test_fill_never_undoes_an_eviction(
    start: Start, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that read before a change, and stores after the eviction, is refused in Redis and in its process."""
    source = add_source(config)
    slow, other = await start(), await start()
    await slow.settled(config)
    await other.settled(config)
    storing = Gate(monkeypatch, slow.runtime.cache, "store")
    reading = asyncio.create_task(slow.details(source))
    await storing.until_reached()

    config.execute("UPDATE sources SET name = 'renamed' WHERE id = %s", (source,))
    for process in (slow, other):
        await process.settled(config)
    storing.open()
    old = await reading
    assert old.json()["source"]["name"] != "renamed"
    assert "stored" not in old.headers["cache-status"]
    assert redis.get(f"source_details:{source}") is None
    assert slow.runtime.pages.memory.get(source) is None
    for process in (slow, other):
        assert (await process.details(source)).json()["source"]["name"] == "renamed"


async def test_reader_after_an_eviction_does_not_join_an_older_fill(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes after the notification does not get what a fill from before it will answer."""
    source = add_source(config)
    await service.settled(config)
    storing = Gate(monkeypatch, service.runtime.cache, "store")
    early = asyncio.create_task(service.details(source))
    await storing.until_reached()
    config.execute("UPDATE sources SET name = 'renamed' WHERE id = %s", (source,))
    await service.settled(config)
    late = asyncio.create_task(service.details(source))
    storing.open()
    assert (await late).json()["source"]["name"] == "renamed"
    await early


async def test_reader_after_the_notification_waits_for_the_eviction(
    service: Service, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the eviction is on its way to Redis the old page still stands there: nobody here is given it."""
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    evicting = Gate(monkeypatch, SinglePrimary, "delete")
    config.execute("UPDATE sources SET name = 'renamed'")
    await evicting.until_reached()
    reading = asyncio.create_task(service.details(source))
    for _ in range(50):
        # Redis answers within these turns; the reader would have its page.
        await service.runtime.cache.count("turn", 60_000)
    assert redis.exists(f"source_details:{source}")
    evicting.open()
    assert (await reading).json()["source"]["name"] == "renamed"


async def test_two_hundred_readers_cost_one_computation(start: Start, config: Sql) -> None:
    """In two processes, counted in the database."""
    source = add_source(config)
    add_table(config, source)
    count = count_computations(config)
    processes: list[Service] = [await start(), await start()]
    for process in processes:
        await process.settled(config)
    pages = await asyncio.gather(*(processes[n % 2].details(source) for n in range(200)))
    assert count() == 1
    assert len({page.content for page in pages}) == 1
    assert any("collapsed" in page.headers["cache-status"] for page in pages)


async def test_unknown_source_leaves_no_lease_behind(service: Service, redis: sync_redis.Redis) -> None:
    """Nobody waits for the fill of a page that cannot be."""
    for _ in range(2):
        response = await service.client.get("/api/v1/sources/999/details")
        assert response.status_code == 404
        assert response.json() == {
            "error": "EntityNotFoundError",
            "message": "Source with id '999' not found",
            "details": {"entity_type": "Source", "entity_id": "999"},
        }
    assert redis.keys("*source_details:999*") == []


async def test_no_cache_reads_past_the_caches_and_mends_them(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """A wrong value under our key goes when a client insists."""
    source = add_source(config)
    await service.settled(config)
    redis.set(f"source_details:{source}", "rubbish", ex=30)
    assert (await service.details(source)).text == "rubbish"
    fresh = await service.details(source, headers={"Cache-Control": "no-cache"})
    assert fresh.json()["source"]["id"] == source
    assert "fwd=bypass" in fresh.headers["cache-status"]
    assert (await service.details(source)).json()["source"]["id"] == source


async def test_life_counts_from_the_reading(start: Start, config: Sql, redis: sync_redis.Redis) -> None:
    """A page that took long to compute lives shorter by as much: none gets older than its TTL."""
    source = add_source(config)
    service: Service = await start(cache_ttl_s=5)
    await service.settled(config)
    compute = service.runtime.pages.compute

    async def slow(*arguments: Any, **options: Any) -> Any:
        computed = await compute(*arguments, **options)
        await asyncio.to_thread(config.execute, "SELECT pg_sleep(1.2)")
        return computed

    service.runtime.pages.compute = slow  # type: ignore[method-assign]
    await service.details(source)
    left = redis.pttl(f"source_details:{source}")
    assert isinstance(left, int)
    assert 0 < left <= 3800


async def test_etag_is_the_bytes_own(service: Service, config: Sql) -> None:
    """Two processes give the same bytes the same validator."""
    source = add_source(config)
    page = await service.details(source)
    digest = hashlib.blake2b(page.content, digest_size=16).hexdigest()
    assert page.headers["etag"] == f'"{digest}"'


async def test_fill_never_undoes_an_eviction_without_redis(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no lease to lose, the process alone knows that what was read is old."""
    service: Service = await start(redis_url="redis://127.0.0.1:1/0")
    source = add_source(config)
    await service.settled(config)
    computing = Gate(monkeypatch, service.runtime.pages, "compute", after=True)
    reading = asyncio.create_task(service.details(source))
    await computing.until_reached()
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    computing.open()
    await reading
    assert service.runtime.pages.memory.get(source) is None
    assert (await service.details(source)).json()["source"]["name"] == "renamed"
