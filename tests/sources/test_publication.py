"""The publication check during a page load: within its budget, remembered, and delaying no reader."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis as sync_redis
from pydantic import SecretStr

from service.telemetry.events import Evicted, SourceDown
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start, until


@pytest.fixture
def published(shop: Sql) -> Sql:
    """A source that publishes two tables."""
    shop.execute("CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE PUBLICATION rosetta FOR TABLE a, b")
    return shop


@pytest.fixture
def source(config: Sql, published: Sql, shop_dsn: str) -> int:
    """That source, registered with both tables."""
    assert published
    registered = add_source(config, shop_dsn)
    for name in ("a", "b"):
        add_table(config, registered, name)
    return registered


def names(page: dict[str, Any]) -> list[str]:
    """The tables that a page shows."""
    return [table["table_name"] for table in page["tables"]]


async def test_table_that_left_the_publication_leaves_the_page_without_a_sync(
    service: Service, config: Sql, published: Sql, source: int, redis: sync_redis.Redis
) -> None:
    """The answer is kept beside the page, so that evictions cause no queries; without it the source is asked again."""
    await service.settled(config)
    page = (await service.details(source)).json()
    assert names(page) == ["a", "b"]
    assert (page["meta"]["tables_from"], page["meta"]["publication_check"]) == ("source", "asked")
    published.execute("ALTER PUBLICATION rosetta DROP TABLE b")
    published.execute("CREATE TABLE new (id int); ALTER PUBLICATION rosetta ADD TABLE new")
    config.execute("UPDATE sources SET total_tables = 17")
    await service.settled(config)
    page = (await service.details(source)).json()
    assert page["source"]["total_tables"] == 17
    assert page["meta"]["publication_check"] == "remembered"
    assert names(page) == ["a", "b"]
    key = f"{{source_details:{source}}}:publication"
    ttl = redis.ttl(key)
    assert isinstance(ttl, int)
    assert 0 < ttl <= 30
    redis.delete(key)
    page = (await service.details(source, headers={"Cache-Control": "no-cache"})).json()
    assert names(page) == ["a"]
    assert page["meta"]["unregistered_tables"] == ["new"]


async def test_evictions_cause_no_remote_calls(
    start: Start, config: Sql, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the process that asked nor in another one."""
    processes: list[Service] = [await start(), await start()]
    asking = [Gate(monkeypatch, process.runtime.connections, "fetch") for process in processes]
    for gate in asking:
        gate.open()
    for number in range(5):
        for process in processes:
            await process.settled(config)
            assert names((await process.details(source)).json()) == ["a", "b"]
        config.execute("UPDATE sources SET total_tables = %s", (number + 10,))
    assert sum(gate.calls for gate in asking) == 1


async def test_remembered_without_redis_as_well(
    start: Start, config: Sql, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process remembers its own answers."""
    service: Service = await start(redis_url="redis://127.0.0.1:1/0")
    asking = Gate(monkeypatch, service.runtime.connections, "fetch")
    asking.open()
    for number in range(3):
        assert names((await service.details(source)).json()) == ["a", "b"]
        config.execute("UPDATE sources SET total_tables = %s", (number + 10,))
        await service.settled(config)
    assert asking.calls == 1


async def test_source_that_swallows_costs_a_page_no_more_than_the_budget(
    start: Start, config: Sql, source: int, shop_dsn: str, proxy: Callable[[str, int], Awaitable[Proxy]], bound: Bound
) -> None:
    """The tables last known to be published are shown; afterwards the source is skipped for a while."""
    assert source
    service: Service = await start(publication_budget_ms=250, source_connect_timeout_ms=400)
    hole = await proxy("127.0.0.1", 1)
    hole.swallow()
    swallowed = add_source(config, shop_dsn, pg_host="127.0.0.1", pg_port=hole.port)
    add_table(config, swallowed, "a")
    await service.settled(config)
    with bound("source swallows, budget 250 ms: its page", 0.25 + 1):
        page = (await service.details(swallowed)).json()
    assert names(page) == ["a"]
    assert page["meta"]["tables_from"] == "metadata"
    assert page["meta"]["publication_check"] == "no answer within 250 ms"
    await service.events.until(SourceDown, lambda event: event.source_id == swallowed)
    accepted = hole.accepted
    page = (await service.details(swallowed, headers={"Cache-Control": "no-cache"})).json()
    assert page["meta"]["publication_check"].startswith("not asked: no connection within 400 ms")
    assert hole.accepted == accepted
    health = (await service.client.get("/health/ready")).json()
    assert health["sources_failing"] == {str(swallowed): "no connection within 400 ms"}


async def test_sync_of_a_source_that_swallows_ends_within_its_budget(
    start: Start, config: Sql, shop_dsn: str, proxy: Callable[[str, int], Awaitable[Proxy]], bound: Bound
) -> None:
    """Also for callers who come while one is already running."""
    service: Service = await start(sync_budget_ms=2000, source_connect_timeout_ms=600_000, publication_budget_ms=250)
    hole = await proxy("127.0.0.1", 1)
    hole.swallow()
    source = add_source(config, shop_dsn, pg_host="127.0.0.1", pg_port=hole.port)
    add_table(config, source, "a")

    async def sync() -> None:
        # Waiting for the running sync first would take 3.2 s.
        with bound("source swallows, budget 2,000 ms: its force_refresh", 2.8):
            page = await service.sync(source)
        assert page["meta"]["sync"]["outcome"] == "failed"
        assert names(page) == ["a"]

    first = asyncio.create_task(sync())
    await until(lambda: hole.accepted)
    await asyncio.gather(first, sync(), sync())


async def test_answer_that_comes_late_mends_the_page(
    start: Start, config: Sql, published: Sql, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that was served with the last known tables is evicted if the source then answers with others."""
    service: Service = await start(publication_budget_ms=1)
    published.execute("ALTER PUBLICATION rosetta DROP TABLE b")
    await service.settled(config)
    asking = Gate(monkeypatch, service.runtime.connections, "fetch", after=True)
    early = (await service.details(source)).json()
    assert names(early) == ["a", "b"]
    assert early["meta"]["tables_from"] == "metadata"
    await asking.until_reached()
    asking.open()
    await service.events.until(Evicted, lambda event: event.cause == "late publication")
    late = (await service.details(source)).json()
    assert names(late) == ["a"]
    assert late["meta"]["tables_from"] == "source"


async def test_publication_of_another_place_is_not_believed(
    service: Service, config: Sql, source: int, shop: Sql
) -> None:
    """A source that has been pointed elsewhere is asked again, whatever was remembered."""
    await service.settled(config)
    assert names((await service.details(source)).json()) == ["a", "b"]
    shop.execute("CREATE PUBLICATION other FOR TABLE b")
    config.execute("UPDATE sources SET publication_name = 'other' WHERE id = %s", (source,))
    await service.settled(config)
    assert names((await service.details(source)).json()) == ["b"]


async def test_publication_that_is_gone_shows_no_table(service: Service, config: Sql, source: int, shop: Sql) -> None:
    """The source itself says that nothing is published."""
    shop.execute("DROP PUBLICATION rosetta")
    await service.settled(config)
    page = (await service.details(source)).json()
    assert names(page) == []
    assert page["meta"]["tables_from"] == "source"


@pytest.mark.parametrize("rubbish", ["", "{}", "7", "x{", '0{"place": 1}', '0{"place": "p", "names": 5}', "\x00"])
async def test_rubbish_under_the_publications_key_is_ignored(
    service: Service, config: Sql, source: int, redis: sync_redis.Redis, rubbish: str
) -> None:
    """Any program can write to Redis."""
    await service.settled(config)
    redis.set(f"{{source_details:{source}}}:publication", rubbish, ex=30)
    page = (await service.details(source)).json()
    assert names(page) == ["a", "b"]
    assert page["meta"]["publication_check"] == "asked"


async def test_table_that_others_register_shows_with_its_notification(
    service: Service, config: Sql, published: Sql, source: int
) -> None:
    """The remembered answer is older and would hide it."""
    await service.sync(source)
    await service.settled(config)
    assert names((await service.details(source)).json()) == ["a", "b"]
    published.execute("CREATE TABLE c (id int); ALTER PUBLICATION rosetta ADD TABLE c")
    add_table(config, source, "c")
    await service.settled(config)
    assert names((await service.details(source)).json()) == ["a", "b", "c"]
    # A change that concerns no table causes no query to the source.
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    assert (await service.details(source)).json()["meta"]["publication_check"] == "remembered"


async def test_sync_by_one_process_shows_in_another_without_redis(
    start: Start, config: Sql, published: Sql, source: int
) -> None:
    """The other process remembers its own, older answer."""
    nowhere = SecretStr("redis://127.0.0.1:1/0")
    one, other = await start(redis_url=nowhere), await start(redis_url=nowhere)
    await one.sync(source)
    await other.settled(config)
    assert names((await other.details(source)).json()) == ["a", "b"]
    published.execute("CREATE TABLE c (id int); ALTER PUBLICATION rosetta ADD TABLE c")
    await one.sync(source)
    await other.settled(config)
    assert names((await other.details(source)).json()) == ["a", "b", "c"]
