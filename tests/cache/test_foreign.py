"""What is in Redis may be somebody else's: another deployment's, another program's, another server's."""

import json
from hashlib import blake2b

import pytest
import redis as sync_redis
from pydantic import SecretStr

from service.telemetry.events import CacheDown, CacheUp, PageReplaced
from tests.fixtures.databases import Databases, Sql, as_service, connect
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import MakeProxy
from tests.fixtures.redis_deployments import Node
from tests.fixtures.runtime import Service, Start


async def test_redis_of_another_config_database_is_not_used(
    start: Start, config: Sql, databases: Databases, redis: sync_redis.Redis
) -> None:
    """A staging copy beside the original: pages do not mix, and somebody is told. A prefix lets them share."""
    copy_dsn = databases.migrated()
    first = await start()
    source = add_source(config, name="original")
    await first.settled(config)
    await first.details(source)
    with connect(copy_dsn) as copy:
        assert add_source(copy, name="copy") == source
        second = await start(config_dsn=as_service(copy_dsn))
        down = await second.events.until(CacheDown)
        assert "another config database" in down.reason
        assert "test_" in down.reason
        health = (await second.client.get("/health/ready")).json()
        assert health["status"] == "degraded"
        assert "ROSETTA_REDIS_PREFIX" in health["redis"]["reason"]
        assert (await second.details(source)).json()["source"]["name"] == "copy"
        assert (await first.details(source)).json()["source"]["name"] == "original"

        third = await start(config_dsn=as_service(copy_dsn), redis_prefix="copy:")
        await third.settled(copy)
        assert "stored" in (await third.details(source)).headers["cache-status"]
        assert json.loads(str(redis.get(f"copy:source_details:{source}")))["source"]["name"] == "copy"
        assert json.loads(str(redis.get(f"source_details:{source}")))["source"]["name"] == "original"
        redis.delete(f"copy:source_details:{source}")
        copy.execute("UPDATE sources SET name = 'renamed'")
        await third.settled(copy)
        assert (await third.details(source)).json()["source"]["name"] == "renamed"
        assert not third.events.of(CacheDown)


async def test_mark_that_another_deployment_took_over_ends_the_session(
    start: Start, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark was lost (FLUSHALL), and the other deployment was first to set it."""
    monkeypatch.setattr("service.cache.session.MARK_AGAIN_S", 0.05)
    service = await start()
    await service.settled(config)
    seen = len(service.events.events)
    redis.set(service.runtime.cache.keys.mark, "another/database")
    down = await service.events.until(CacheDown, after=seen)
    assert "another/database" in down.reason
    redis.delete(service.runtime.cache.keys.mark)
    await service.events.until(CacheUp, after=seen)


@pytest.mark.parametrize("what", ["garbage", "nothing", "list", "other source", "other deployment"])
async def test_page_that_is_not_ours_is_never_served(
    start: Start, config: Sql, redis: sync_redis.Redis, what: str
) -> None:
    """It is replaced, and counted."""
    service: Service = await start()
    source, other = add_source(config), add_source(config)
    await service.settled(config)
    await service.details(other)
    keys = service.runtime.cache.keys
    match what:
        case "garbage":
            redis.set(keys.page(source), "rubbish")
        case "nothing":
            redis.set(keys.page(source), "")
        case "list":
            for key in (keys.page(source), keys.seal(source), keys.lease(source), keys.publication(source)):
                redis.rpush(key, "rubbish")
        case "other source":
            redis.rename(keys.page(other), keys.page(source))
            redis.rename(keys.seal(other), keys.seal(source))
        case _:
            service.plant(redis, source, str(redis.get(keys.page(other))))
            redis.set(keys.seal(source), str(redis.get(keys.seal(source))).replace(" ", " other"))
    seen = len(service.events.events)
    page = await service.details(source)
    assert page.json()["source"]["id"] == source
    assert "stored" in page.headers["cache-status"]
    assert redis.get(keys.page(source)) == page.text
    assert 0 < redis.pttl(keys.page(source)) <= 30_000
    assert (await service.events.until(PageReplaced, after=seen)).source_id == source
    assert "rosetta_pages_replaced_total 1.0" in (await service.client.get("/metrics")).text
    assert service.runtime.cache.refusal is None


async def test_page_of_version_0_1_0_is_read(service: Service, config: Sql, redis: sync_redis.Redis) -> None:
    """It was sealed with another digest; the processes of both versions would else replace each other's pages."""
    source = add_source(config)
    await service.settled(config)
    page = await service.details(source, headers={"Accept-Encoding": "identity"})
    keys = service.runtime.cache.keys
    identity = str(redis.get(keys.seal(source))).rpartition(" ")[0]
    redis.set(keys.seal(source), f"{identity} {blake2b(page.content, digest_size=16).hexdigest()}", ex=30)
    claim = await service.runtime.cache.claim(source, "t", force=False)
    assert claim.page == page.content
    assert page.headers["etag"] == f'"{claim.digest}"'
    assert service.events.of(PageReplaced) == []


async def test_address_that_moves_to_another_server_ends_the_session(
    start: Start, config: Sql, two_servers: tuple[Node, Node], proxy: MakeProxy
) -> None:
    """The session's own connection still leads to the first server; nothing is read from the second."""
    one, other = two_servers
    between = await proxy("127.0.0.1", one.server.port)
    service: Service = await start(
        redis_url=SecretStr(f"redis://127.0.0.1:{between.port}/0"), memory_cache_mb=0, redis_timeout_ms=2000
    )
    source = add_source(config)
    await service.settled(config)
    old = (await service.details(source)).text
    keys = service.runtime.cache.keys
    seal = str(one.client.get(keys.seal(source)))
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    # A server that has missed the eviction, as a promoted replica may.
    other.client.set(keys.page(source), old, ex=30)
    other.client.set(keys.seal(source), seal, ex=30)
    between.lead_to("127.0.0.1", other.server.port)
    (client,) = service.runtime.cache._primaries.clients  # type: ignore[union-attr]  # there is a session
    seen = len(service.events.events)
    await client.connection_pool.disconnect(inuse_connections=False)
    assert (await service.details(source)).json()["source"]["name"] == "renamed"
    down = await service.events.until(CacheDown, after=seen)
    assert "another server" in down.reason
    await service.events.until(CacheUp, after=seen)
    assert (await service.details(source)).json()["source"]["name"] == "renamed"
