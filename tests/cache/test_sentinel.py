"""Redis with Sentinels by its URL, and demoted servers: the primary is found, and nothing outdated is ever read."""

import pytest
from pydantic import SecretStr

from service.telemetry.events import CacheDown, CacheUp
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.redis_deployments import Node, RedisUnderSentinels, eventually
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.faults


async def test_primary_is_found_and_followed(
    start: Start, config: Sql, redis_sentinels: RedisUnderSentinels, bound: Bound
) -> None:
    """The primary dies before an eviction is replicated: the new one still has the old page, and no reader gets it."""
    service: Service = await start(redis_url=SecretStr(redis_sentinels.url), memory_cache_mb=0)
    source = add_source(config)
    key = f"source_details:{source}"
    primary, *replicas = redis_sentinels.nodes
    await service.settled(config)
    assert "stored" in (await service.details(source)).headers["cache-status"]
    assert "detail=redis" in (await service.details(source)).headers["cache-status"]
    eventually(lambda: all(replica.client.exists(key) for replica in replicas))
    primary.break_replication()
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    assert not primary.client.exists(key)
    seen = len(service.events.events)
    primary.server.kill()
    with bound("the primary under Sentinels died, seen after 2 s: used again", 20):
        while not any(isinstance(event, CacheUp) for event in service.events.events[seen:]):
            assert (await service.details(source)).json()["source"]["name"] == "renamed"
    page = await service.details(source)
    assert page.json()["source"]["name"] == "renamed"
    # The Sentinel that the test asks may learn of the new primary later than the one that the service asked.
    eventually(lambda: redis_sentinels.primary is not primary)
    assert redis_sentinels.primary.client.exists(key)
    assert len(service.events.of(CacheDown)) == 1


async def test_without_a_primary_pages_come_from_the_database(
    start: Start, config: Sql, redis_sentinels: RedisUnderSentinels
) -> None:
    """Sentinels that are unreachable, or know no such service: degraded, with the reason."""
    service: Service = await start(redis_url=SecretStr(f"{redis_sentinels.url}-of-others"))
    source = add_source(config)
    assert (await service.details(source)).json()["source"]["id"] == source
    health = (await service.client.get("/health/ready")).json()
    assert health["redis"]["status"] == "down"
    assert "pages-of-others" in health["redis"]["reason"]


async def test_server_that_was_demoted_is_not_read(start: Start, config: Sql, two_servers: tuple[Node, Node]) -> None:
    """It keeps its connections, but its keys are another server's: it refuses the empty write that each claim makes."""
    own, other = two_servers
    service: Service = await start(redis_url=SecretStr(own.server.url), memory_cache_mb=0)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    other.client.set(f"source_details:{source}", "no page at all")
    own.client.replicaof("127.0.0.1", other.server.port)
    eventually(lambda: own.client.get(f"source_details:{source}") == "no page at all")
    seen = len(service.events.events)
    for _ in range(3):
        assert (await service.details(source)).json()["source"]["id"] == source
    down = await service.events.until(CacheDown, after=seen)
    assert "no primary" in down.reason
    health = (await service.client.get("/health/ready")).json()
    assert health["redis"]["status"] == "down"
    own.client.replicaof("NO", "ONE")
    await service.events.until(CacheUp, after=seen)
    assert "stored" in (await service.details(source)).headers["cache-status"]


async def test_read_only_replica_is_no_cache(start: Start, config: Sql, two_servers: tuple[Node, Node]) -> None:
    """The URL leads to a replica from the start: keys of its primary are not served."""
    own, other = two_servers
    source = add_source(config)
    own.client.replicaof("127.0.0.1", other.server.port)
    eventually(lambda: own.client.info("replication")["master_link_status"] == "up")
    service: Service = await start(redis_url=SecretStr(own.server.url))
    other.client.set(f"source_details:{source}", "no page at all")
    assert (await service.details(source)).json()["source"]["id"] == source
    assert "no primary" in (await service.client.get("/health/ready")).json()["redis"]["reason"]
    assert not service.events.of(CacheUp)
