"""Source databases on PostgreSQL of every major version that has logical replication, and behind a pooler."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from service.sources import connections
from service.telemetry.events import WalRound
from tests.fixtures.databases import Databases, Sql, connect, with_database
from tests.fixtures.metadata import add_source
from tests.fixtures.pgbouncer import PgBouncer
from tests.fixtures.runtime import Service, Start
from tests.fixtures.shop import tables

VERSIONS = range(10, 19)


@pytest.fixture(params=VERSIONS, ids=lambda version: f"postgres-{version}")
def version(request: pytest.FixtureRequest) -> int:
    """A major version of PostgreSQL."""
    return int(request.param)


@pytest.fixture
def source(every_database: Callable[[int], Databases], version: int) -> Iterator[Sql]:
    """A connection to a source database on a server of that version, empty."""
    databases = every_database(version)
    with connect(databases.create()) as connection:
        yield connection
    databases.drop()


def test_server_publishes_what_is_written(source: Sql, version: int) -> None:
    """A table with a key, a publication of all tables and a slot: the slot receives a row that is inserted."""
    source.execute("CREATE TABLE shops (id int PRIMARY KEY, name text)")
    source.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    source.execute("SELECT pg_create_logical_replication_slot('rosetta', 'pgoutput')")
    source.execute("INSERT INTO shops VALUES (1, 'Baker')")
    changes = source.execute(
        "SELECT data FROM pg_logical_slot_get_binary_changes("
        "'rosetta', NULL, NULL, 'proto_version', '1', 'publication_names', 'rosetta')"
    ).fetchall()
    assert any(b"Baker" in change["data"] for change in changes)
    row = source.execute("SELECT current_setting('server_version_num')::int / 10000 AS major").fetchone()
    assert row == {"major": version}


async def test_source_of_every_version_is_synced_and_monitored(
    start: Start, config: Sql, source: Sql, every_database: Callable[[int], Databases], version: int
) -> None:
    """Its tables, its slot and its WAL; a change of a length is a version."""
    slot = f"slot_{source.info.dbname}"
    source.execute("CREATE TABLE shops (id int PRIMARY KEY, name varchar(10), tags text[])")
    source.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    dsn = with_database(every_database(version).dsn, source.info.dbname)
    added = add_source(config, dsn, replication_name=slot)
    service: Service = await start(wal_interval_s=1)
    page = await service.sync(added)
    assert page["meta"]["sync"]["unread"] == []
    assert page["meta"]["sync"]["slot"] == {"plugin": "pgoutput", "active": False}
    assert tables(page) == {"shops": 1}
    source.execute("ALTER TABLE shops ALTER name TYPE varchar(20)")
    page = await service.sync(added)
    assert tables(page) == {"shops": 2}
    assert [column["data_type"] for column in page["tables"][0]["schema_table"]] == [
        "integer", "character varying(20)", "text[]",
    ]  # fmt: skip
    assert (await service.details(added, headers={"Cache-Control": "no-cache"})).json()["meta"][
        "tables_from"
    ] == "source"
    await service.events.until(WalRound)
    row = config.execute("SELECT status, replication_lag_bytes, error_message FROM wal_monitor").fetchone()
    assert row is not None
    assert row["status"] == "IDLE"
    assert row["replication_lag_bytes"] is not None
    assert "inactive" in row["error_message"]


async def test_version_without_publications_is_refused(
    service: Service, config: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, which says the oldest."""
    monkeypatch.setattr(connections, "OLDEST", 19)
    page = await service.sync(add_source(config, shop_dsn))
    assert page["meta"]["sync"]["error"] == (
        "the source database cannot be queried: it is PostgreSQL 18; the oldest that can be a source is 19"
    )


async def test_source_behind_a_pooler_in_transaction_mode(
    start: Start, config: Sql, published: Sql, shop_dsn: str, source_pooler: PgBouncer
) -> None:
    """Settings last for a transaction, a statement is ended in time, and nothing is left to the next client."""
    source = add_source(config, source_pooler.dsn(shop_dsn))
    service: Service = await start(source_statement_timeout_ms=1000, publication_ttl_s=1)
    for _ in range(2):
        pages = await asyncio.gather(*(service.sync(source) for _ in range(5)))
        assert {page["meta"]["sync"]["outcome"] for page in pages} == {"synced"}
        await service.details(source, headers={"Cache-Control": "no-cache"})
    with connect(source_pooler.dsn(shop_dsn)) as client:
        left = client.execute(
            "SELECT current_setting('statement_timeout') AS timeout, current_setting('search_path') AS path, "
            "current_setting('jit') AS jit, (SELECT count(*) FROM pg_prepared_statements) AS prepared"
        ).fetchone()
        fresh = published.execute(
            "SELECT current_setting('statement_timeout') AS timeout, current_setting('search_path') AS path, "
            "current_setting('jit') AS jit, 0::bigint AS prepared"
        ).fetchone()
        assert left == fresh
    with connect(shop_dsn) as blocking, blocking.transaction():
        # Catalogs are read without a lock on tables: only one on a catalog holds up a statement.
        blocking.execute("LOCK pg_publication IN ACCESS EXCLUSIVE MODE")
        page = await service.sync(source)
        assert page["meta"]["sync"]["outcome"] == "failed"
    assert (await service.sync(source))["meta"]["sync"]["outcome"] == "synced"
