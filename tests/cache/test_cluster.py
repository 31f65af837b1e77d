"""A Redis Cluster by its URL: pages on every primary, a failover, slots that move; nothing outdated is ever read."""

import asyncio

import pytest
from pydantic import SecretStr

from service.cache.deployment import Deployment
from service.cache.primaries import Primaries
from service.telemetry.events import CacheDown, CacheUp
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source
from tests.fixtures.redis_deployments import Node, RedisCluster, eventually
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.faults


def page_key(source: int) -> str:
    """The key that an operator knows."""
    return f"source_details:{source}"


async def started(start: Start, cluster: RedisCluster, **changes: object) -> Service:
    """A service whose first eviction of everything is done, so that only the test causes what happens next."""
    service: Service = await start(redis_url=SecretStr(cluster.url), **changes)
    await service.events.until(CacheUp)
    return service


def other_than(cluster: RedisCluster, node: Node) -> Node:
    """Another of the first three."""
    return next(each for each in cluster.nodes[:3] if each is not node)


async def test_pages_are_kept_and_evicted_on_every_primary(
    start: Start, config: Sql, redis_cluster: RedisCluster
) -> None:
    """One process reads what another stored; a changed page disappears from both processes and from the cluster."""
    one, other = await started(start, redis_cluster), await started(start, redis_cluster)
    sources = [add_source(config) for _ in range(12)]
    owners = {redis_cluster.owner(page_key(source)).server.port for source in sources}
    assert len(owners) == 3
    await one.settled(config)
    await other.settled(config)
    for source in sources:
        await one.details(source)
        assert "detail=redis" in (await other.details(source)).headers["cache-status"]
        assert redis_cluster.owner(page_key(source)).client.pttl(page_key(source)) > 0
    config.execute("UPDATE sources SET name = name || ' renamed'")
    for service in (one, other):
        await service.settled(config)
    for source in sources:
        assert not redis_cluster.owner(page_key(source)).client.exists(page_key(source))
        for service in (one, other):
            assert (await service.details(source)).json()["source"]["name"].endswith(" renamed")
    config.execute("SELECT pg_notify('source_details_changed', '*')")
    await one.settled(config)
    left = {key for node in redis_cluster.nodes[:3] for key in node.client.keys("*")}
    assert left == {one.runtime.cache.keys.mark}


async def test_delete_by_hand_is_heard_from_every_primary(
    start: Start, config: Sql, redis_cluster: RedisCluster
) -> None:
    """redis-cli DEL reaches the process caches, whichever primary has the key."""
    service = await started(start, redis_cluster)
    sources = [add_source(config) for _ in range(6)]
    await service.settled(config)
    for source in sources:
        while "detail=memory" not in (await service.details(source)).headers["cache-status"]:
            continue
    for source in sources:
        redis_cluster.owner(page_key(source)).client.delete(page_key(source))
    await until(lambda: not any(map(service.runtime.pages.memory.get, sources)))
    for source in sources:
        assert "fwd=miss" in (await service.details(source)).headers["cache-status"]


async def test_promoted_replica_that_missed_an_eviction_is_not_believed(
    start: Start, config: Sql, redis_cluster: RedisCluster
) -> None:
    """Replication is asynchronous: the replica still has the old page when it takes over."""
    service = await started(start, redis_cluster, memory_cache_mb=0)
    source = add_source(config)
    key = page_key(source)
    await service.settled(config)
    await service.details(source)
    primary = redis_cluster.owner(key)
    replica = redis_cluster.replica_of(primary)
    eventually(lambda: key in replica.client.keys("*"))
    primary.break_replication()
    config.execute("UPDATE sources SET name = name || ' renamed'")
    await service.settled(config)
    assert not primary.client.exists(key)
    assert key in replica.client.keys("*")
    redis_cluster.fail_over(primary)
    seen = len(service.events.events)
    # The first answer comes from the old primary, or reveals that there is a new one.
    while not service.events.of(CacheDown):
        assert (await service.details(source)).json()["source"]["name"].endswith(" renamed")
    await service.events.until(CacheUp, after=seen)
    page = await service.details(source)
    assert page.json()["source"]["name"].endswith(" renamed")
    assert "detail=redis" not in page.headers["cache-status"]
    assert key in replica.client.keys("*")
    down = service.events.of(CacheDown)
    assert len(down) == 1
    assert "another primary" in down[0].reason or str(replica.server.port) in down[0].reason


async def test_primary_that_dies_is_replaced(
    start: Start, config: Sql, redis_cluster: RedisCluster, bound: Bound
) -> None:
    """Until its replica takes over, pages come from the process and PostgreSQL; nobody gets an error."""
    service = await started(start, redis_cluster)
    sources = [add_source(config) for _ in range(6)]
    await service.settled(config)
    for source in sources:
        await service.details(source)
    primary = redis_cluster.owner(page_key(sources[0]))
    seen = len(service.events.events)
    primary.server.kill()
    await service.events.until(CacheDown, after=seen)
    config.execute("UPDATE sources SET name = name || ' renamed'")
    await service.settled(config)
    with bound("a primary of the Redis Cluster died: six pages", 1):
        for source in sources:
            assert (await service.details(source)).json()["source"]["name"].endswith(" renamed")
    with bound("a primary of the Redis Cluster died, node timeout 1 s: used again", 15):
        await service.events.until(CacheUp, after=seen)
    config.execute("UPDATE sources SET name = name || ' again'")
    await service.settled(config)
    for source in sources:
        page = await service.details(source)
        assert page.json()["source"]["name"].endswith(" again")
        assert "stored" in page.headers["cache-status"]
    primary.server.start()


async def test_slot_on_its_way_is_evicted_wherever_its_keys_are(
    start: Start, config: Sql, redis_cluster: RedisCluster
) -> None:
    """Page and lease may be on the old primary, the new one, or one on each: an eviction deletes both."""
    service = await started(start, redis_cluster, memory_cache_mb=0)
    source = add_source(config)
    key = page_key(source)
    lease = f"{{{key}}}:lease"
    old = redis_cluster.owner(key)
    new = other_than(redis_cluster, old)
    await service.settled(config)
    for moved in ([], [key], [lease], [key, lease]):
        for name in (key, lease):
            # Not a page: a reader that gets this fails the test.
            old.client.set(name, "old", px=30_000)
        redis_cluster.open_slot(key, old, new)
        for name in moved:
            old.do("MIGRATE", "127.0.0.1", new.server.port, name, 0, 5000)
        config.execute("UPDATE sources SET name = name || '+'")
        await service.settled(config)
        for node in (old, new):
            assert set(node.client.keys("*")) <= {service.runtime.cache.keys.mark}, moved
        # Neither primary can be trusted with the page now: it is computed, and not stored.
        page = await service.details(source)
        assert "fwd=miss" in page.headers["cache-status"]
        assert "stored" not in page.headers["cache-status"]
        redis_cluster.keep_slot(key, old, new)
    redis_cluster.move_slot(key, new)
    await service.details(source)
    page = await service.details(source)
    assert "detail=redis" in page.headers["cache-status"]
    config.execute("UPDATE sources SET name = name || ' renamed'")
    await service.settled(config)
    assert (await service.details(source)).json()["source"]["name"].endswith(" renamed")
    assert not service.events.of(CacheDown)


async def test_everything_is_not_evicted_while_slots_move(
    start: Start, config: Sql, redis_cluster: RedisCluster
) -> None:
    """A key could slip past the scan, so Redis is not used until the slots have arrived."""
    service = await started(start, redis_cluster)
    source = add_source(config)
    await service.settled(config)
    key = page_key(source)
    old = redis_cluster.owner(key)
    new = other_than(redis_cluster, old)
    redis_cluster.open_slot(key, old, new)
    seen = len(service.events.events)
    config.execute("SELECT pg_notify('source_details_changed', '*')")
    down = await service.events.until(CacheDown, after=seen)
    assert "moving" in down.reason
    assert (await service.details(source)).json()["source"]["id"] == source
    redis_cluster.close_slot(key, old, new)
    await service.events.until(CacheUp, after=seen)
    assert "stored" in (await service.details(source)).headers["cache-status"]


async def test_key_that_slipped_past_the_scan_is_not_read(
    start: Start, config: Sql, redis_cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot moves from a server that is not scanned yet to one that already was: the session starts over."""
    found: list[Primaries] = []
    find = Deployment.find

    async def remember(deployment: Deployment) -> Primaries:
        found.append(await find(deployment))
        return found[-1]

    monkeypatch.setattr(Deployment, "find", remember)
    service = await started(start, redis_cluster, memory_cache_mb=0)
    clients = found[-1].clients
    first, last = (
        next(
            node for node in redis_cluster.nodes if node.server.port == client.connection_pool.connection_kwargs["port"]
        )
        for client in (clients[0], clients[-1])
    )
    source = next(
        source for source in (add_source(config) for _ in range(50)) if redis_cluster.owner(page_key(source)) is last
    )
    await service.settled(config)
    await service.details(source)
    scanning = Gate(monkeypatch, clients[1], "scan")
    seen = len(service.events.events)
    config.execute("UPDATE sources SET name = name || ' renamed'")
    config.execute("SELECT pg_notify('source_details_changed', '*')")
    await scanning.until_reached()
    last.client.set(page_key(source), "no page at all")
    redis_cluster.move_slot(page_key(source), first)
    scanning.open()
    down = await service.events.until(CacheDown, after=seen)
    assert "moved" in down.reason
    await service.events.until(CacheUp, after=seen)
    assert (await service.details(source)).json()["source"]["name"].endswith(" renamed")


async def test_plain_url_of_a_cluster_says_what_to_change(
    start: Start, config: Sql, redis_cluster: RedisCluster
) -> None:
    """The cluster is not used, and the reason names the setting."""
    service: Service = await start(redis_url=SecretStr(redis_cluster.nodes[0].server.url))
    sources = [add_source(config) for _ in range(6)]
    async with asyncio.timeout(60):
        while not any("redis+cluster" in event.reason for event in service.events.of(CacheDown)):
            for source in sources:
                await service.details(source)
