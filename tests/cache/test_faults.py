"""Redis that is slow or was restarted: how long a reader waits, and that the service recovers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from service.demo.servers import Valkey
from service.telemetry.events import CacheDown, CacheUp
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start
from tests.fixtures.servers import Servers

pytestmark = pytest.mark.faults


async def test_slow_redis_within_its_timeout_is_waited_for(
    start: Start, config: Sql, proxy: Callable[..., Awaitable[Proxy]], redis_url: str, bound: Bound
) -> None:
    """A page costs the time of two commands, and nothing outdated is read, however late evictions arrive."""
    place = urlsplit(redis_url)
    between = await proxy(place.hostname, place.port)
    service: Service = await start(redis_url=SecretStr(f"redis://127.0.0.1:{between.port}/0"), memory_cache_mb=0)
    source = add_source(config, pg_password="none")
    await service.settled(config)
    between.delay_s = 0.05
    for number in range(3):
        config.execute("UPDATE sources SET name = %s", (str(number),))
        await service.settled(config)
        # Three commands, each there and back, plus the time that does not depend on Redis.
        with bound("Redis slow, 100 ms a command: a miss and a hit", 3 * 2 * between.delay_s + 0.5):
            for found in ("stored", "detail=redis"):
                page = await service.details(source)
                assert page.json()["source"]["name"] == str(number)
                assert found in page.headers["cache-status"]
    assert not service.events.of(CacheDown)


async def test_redis_slower_than_its_timeout_is_left_alone(
    start: Start, config: Sql, proxy: Callable[..., Awaitable[Proxy]], redis_url: str, bound: Bound
) -> None:
    """The first reader waits one timeout, later ones do not; Redis is used again once it is fast enough."""
    place = urlsplit(redis_url)
    between = await proxy(place.hostname, place.port)
    url = SecretStr(f"redis://127.0.0.1:{between.port}/0")
    service: Service = await start(redis_url=url, redis_timeout_ms=300, memory_cache_mb=0)
    sources = [add_source(config, pg_password="none") for _ in range(10)]
    await service.settled(config)
    between.delay_s = 0.5
    with bound("Redis slower than its timeout of 300 ms: ten readers, one after the other", 0.3 + 0.7):
        for source in sources:
            await service.details(source)
    await service.events.until(CacheDown)
    config.execute("UPDATE sources SET name = name || ' renamed'")
    await service.settled(config)
    assert (await service.details(sources[0])).json()["source"]["name"].endswith(" renamed")
    seen = len(service.events.events)
    between.delay_s = 0.0
    await service.events.until(CacheUp, after=seen)
    assert "stored" in (await service.details(sources[0])).headers["cache-status"]
    assert len(service.events.of(CacheDown)) == 1


@pytest.fixture
def own_redis(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that the test may stop."""
    server = Valkey(servers.reaper, tmp_path_factory.mktemp("own-redis").name)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_redis_restarted_empty(start: Start, config: Sql, own_redis: Valkey, how: str, bound: Bound) -> None:
    """Scripts, tracking and pages are lost; all are back with the first reader."""
    service: Service = await start(redis_url=SecretStr(own_redis.url))
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    seen = len(service.events.events)
    if how == "stopped":
        own_redis.stop()
    else:
        own_redis.kill()
    await service.events.until(CacheDown, after=seen)
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    assert (await service.details(source)).json()["source"]["name"] == "renamed"
    own_redis.start()
    with bound("Redis restarted: used again", 8):
        await service.events.until(CacheUp, after=seen)
    assert "stored" in (await service.details(source)).headers["cache-status"]
    async with asyncio.timeout(60):
        while "detail=memory" not in (await service.details(source)).headers["cache-status"]:
            continue
    assert len(service.events.of(CacheDown)) == 1
