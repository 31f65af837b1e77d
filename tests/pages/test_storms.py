"""Many callers at once: one computation for all who miss the caches, two syncs for all who ask for one."""

import asyncio
import resource
from collections.abc import Iterator

import pytest
import redis as sync_redis

from service.telemetry.events import SyncFinished
from tests.fixtures.databases import Sql
from tests.fixtures.gates import held_sync
from tests.fixtures.metadata import add_source, add_table, count_computations
from tests.fixtures.process import Process, StartProcess
from tests.fixtures.runtime import Service, until
from tests.fixtures.shop import tables

pytestmark = pytest.mark.faults
READERS = 2000


@pytest.fixture
def many_sockets() -> Iterator[None]:
    """Allows enough open files for a connection per reader."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * READERS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed here, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def ask(process: Process, source: int, everybody_is_here: asyncio.Barrier) -> bytes:
    """One page over a connection of its own, requested when all other readers are ready too."""
    reader, writer = await asyncio.open_connection(process.host, process.port)
    await everybody_is_here.wait()
    writer.write(
        f"GET /api/v1/sources/{source}/details HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


@pytest.mark.usefixtures("many_sockets")
async def test_stampede_on_an_expired_key_is_one_computation(
    serve: StartProcess, config: Sql, redis: sync_redis.Redis
) -> None:
    """Two thousand readers over two processes, counted in the database."""
    source = add_source(config)
    add_table(config, source, columns=100)
    processes = [serve(), serve()]
    for process in processes:
        process.until_ready()
        process.client.get(f"/api/v1/sources/{source}/details")
    count = count_computations(config)
    redis.delete(f"source_details:{source}")
    barrier = asyncio.Barrier(READERS)
    bodies = await asyncio.gather(*(ask(processes[n % 2], source, barrier) for n in range(READERS)))
    assert len(set(bodies)) == 1
    assert count() == 1


async def test_storm_of_refreshes_is_two_syncs_and_nobody_sees_an_older_state(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hundred callers: the first has a sync of its own, the others share the next, which starts later."""
    shop.execute("CREATE TABLE orders (id int); CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn)
    looking, first = await held_sync(monkeypatch, service, source)
    shop.execute("CREATE TABLE lines (id int)")
    sync = service.runtime.synchronizer.sync
    called = 0

    async def counted(source_id: int) -> object:
        nonlocal called
        called += 1
        return await sync(source_id)

    monkeypatch.setattr(service.runtime.synchronizer, "sync", counted)
    others = [asyncio.create_task(service.sync(source)) for _ in range(499)]
    await until(lambda: called == 499)
    looking.open()
    await first
    for page in await asyncio.gather(*others):
        assert tables(page) == {"lines": 1, "orders": 1}
    assert len(service.events.of(SyncFinished)) == 2
