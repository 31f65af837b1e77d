"""Behind PgBouncer in transaction mode: pages go through the pooler, the listener connects directly."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from service.errors import StartError
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.pgbouncer import PgBouncer
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start
from tests.fixtures.shop import tables

pytestmark = pytest.mark.faults


async def pooled(start: Start, pgbouncer: PgBouncer, config_dsn: str, **changes: object) -> Service:
    """A service whose reads go through the pooler."""
    service: Service = await start(
        config_dsn=SecretStr(pgbouncer.dsn(config_dsn)), listener_dsn=SecretStr(config_dsn), **changes
    )
    return service


async def test_pages_syncs_and_refreshes_through_the_pooler(
    pgbouncer: PgBouncer, start: Start, config: Sql, config_dsn: str, published: Sql, shop_dsn: str
) -> None:
    """More readers than the pooler has sessions, each with prepared statements; changes are evicted at once."""
    published.execute("CREATE TABLE customers (id int PRIMARY KEY)")
    service = await pooled(start, pgbouncer, config_dsn, memory_cache_mb=0)
    sources = [add_source(config, shop_dsn) for _ in range(20)]
    for source in sources:
        add_table(config, source)
    await service.settled(config)
    for _ in range(3):
        pages = await asyncio.gather(*(service.details(source) for source in sources))
        assert [page.json()["source"]["id"] for page in pages] == sources
        config.execute("UPDATE sources SET name = name || '+'")
        await service.settled(config)
    page = await service.sync(sources[0])
    assert "error" not in page["meta"]["sync"]
    assert tables(page)
    assert page["source"]["name"].endswith("+++")
    assert (await service.client.get("/health/ready")).status_code == 200


def messages(said: bytes) -> str:
    """The types of the messages that a PostgreSQL client sent after its startup message, one letter each."""
    types = ""
    start = int.from_bytes(said[:4])
    while start < len(said):
        types += chr(said[start])
        start += 1 + int.from_bytes(said[start + 1 : start + 5])
    return types


async def test_no_server_process_of_the_pooler_is_kept_for_nothing(
    pgbouncer: PgBouncer,
    start: Start,
    config: Sql,
    config_dsn: str,
    published: Sql,
    shop_dsn: str,
    proxy: Callable[..., Awaitable[Proxy]],
) -> None:
    """A Flush that arrives after the last Sync was answered is assigned one for good: nothing answers a lone Flush."""
    published.execute("CREATE TABLE customers (id int PRIMARY KEY)")
    line = await proxy("127.0.0.1", pgbouncer.port)
    dsn = make_conninfo(config_dsn, host="127.0.0.1", port=line.port, sslmode="disable", gssencmode="disable")
    service: Service = await start(config_dsn=SecretStr(dsn), listener_dsn=SecretStr(config_dsn), memory_cache_mb=0)
    source = add_source(config, shop_dsn)
    await service.settled(config)
    await service.details(source)
    assert (await service.client.get("/health/ready")).status_code == 200
    assert "error" not in (await service.sync(source))["meta"]["sync"]
    sent = [messages(bytes(said)) for said in line.said]
    assert any("PBDES" in types for types in sent)
    assert not any("SH" in types for types in sent)


async def test_settings_of_other_clients_of_the_pooler_are_left_alone(
    pgbouncer: PgBouncer, start: Start, config: Sql, config_dsn: str
) -> None:
    """Sessions are shared: the service's lock_timeout would make the platform's statements fail."""
    service = await pooled(start, pgbouncer, config_dsn)
    sources = [add_source(config) for _ in range(8)]
    await service.settled(config)
    await asyncio.gather(*(service.details(source) for source in sources))
    with connect(pgbouncer.dsn(config_dsn)) as other:
        for _ in range(8):
            assert other.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "0"}


async def test_locked_view_is_passed_by_through_the_pooler(
    pgbouncer: PgBouncer, start: Start, config: Sql, config_dsn: str
) -> None:
    """The short lock_timeout applies there as well."""
    service = await pooled(start, pgbouncer, config_dsn)
    source = add_source(config)
    add_table(config, source)
    await service.settled(config)
    async with asyncio.timeout(60):
        await service.runtime.refresher.wait_until_covered(20)
    with connect(config_dsn) as operator, operator.transaction():
        operator.execute("REFRESH MATERIALIZED VIEW source_details_tables")
        page = await service.details(source)
    assert tables(page.json()) == {"orders": 1}
    assert page.json()["meta"]["read_from"] == "live"


async def test_altered_column_breaks_no_prepared_statement_of_the_pooler(
    pgbouncer: PgBouncer, start: Start, config: Sql, config_dsn: str
) -> None:
    """It keeps its sessions' statements, even deallocated ones: "cached plan must not change result type"."""
    service = await pooled(start, pgbouncer, config_dsn, memory_cache_mb=0)
    sources = [add_source(config) for _ in range(8)]
    await service.settled(config)
    paths = [f"/api/v1/sources/{source}/details" for source in sources]
    for type_of in ("text", "varchar(400)", "text"):
        answers = await asyncio.gather(*(service.client.get(path) for path in paths))
        assert [answer.status_code for answer in answers] == [200] * len(paths)
        config.execute(f"ALTER TABLE sources ALTER COLUMN pg_password TYPE {type_of}")
    answers = await asyncio.gather(*(service.client.get(path) for path in paths))
    assert [answer.status_code for answer in answers] == [200] * len(paths)


async def test_listener_behind_the_pooler_is_refused_at_the_start(
    pgbouncer: PgBouncer, start: Start, config_dsn: str
) -> None:
    """It would connect and LISTEN, but receive only its own notifications."""
    with pytest.raises(StartError, match=r"ROSETTA_LISTENER_DSN: .*pooler"):
        await start(config_dsn=SecretStr(pgbouncer.dsn(config_dsn)))
