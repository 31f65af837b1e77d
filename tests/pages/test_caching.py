"""The caches: their guards, and the headers that a reader gets."""

import asyncio
from typing import Any

import pytest
import redis as sync_redis
from blake3 import blake3

from service.cache.primaries import SinglePrimary
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source, add_table, count_computations
from tests.fixtures.runtime import Service, Start, until


async def test_first_read_misses_then_hits_with_the_same_bytes(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """Redis holds the same body, with a TTL; the process cache follows; If-None-Match gets a 304."""
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
    """`redis-cli DEL` reaches the process caches: Redis notifies them."""
    source = add_source(config)
    processes: list[Service] = [await start(), await start()]
    for process in processes:
        await process.settled(config)
    caches = [process.runtime.pages.memory for process in processes]
    async with asyncio.timeout(5):
        while not all(cache.get(source) for cache in caches):
            for process in processes:
                await process.details(source)
    redis.delete(f"source_details:{source}")
    # Well within the TTL, which would end the page too.
    async with asyncio.timeout(5):
        await until(lambda: not any(cache.get(source) for cache in caches))
    assert "fwd=miss" in (await processes[0].details(source)).headers["cache-status"]


async def test_fill_never_undoes_an_eviction(
    start: Start, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fill that read before a change and stores after the eviction is refused by Redis and by its process."""
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
    """A reader who comes after the notification does not get the page of a fill that started before it."""
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
    """While the eviction is on its way, Redis still holds the old page: no reader of this process gets it."""
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    evicting = Gate(monkeypatch, SinglePrimary, "delete")
    config.execute("UPDATE sources SET name = 'renamed'")
    await evicting.until_reached()
    reading = asyncio.create_task(service.details(source))
    for _ in range(50):
        # Redis answers during these turns: a reader who did not wait would have the old page.
        await service.runtime.cache.count("turn", 60_000)
    assert redis.exists(f"source_details:{source}")
    evicting.open()
    assert (await reading).json()["source"]["name"] == "renamed"


async def test_two_hundred_readers_cost_one_computation(start: Start, config: Sql) -> None:
    """Two processes share it, as counted in the database."""
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
    """No reader waits for the fill of a page that cannot exist."""
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
    """Whatever the caches have is replaced when a client sends no-cache."""
    source = add_source(config)
    await service.settled(config)
    service.plant(redis, source, "rubbish")
    assert (await service.details(source)).text == "rubbish"
    fresh = await service.details(source, headers={"Cache-Control": "no-cache"})
    assert fresh.json()["source"]["id"] == source
    assert "fwd=bypass" in fresh.headers["cache-status"]
    assert (await service.details(source)).json()["source"]["id"] == source


async def test_life_counts_from_the_reading(start: Start, config: Sql, redis: sync_redis.Redis) -> None:
    """The time that a page took to compute is taken off its life: no page gets older than its TTL."""
    source = add_source(config)
    service: Service = await start(cache_ttl_s=5)
    await service.settled(config)
    compute = service.runtime.pages.filling.compute

    async def slow(*arguments: Any, **options: Any) -> Any:
        computed = await compute(*arguments, **options)
        await asyncio.to_thread(config.execute, "SELECT pg_sleep(1.2)")
        return computed

    service.runtime.pages.filling.compute = slow  # type: ignore[method-assign]
    await service.details(source)
    left = redis.pttl(f"source_details:{source}")
    assert isinstance(left, int)
    assert 0 < left <= 3800


async def test_etag_is_the_bytes_own(service: Service, config: Sql) -> None:
    """Two processes give the same bytes the same validator."""
    source = add_source(config)
    page = await service.details(source, headers={"Accept-Encoding": "identity"})
    digest = blake3(page.content).hexdigest(length=16)
    assert page.headers["etag"] == f'"{digest}"'


async def test_fill_never_undoes_an_eviction_without_redis(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no lease to lose: only the process knows that what the fill read is old."""
    service: Service = await start(redis_url="redis://127.0.0.1:1/0")
    source = add_source(config)
    await service.settled(config)
    computing = Gate(monkeypatch, service.runtime.pages.filling, "compute", after=True)
    reading = asyncio.create_task(service.details(source))
    await computing.until_reached()
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    computing.open()
    await reading
    assert service.runtime.pages.memory.get(source) is None
    assert (await service.details(source)).json()["source"]["name"] == "renamed"
