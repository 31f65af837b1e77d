"""One part of a source that fails takes nothing else with it: what can be known is recorded, the rest is named."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from service.config.credentials import encrypt
from service.sources.questions import again_if_passing
from service.sources.source_connection import SourceConnection
from service.telemetry.events import SyncFinished, WalRound
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import KEY, add_source
from tests.fixtures.runtime import Service, Start
from tests.fixtures.shop import tables


def unread(page: dict[str, Any]) -> dict[str, str]:
    """What the sync could not read, with the reason."""
    return {each["what"]: each["reason"] for each in page["meta"]["sync"]["unread"]}


async def test_table_that_is_being_altered_holds_up_nothing(
    start: Start, config: Sql, shop: Sql, shop_dsn: str, slot: str
) -> None:
    """Not the sync, the page's check or the WAL monitor; a table whose expressions need its lock is named."""
    shop.execute("CREATE TABLE quiet (id int PRIMARY KEY, n int DEFAULT 5); CREATE TABLE migrated (id int PRIMARY KEY)")
    shop.execute("CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)")
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn, replication_name=slot)
    service: Service = await start(publication_ttl_s=1, wal_interval_s=1)
    assert tables(await service.sync(source)) == {"made": 1, "migrated": 1, "quiet": 1}
    with connect(shop_dsn) as migration, migration.transaction():
        migration.execute("ALTER TABLE migrated ADD COLUMN a int DEFAULT 7; ALTER TABLE made ADD COLUMN b int")
        shop.execute("ALTER TABLE quiet ADD COLUMN note text")
        before = len(service.events.events)
        page = await service.sync(source)
        assert page["meta"]["sync"]["outcome"] == "synced"
        assert tables(page) == {"made": 1, "migrated": 1, "quiet": 2}
        assert unread(page) == {"table made": "another session is altering it"}
        assert page["source"]["is_replication_enabled"]
        (reason,) = (each for each in page["meta"]["health"]["reasons"] if "made" in each["says"])
        assert reason["says"] == "table made could not be read: another session is altering it"
        asked = await service.client.get(f"/api/v1/sources/{source}/details", headers={"Cache-Control": "no-cache"})
        assert asked.json()["meta"]["tables_from"] == "source"
        await service.events.until(WalRound, after=before)
        await service.events.until(WalRound, after=len(service.events.events))
        row = config.execute("SELECT status, error_message FROM wal_monitor").fetchone()
        assert row is not None
        assert row["status"] == "IDLE"
        assert "inactive" in row["error_message"]
    page = await service.sync(source)
    assert tables(page) == {"made": 2, "migrated": 2, "quiet": 2}
    assert unread(page) == {}


async def test_refused_functions_are_named(service: Service, config: Sql, shop: Sql, shop_dsn: str, slot: str) -> None:
    """A hardened server and a role with CONNECT alone: the tables are recorded; the remedy is a GRANT that works."""
    functions = ("pg_control_system()", "pg_control_checkpoint()", "pg_current_wal_lsn()")
    shop.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION rosetta FOR ALL TABLES")
    shop.execute("DROP ROLE IF EXISTS hardened; CREATE ROLE hardened LOGIN PASSWORD 'hardened'")
    try:
        for function in functions:
            shop.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        source = add_source(
            config, shop_dsn, replication_name=slot, pg_username="hardened",
            pg_password=encrypt(KEY.encode(), "hardened"),
        )  # fmt: skip
        for _ in range(2):
            page = await service.sync(source)
            assert page["meta"]["sync"]["outcome"] == "synced"
            assert tables(page) == {"t": 1}
            assert unread(page) == {
                "its WAL position": "permission denied for function pg_current_wal_lsn",
                "which server it is": "permission denied for function pg_control_system",
            }
            assert page["source"]["is_replication_enabled"]
        for _ in range(3):
            for reason in page["meta"]["health"]["reasons"]:
                if "could not be read" in reason["says"]:
                    shop.execute(reason["remedy"])
            page = await service.sync(source)
        assert unread(page) == {}
    finally:
        for function in functions:
            shop.execute(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")
        shop.execute("DROP OWNED BY hardened; DROP ROLE hardened")


async def test_texts_that_are_not_utf8_are_named(service: Service, config: Sql, databases: Databases) -> None:
    """In a SQL_ASCII database: a name cannot be recorded, a default is shown with what can be read of it."""
    dsn = databases.create("template0", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    with connect(dsn) as shop:
        shop.execute("SET client_encoding = 'SQL_ASCII'")
        shop.execute("CREATE TABLE fine (id int PRIMARY KEY)")
        shop.execute(b"CREATE TABLE caf\xe9 (id int PRIMARY KEY)")
        shop.execute(b"CREATE TABLE menu (id int PRIMARY KEY, place text DEFAULT 'caf\xe9')")
        shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, dsn)
    page = await service.sync(source)
    assert page["meta"]["sync"]["outcome"] == "synced", page["meta"]["sync"]
    assert tables(page) == {"fine": 1, "menu": 1}
    assert unread(page) == {
        "table caf\ufffd": "its name is not UTF-8",
        "table menu": "a name or default in it is not UTF-8, and is recorded with \ufffd",
    }
    (menu,) = (each for each in page["tables"] if each["table_name"] == "menu")
    assert menu["schema_table"][1]["default_value"] == "'caf\ufffd'::text"
    assert (await service.details(source)).json()["meta"]["unregistered_tables"] == []


async def test_tables_that_come_and_go_fail_no_sync(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """A table and its type are dropped while each sync reads."""
    shop.execute("CREATE TABLE stays (id int PRIMARY KEY); CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn)

    def come_and_go() -> None:
        with connect(shop_dsn) as other:
            other.execute("CREATE TYPE kind AS ENUM ('a'); CREATE TABLE comes (id int PRIMARY KEY, k kind DEFAULT 'a')")
            other.execute("DROP TABLE comes; DROP TYPE kind")

    for _ in range(20):
        page, _ = await asyncio.gather(service.sync(source), asyncio.to_thread(come_and_go))
        assert page["meta"]["sync"]["outcome"] == "synced", page["meta"]["sync"]
        assert "stays" in tables(page)
    assert tables(await service.sync(source)) == {"stays": 1}


@pytest.mark.parametrize(("sqlstate", "attempts"), [("XX000", 2), ("55P03", 2), ("42501", 1)])
async def test_question_is_asked_again_if_what_failed_passes(
    shop: Sql, shop_dsn: str, sqlstate: str, attempts: int
) -> None:
    """A table that is gone, or a lock that was not free; not a right that is missing."""
    shop.execute("CREATE SEQUENCE asked")
    shop.execute(
        f"CREATE FUNCTION fail_once() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('asked') = 1 THEN RAISE 'not now' USING ERRCODE = '{sqlstate}'; END IF; RETURN 1; END $$"
    )
    async with await SourceConnection.connect(shop_dsn, autocommit=True, row_factory=dict_row) as connection:

        async def work() -> None:
            await connection.execute("BEGIN; SELECT fail_once(); COMMIT")

        if attempts == 1:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await again_if_passing(connection, work)
        else:
            await again_if_passing(connection, work)
    assert shop.execute("SELECT last_value AS n FROM asked").fetchone() == {"n": attempts}


async def test_budget_ends_the_callers_wait_only(start: Start, config: Sql, published: Sql, shop_dsn: str) -> None:
    """The sync goes on for as long as its statements may run."""
    source = add_source(config, shop_dsn)
    service: Service = await start(sync_budget_ms=300, publication_budget_ms=50)
    with connect(shop_dsn) as holder, holder.transaction():
        holder.execute("LOCK pg_publication IN ACCESS EXCLUSIVE MODE")
        response = await service.client.post(f"/api/v1/sources/{source}/refresh")
        assert response.json()["error"] == "SyncUnfinishedError"
    assert published
    finished = await service.events.until(SyncFinished)
    assert finished.outcome == "synced"
    assert tables((await service.details(source)).json()) == {"orders": 1}


async def test_message_names_the_setting_that_would_help(
    start: Start, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """A statement that takes too long."""
    assert published
    source = add_source(config, shop_dsn)
    service: Service = await start(source_statement_timeout_ms=200)
    with connect(shop_dsn) as holder, holder.transaction():
        holder.execute("LOCK pg_publication IN ACCESS EXCLUSIVE MODE")
        page = await service.sync(source)
    assert page["meta"]["sync"]["error"].endswith("it takes longer than ROSETTA_SOURCE_STATEMENT_TIMEOUT_MS allows")
