"""Background syncs: every source in its turn, once in the deployment, with failures recorded and no turn lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from service import concurrency
from service.sources import schedule
from service.telemetry.events import Evicted, ScheduledSync, SyncFinished
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.process import StartProcess
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.operations


def rows(config: Sql, statement: str) -> list[dict[str, Any]]:
    """The rows that a statement returns."""
    return config.execute(statement.encode()).fetchall()


async def had_turns(service: Service, source: int, count: int = 1) -> None:
    """Waits until the source has had that many turns in this process."""
    await until(lambda: sum(event.source_id == source for event in service.events.of(ScheduledSync)) >= count)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_LOOK_AGAIN_S", 0.1)


async def test_every_source_is_synced_by_itself(start: Start, config: Sql, published: Sql, shop_dsn: str) -> None:
    """At every interval. If nothing changed, cached pages stay."""
    source = add_source(config, shop_dsn)
    service: Service = await start(sync_interval_s=1)
    await had_turns(service, source)
    page = (await service.details(source)).json()
    assert [table["table_name"] for table in page["tables"]] == ["orders"]
    await service.settled(config)
    await service.details(source)
    before = len(service.events.events)
    await had_turns(service, source, 3)
    evictions = [event for event in service.events.events[before:] if isinstance(event, Evicted)]
    assert [event for event in evictions if event.cause == "sync"] == []
    published.execute("CREATE TABLE more (id int)")
    await service.events.until(SyncFinished, lambda event: event.changes > 0, before)
    assert len((await service.details(source)).json()["tables"]) == 2


async def test_many_that_come_at_once_are_spread_over_the_interval(start: Start, config: Sql) -> None:
    """Each becomes due at a time of its own."""
    for _ in range(40):
        add_source(config)
    service: Service = await start(sync_interval_s=1000)
    await until(lambda: rows(config, "SELECT FROM source_details_schedule"))
    (spread,) = rows(
        config,
        "SELECT count(*) AS n, extract(epoch FROM min(due_at) - now()) AS first, "
        "extract(epoch FROM max(due_at) - now()) AS last, count(DISTINCT due_at) AS places "
        "FROM source_details_schedule",
    )
    assert spread["n"] == 40
    assert spread["places"] >= 39
    assert spread["first"] < 200
    assert 800 < spread["last"] <= 1000
    assert service.events.of(ScheduledSync) == []


async def test_failing_source_is_left_alone_longer_each_time_and_its_reason_shown(start: Start, config: Sql) -> None:
    """The page and the table show the reason, and the pause doubles with each failure."""
    source = add_source(config)
    service: Service = await start(sync_interval_s=100)
    for failures in (1, 2, 3):
        await until(lambda: config.execute("UPDATE source_details_schedule SET due_at = now()").rowcount)
        await had_turns(service, source, failures)
        (row,) = rows(
            config, "SELECT *, extract(epoch FROM due_at - now())::float8 AS pause FROM source_details_schedule"
        )
        assert row["failures"] == failures
        assert "cannot be queried" in row["last_error"]
        assert 100 * 2 ** (failures - 1) - 10 < row["pause"] <= 100 * 2 ** (failures - 1)
    page = await service.client.get(f"/sources/{source}/details?fresh=true")
    assert "Its syncs fail: " in page.text
    assert "(since 20" in page.text
    assert "cannot be queried" in page.text


async def test_failure_after_a_manual_sync_is_the_first(start: Start, config: Sql) -> None:
    """What failed before that sync is over: the new failure has its own time, and is shown."""
    source = add_source(config)
    service: Service = await start(sync_interval_s=100)
    for failures in (1, 2):
        await until(lambda: config.execute("UPDATE source_details_schedule SET due_at = now()").rowcount)
        await had_turns(service, source, failures)
    config.execute(
        "INSERT INTO source_details_sync_state (source_id, synced_at, incarnation, source_snapshot) "
        "VALUES (%s, clock_timestamp(), 'x', pg_current_snapshot())",
        (source,),
    )
    config.execute("UPDATE source_details_schedule SET due_at = now()")
    await had_turns(service, source, 3)
    (row,) = rows(config, "SELECT failures FROM source_details_schedule")
    assert row["failures"] == 1
    page = await service.client.get(f"/sources/{source}/details?fresh=true")
    assert "Its syncs fail: " in page.text


async def test_no_two_processes_sync_one_source(start: Start, config: Sql, shop_dsn: str, published: Sql) -> None:
    """Four processes, ten sources, all due at once: ten syncs."""
    assert published
    sources = [add_source(config, shop_dsn) for _ in range(10)]
    services = [await start(sync_interval_s=1000, syncs_at_once=2) for _ in range(4)]
    config.execute(
        "INSERT INTO source_details_schedule (source_id, due_at) SELECT id, now() FROM sources "
        "ON CONFLICT (source_id) DO UPDATE SET due_at = now()"
    )
    await until(lambda: sum(len(service.events.of(ScheduledSync)) for service in services) >= len(sources))
    done = [event.source_id for service in services for event in service.events.of(ScheduledSync)]
    assert sorted(done) == sources
    assert rows(config, "SELECT FROM source_details_schedule WHERE claimed_until IS NOT NULL") == []


async def test_at_most_so_many_at_a_time(start: Start, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """The other sources wait for their turn."""
    assert shop
    for _ in range(6):
        add_source(config, shop_dsn)
    service: Service = await start(sync_interval_s=1000, syncs_at_once=2)
    running, most = 0, 0
    connections: Any = service.runtime.connections
    use = connections.use

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await use(*arguments, **options)
        finally:
            running -= 1

    connections.use = counted
    config.execute(
        "INSERT INTO source_details_schedule (source_id, due_at) SELECT id, now() FROM sources "
        "ON CONFLICT (source_id) DO UPDATE SET due_at = now()"
    )
    await until(lambda: len(service.events.of(ScheduledSync)) >= 6)
    assert most == 2


async def test_at_most_so_many_at_a_time_in_all_processes(start: Start, config: Sql) -> None:
    """Also if all processes claim at the same moment. A lease that has run out no longer counts."""
    for _ in range(12):
        add_source(config)
    services: list[Service] = [await start(syncs_at_once=3) for _ in range(4)]
    config.execute("INSERT INTO source_details_schedule (source_id, due_at) SELECT id, now() FROM sources")

    async def claim_by_all() -> list[int]:
        claims = await asyncio.gather(*(service.runtime.schedule.claim() for service in services * 3))
        return [source_id for source_id in claims if source_id is not None]

    taken = await claim_by_all()
    assert len(set(taken)) == len(taken) == 3
    config.execute("UPDATE source_details_schedule SET claimed_until = now() WHERE source_id = %s", (taken[0],))
    assert len(await claim_by_all()) == 1


async def test_who_stops_gives_back_what_it_had_taken(
    start: Start, config: Sql, proxy: Callable[..., Awaitable[Proxy]]
) -> None:
    """Otherwise, until the leases run out, nobody could sync these sources, and fewer others could be synced."""
    line = await proxy("127.0.0.1", 1)
    line.swallow()
    sources = [add_source(config, pg_port=line.port) for _ in range(2)]
    config.execute("INSERT INTO source_details_schedule (source_id, due_at) SELECT id, now() FROM sources")
    service: Service = await start(sync_interval_s=1000, sync_budget_ms=60_000, source_connect_timeout_ms=60_000)
    await until(lambda: line.accepted == len(sources))
    assert len(rows(config, "SELECT FROM source_details_schedule WHERE claimed_until > now()")) == len(sources)
    await service.runtime.stop()
    assert rows(config, "SELECT FROM source_details_schedule WHERE claimed_until IS NOT NULL") == []
    assert rows(config, "SELECT FROM source_details_schedule WHERE due_at > now()") == []


async def test_who_stops_gives_it_back_however_long_that_takes(
    start: Start, config: Sql, config_dsn: str, proxy: Callable[..., Awaitable[Proxy]]
) -> None:
    """Running tasks are cancelled repeatedly until they end: that must not interrupt the giving back."""
    line = await proxy("127.0.0.1", 1)
    line.swallow()
    add_source(config, pg_port=line.port)
    config.execute("INSERT INTO source_details_schedule (source_id, due_at) SELECT id, now() FROM sources")
    service: Service = await start(sync_interval_s=1000, sync_budget_ms=60_000, source_connect_timeout_ms=60_000)
    await until(lambda: line.accepted == 1)
    with psycopg.connect(config_dsn) as other:
        other.execute("SELECT FROM source_details_schedule FOR UPDATE")
        stop = asyncio.ensure_future(service.runtime.stop())
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%give_back_syncs%'"
        await until(lambda: stop.done() or bool(rows(config, waiting)))
        await asyncio.wait({stop}, timeout=2 * concurrency._CANCEL_AGAIN_S)
    await stop
    assert rows(config, "SELECT FROM source_details_schedule WHERE claimed_until IS NOT NULL") == []


async def test_who_stops_gives_back_what_it_was_about_to_take(start: Start, config: Sql) -> None:
    """The lease is committed, and the answer is still on its way."""
    service: Service = await start(sync_interval_s=1000)
    claim, taken, answered = service.runtime.schedule.claim, asyncio.Event(), asyncio.Event()

    async def slow_claim() -> int | None:
        source_id = await claim()
        if source_id is not None:
            taken.set()
            await answered.wait()
        return source_id

    service.runtime.schedule.claim = slow_claim  # type: ignore[method-assign]
    add_source(config)
    config.execute("INSERT INTO source_details_schedule (source_id, due_at) SELECT id, now() FROM sources")
    await taken.wait()
    stop = asyncio.ensure_future(service.runtime.stop())
    await asyncio.wait({stop}, timeout=2 * concurrency._CANCEL_AGAIN_S)
    answered.set()
    await stop
    assert rows(config, "SELECT FROM source_details_schedule WHERE claimed_until IS NOT NULL") == []


async def test_sync_that_fails_unforeseen_gives_its_turn_back(start: Start, config: Sql, shop_dsn: str) -> None:
    """Otherwise as many such sources as may sync at a time would stop all others."""
    source = add_source(config, shop_dsn)
    config.execute("INSERT INTO source_details_schedule (source_id, due_at) VALUES (%s, now())", (source,))
    # A trigger of the platform may do this: a sync does not expect such an error.
    config.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON sources FOR EACH ROW EXECUTE FUNCTION refuse()
        """
    )
    service: Service = await start(sync_interval_s=1000)
    failed = await service.events.until(ScheduledSync)
    assert failed.error == "the sync failed: RaiseException"
    (row,) = rows(config, "SELECT claimed_until, failures FROM source_details_schedule")
    assert row == {"claimed_until": None, "failures": 1}


def test_what_a_killed_process_had_taken_is_taken_again(
    serve: StartProcess, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Another process takes the source when the lease has run out."""
    assert published
    source = add_source(config, shop_dsn)
    config.execute(
        "INSERT INTO source_details_schedule (source_id, due_at, claimed_until) "
        "VALUES (%s, now() - interval '1 minute', now() + interval '2 seconds')",
        (source,),
    )
    process = serve(ROSETTA_SYNC_INTERVAL_S="300")
    process.until_ready()
    while not rows(config, "SELECT FROM source_details_sync_state"):
        assert process.client.get("/health/live").status_code == 200
    (row,) = rows(config, "SELECT failures, claimed_until, due_at > now() AS is_later FROM source_details_schedule")
    while row["claimed_until"] is not None:
        (row,) = rows(config, "SELECT failures, claimed_until, due_at > now() AS is_later FROM source_details_schedule")
    assert row == {"failures": 0, "claimed_until": None, "is_later": True}


@pytest.mark.usefixtures("published")
async def test_caller_who_shares_a_background_sync_reads_what_it_found(
    start: Start, config: Sql, shop_dsn: str
) -> None:
    """The page is evicted before the caller gets its answer, although no table changed."""
    source = add_source(config, shop_dsn)
    service: Service = await start()
    await service.sync(source)
    await service.details(source)
    before = len(service.events.events)
    quiet = asyncio.create_task(service.runtime.synchronizer.sync_quietly(source))
    await asyncio.gather(quiet, service.runtime.synchronizer.sync(source))
    assert any(event.cause == "sync" for event in service.events.events[before:] if isinstance(event, Evicted))
