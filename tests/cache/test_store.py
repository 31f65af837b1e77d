"""The commands on Redis: what they leave there, and what they wait for."""

import pytest
import redis as sync_redis

from service.telemetry.events import CacheAccepts, CacheRefuses
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.faults


async def test_redis_that_refuses_to_store_is_told_once(service: Service, config: Sql, redis: sync_redis.Redis) -> None:
    """Out of memory, for example: one event, a line in the health report, pages from the process; then it recovers."""
    sources = [add_source(config) for _ in range(5)]
    await service.settled(config)
    redis.config_set("maxmemory", "1")
    try:
        for source in sources * 2:
            page = await service.details(source)
        assert "detail=memory" in page.headers["cache-status"]
        health = (await service.client.get("/health/ready")).json()
        assert any("does not store" in why for why in health["degraded"])
        config.execute("UPDATE sources SET name = name || ' anew'")
        await service.settled(config)
        assert (await service.details(sources[0])).json()["source"]["name"].endswith(" anew")
        assert len(service.events.of(CacheRefuses)) == 1
    finally:
        redis.config_set("maxmemory", "0")
    assert "stored" in (await service.details(sources[1])).headers["cache-status"]
    assert len(service.events.of(CacheAccepts)) == 1
    health = (await service.client.get("/health/ready")).json()
    assert not any("Redis" in why for why in health["degraded"])


async def test_reader_waits_for_an_eviction_of_everything_only_so_long(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan is slow if Redis has many keys; in the meantime PostgreSQL has the page."""
    service: Service = await start(fill_wait_ms=200)
    source = add_source(config)
    await service.settled(config)
    evicting = Gate(monkeypatch, service.runtime.cache, "evict_all")
    config.execute("SELECT pg_notify('source_details_changed', '*')")
    await evicting.until_reached()
    page = await service.details(source)
    assert "fwd=miss" in page.headers["cache-status"]
    assert "stored" not in page.headers["cache-status"]
    evicting.open()


async def test_eviction_by_many_ids_and_of_everything_blocks_nothing(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """Thousands of keys are deleted in batches by SCAN; other keys stay."""
    with redis.pipeline() as pipe:
        for number in range(5000):
            pipe.set(f"source_details:{number}", "x", ex=30)
            pipe.set(f"{{source_details:{number}}}:lease", "x", ex=30)
        pipe.set("somebody:else", "x")
        pipe.execute()
    await service.runtime.pages.evict(range(2000), "notification")
    assert len(list(redis.scan_iter("source_details:*", count=1000))) == 3000
    config.execute("SELECT pg_notify('source_details_changed', '*')")
    await service.settled(config)
    assert set(redis.scan_iter("*", count=1000)) == {"somebody:else", service.runtime.cache.keys.mark}


@pytest.mark.parametrize("key", ["page", "lease"])
async def test_keys_always_have_a_ttl(
    service: Service, config: Sql, redis: sync_redis.Redis, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key stays forever, even if the process dies."""
    source = add_source(config)
    await service.settled(config)
    if key == "lease":

        async def die(*_: object) -> None:
            raise RuntimeError("the process ends here")

        monkeypatch.setattr(service.runtime.cache, "release", die)
        monkeypatch.setattr(service.runtime.cache, "store", die)
        await service.client.get(f"/api/v1/sources/{source}/details")
    else:
        await service.details(source)
    held = list(redis.scan_iter("*"))
    assert held
    assert all(redis.pttl(name) > 0 for name in held)
