"""Sources that fail, in any way, do not slow others, and the reason is shown."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from time import perf_counter

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from service.config.credentials import encrypt
from service.errors import SourceUnreachableError
from service.sources import failures
from service.sources.address import SourceAddress
from service.sources.source_connection import SourceConnection
from tests.fixtures.databases import Sql
from tests.fixtures.gates import held_sync
from tests.fixtures.metadata import KEY, add_source, add_table
from tests.fixtures.process import StartProcess
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start, until
from tests.fixtures.shop import tables

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"pg_port": 1}, "refused"),
        ({"pg_password": encrypt(KEY.encode(), "hidden-word")}, "password authentication failed"),
        ({"pg_database": "no such database"}, "does not exist"),
        ({"pg_host": "name.invalid"}, "cannot look up name.invalid"),
        ({"pg_host": "/nowhere"}, "No such file"),
        ({"pg_username": "nobody' host=other"}, "authentication failed"),
    ],
    ids=["refused", "wrong password", "no database", "no such name", "no socket", "odd user"],
)
async def test_reason_is_told(
    service: Service, config: Sql, shop_dsn: str, columns: dict[str, object], why: str
) -> None:
    """On the page, which is still served, and in the answer to a sync."""
    source = add_source(config, shop_dsn, **columns)
    add_table(config, source)
    page = await service.sync(source)
    assert why in page["meta"]["sync"]["error"]
    assert tables(page) == {"orders": 1}
    response = await service.client.post(f"/api/v1/sources/{source}/refresh")
    assert response.status_code == 502
    assert why in response.json()["message"]


async def test_publication_and_slot_that_are_gone_are_flags_and_no_failure(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """The source answers, and its answer is that there are none."""
    name = f"slot_{config.info.dbname}"
    published.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
    source = add_source(config, shop_dsn, replication_name=name)
    page = await service.sync(source)
    assert (page["source"]["is_publication_enabled"], page["source"]["is_replication_enabled"]) == (True, True)
    assert page["meta"]["sync"]["slot"] == {"plugin": "pgoutput", "active": False}
    published.execute("DROP PUBLICATION rosetta")
    published.execute("SELECT pg_drop_replication_slot(%s)", (name,))
    page = await service.sync(source)
    assert page["meta"]["sync"]["outcome"] == "synced"
    assert (page["source"]["is_publication_enabled"], page["source"]["is_replication_enabled"]) == (False, False)
    assert page["meta"]["sync"]["tables_dropped"] == ["orders"]
    assert tables(page) == {}


async def test_change_in_the_middle_of_a_sync_is_seen_by_the_next(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync reads the source in one snapshot: never half of a change."""
    source = add_source(config, shop_dsn)
    looking, syncing = await held_sync(monkeypatch, service, source)
    published.execute("ALTER TABLE orders ADD COLUMN a int; CREATE TABLE lines (id int)")
    looking.open()
    assert tables(await syncing) == {"orders": 1}
    assert tables(await service.sync(source)) == {"lines": 1, "orders": 2}


async def test_source_of_ten_thousand_tables_is_synced(start: Start, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """In one sync; a second one changes nothing."""
    service: Service = await start(sync_budget_ms=100_000, source_statement_timeout_ms=60_000, config_timeout_ms=60_000)
    for batch in range(20):
        # A transaction for each batch: a new table is locked until its transaction ends.
        shop.execute("".join(f"CREATE TABLE t_{batch}_{n} (id int PRIMARY KEY, note text);" for n in range(500)))
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn)
    page = await service.sync(source)
    assert page["meta"]["sync"]["outcome"] == "synced"
    assert len(page["tables"]) == 10_000
    again = await service.sync(source)
    assert again["meta"]["sync"]["tables_added"] == again["meta"]["sync"]["tables_changed"] == []
    assert again["source"]["total_tables"] == 10_000


@pytest.mark.alone
async def test_twenty_that_swallow_slow_no_healthy_one(
    serve: StartProcess, config: Sql, shop_dsn: str, proxy: Callable[[str, int], Awaitable[Proxy]]
) -> None:
    """The p99 of a healthy page, computed and cached, is at most twice that beside twenty healthy sources."""
    hole = await proxy("127.0.0.1", 1)
    hole.swallow()
    healthy = add_source(config, shop_dsn)
    add_table(config, healthy)
    answering = [add_source(config, shop_dsn) for _ in range(20)]
    swallowing = [add_source(config, shop_dsn, pg_host="127.0.0.1", pg_port=hole.port) for _ in range(20)]
    process = serve(ROSETTA_SOURCE_REST_S="1")
    process.until_ready()
    is_over = False
    path = "/api/v1/sources/{}/details"
    afresh = {"Cache-Control": "no-cache"}

    async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:

        async def load(source: int) -> None:
            while not is_over:
                await client.get(path.format(source), headers=afresh)

        async def p99_beside(others: list[int]) -> float:
            nonlocal is_over
            is_over = False
            loads = [asyncio.create_task(load(source)) for source in others]
            times = []
            for number in range(100):
                started = perf_counter()
                await client.get(path.format(healthy), headers=afresh if number % 4 == 0 else {})
                times.append(perf_counter() - started)
            is_over = True
            await asyncio.gather(*loads)
            return sorted(times)[98]

        # In turn, and the best of three, to leave out what a busy machine adds.
        ratios: list[float] = []
        while len(ratios) < 3 and min(ratios, default=3) > 2:
            usual, beside = await p99_beside(answering), await p99_beside(swallowing)
            ratios.append(beside / usual)
            print(f"p99 of a healthy source: {usual * 1000:.1f} ms; beside ones that swallow {beside * 1000:.1f} ms")
    assert min(ratios) <= 2


async def test_failure_that_nobody_meets_again_is_forgotten(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, of a deleted source: the report must not name it forever."""
    source = add_source(config)
    await service.details(source)
    await until(lambda: service.runtime.connections.failures.reasons)
    config.execute("DELETE FROM sources")
    await service.runtime.connections.sweep()
    assert set(service.runtime.connections.failures.reasons) == {source}
    monkeypatch.setattr(failures, "_FORGET_S", -60)
    await service.runtime.connections.sweep()
    assert (await service.client.get("/health/ready")).json()["sources_failing"] == {}


async def test_source_that_leads_elsewhere_now_is_asked_at_once(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """The old address failed, not the source."""
    assert published
    source = add_source(config, shop_dsn)
    config.execute("UPDATE sources SET pg_port = 1")
    await service.settled(config)
    assert "refused" in (await service.details(source)).json()["meta"]["publication_check"]
    config.execute("UPDATE sources SET pg_port = %s", (conninfo_to_dict(shop_dsn)["port"],))
    await service.settled(config)
    assert (await service.details(source)).json()["meta"]["publication_check"] == "asked"


@pytest.mark.parametrize("is_up", [True, False], ids=["answers", "fails"])
@pytest.mark.parametrize("leads_elsewhere", [True, False], ids=["other address", "same address"])
async def test_late_outcome_at_an_earlier_address_says_nothing_of_the_source(
    service: Service, config: Sql, shop_dsn: str, *, leads_elsewhere: bool, is_up: bool
) -> None:
    """A host that drops packets fails long after the address was put right. At the same address the last one counts."""
    source = add_source(config, shop_dsn)
    connections = service.runtime.connections
    row = await service.runtime.database.fetch_one("source_connection", id=source)
    assert row is not None
    address = SourceAddress.of(row)
    earlier = replace(address, pg_host="localhost") if leads_elsewhere else address
    begun, late = asyncio.Event(), asyncio.Event()

    async def end(*, well: bool) -> None:
        if not well:
            raise psycopg.OperationalError("it fails")

    async def end_late(_: SourceConnection) -> None:
        begun.set()
        await late.wait()
        await end(well=not is_up)

    first = asyncio.ensure_future(connections.use(earlier, end_late, budget_s=60))
    await asyncio.wait({first, asyncio.ensure_future(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert begun.is_set()
    with nullcontext() if is_up else pytest.raises(SourceUnreachableError):
        await connections.use(address, lambda _: end(well=is_up), budget_s=60)
    late.set()
    with pytest.raises(SourceUnreachableError) if is_up else nullcontext():
        await first
    is_failing = is_up != leads_elsewhere
    assert list(connections.failures.reasons) == ([source] if is_failing else [])
