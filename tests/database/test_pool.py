"""The config database in real life: restarted, altered and locked by other programs."""

import asyncio
from time import monotonic
from typing import Any

import pytest

from service.database.connection import Connection
from service.errors import ConfigDatabaseUnavailableError
from service.telemetry.events import DatabaseDown
from tests.fixtures.databases import Sql, connect, with_database
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.faults


def end_sessions(config_dsn: str, name: str) -> None:
    """Ends every session in the database called `name`, as a restart does."""
    with connect(with_database(config_dsn, "postgres")) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


async def test_no_reader_meets_a_dead_connection(start: Start, config: Sql, config_dsn: str) -> None:
    """After a restart every idle connection is dead; even the first readers get their answers."""
    service: Service = await start(pool_min_size=6)
    source = add_source(config)
    await asyncio.gather(*(service.client.get(f"/api/v1/sources/{source}") for _ in range(30)))
    end_sessions(config_dsn, config.info.dbname)
    paths = [f"/api/v1/sources/{source}", f"/api/v1/sources/{source}/details", "/api/v1/sources"]
    # One after the other: each could get a dead connection, and another one on its second attempt.
    answers = [await service.client.get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * 3
    end_sessions(config_dsn, config.info.dbname)
    answers = await asyncio.gather(*(service.client.get(path) for path in paths * 5))
    assert [answer.status_code for answer in answers] == [200] * 15


async def test_who_waits_for_the_database_is_answered_when_it_is_back(
    start: Start, config: Sql, config_dsn: str
) -> None:
    """This includes readers who came before the pool gave up connecting."""
    service: Service = await start()
    source = add_source(config)
    name = config.info.dbname
    with connect(with_database(config_dsn, "postgres")) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        end_sessions(config_dsn, name)
        waiting = [asyncio.create_task(service.client.get(f"/api/v1/sources/{source}")) for _ in range(8)]
        # Longer than the pool itself tries; while they wait, nothing is visible from outside.
        done, _ = await asyncio.wait(waiting, timeout=2)
        assert not done
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [200] * 8


@pytest.mark.parametrize("statement", ["ALTER TABLE sources ADD COLUMN more text", "TRUNCATE wal_monitor"])
async def test_table_that_another_program_locks_is_waited_for(
    service: Service, config: Sql, config_dsn: str, statement: str
) -> None:
    """For example by a migration of the platform: pages are served when it is done, never an error."""
    source = add_source(config)
    add_table(config, source)
    await service.settled(config)
    with connect(config_dsn) as other, other.transaction():
        other.execute(statement)
        waiting = asyncio.create_task(service.details(source))
        # Blocked for longer than a page waits before it is read without the view.
        blocked = """
            SELECT count(*) AS n
            FROM pg_stat_activity
            WHERE
                wait_event_type = 'Lock' AND datname = current_database()
                AND clock_timestamp() - query_start > '200 ms'
            """
        await until(lambda: (config.execute(blocked).fetchone() or {})["n"])
    assert (await waiting).json()["source"]["id"] == source


async def test_table_that_is_locked_for_long_is_a_503(service: Service, config: Sql, config_dsn: str) -> None:
    """With Retry-After and the reason."""
    source = add_source(config)
    await service.settled(config)
    with connect(config_dsn) as other, other.transaction():
        other.execute("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE")
        paths = [f"/api/v1/sources/{source}{rest}" for rest in ("", "/details", "/details?force_refresh=true")]
        answers = await asyncio.gather(*(service.client.get(path) for path in paths))
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert "locked by another program" in answer.json()["message"]


async def test_column_that_another_program_alters_breaks_no_statement(service: Service, config: Sql) -> None:
    """Prepared statements whose result type would change are prepared again."""
    source = add_source(config)

    async def read_all() -> list[Any]:
        answers = [await service.details(source, headers={"Cache-Control": "no-cache"}) for _ in range(6)]
        answers += [await service.client.get("/api/v1/sources") for _ in range(6)]
        answers += [await service.details(source, params={"force_refresh": "true"}) for _ in range(6)]
        return [answer.status_code for answer in answers]

    assert await read_all() == [200] * 18
    config.execute("ALTER TABLE sources ALTER COLUMN pg_password TYPE text")
    assert await read_all() == [200] * 18


@pytest.mark.alone
async def test_rows_that_another_transaction_holds_make_a_sync_give_way(
    service: Service, config: Sql, config_dsn: str, shop: Sql, shop_dsn: str
) -> None:
    """Before the server would choose a deadlock victim; the page shows the last known state and why."""
    shop.execute("CREATE TABLE orders (id int); CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn)
    await service.sync(source)
    shop.execute("ALTER TABLE orders ADD COLUMN more text")
    with connect(config_dsn) as other, other.transaction():
        other.execute("UPDATE table_metadata_list SET is_changes_schema = true")
        started = monotonic()
        page = await service.sync(source)
        # Half a second; four seconds if the sync did not give way.
        assert monotonic() - started < 3
        assert page["meta"]["sync"]["outcome"] == "failed"
        assert "another transaction" in page["meta"]["sync"]["error"]
        assert [table["version"] for table in page["tables"]] == [1]
        refused = await service.client.post(f"/api/v1/sources/{source}/refresh")
        assert (refused.status_code, refused.json()["error"]) == (503, "SourceBusyError")
        # The transaction goes on to the source's row, which a waiting sync would have locked: there is no deadlock.
        other.execute("UPDATE sources SET total_tables = 5")
    assert [table["version"] for table in (await service.sync(source))["tables"]] == [2]


async def test_cancelled_transaction_leaves_no_connection_that_answers_nobody(start: Start) -> None:
    """Whenever the cancellation comes, even in the middle of a pipeline, which would stay open."""
    service: Service = await start(pool_min_size=1, pool_max_size=1)
    database = service.runtime.database

    async def work(connection: Connection) -> None:
        await connection.execute("SELECT pg_sleep(0.002)")
        await (await connection.execute("SELECT 1")).fetchone()

    for moment in range(100):
        task = asyncio.create_task(database.in_transaction(work))
        await asyncio.sleep(moment * 0.0001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await database.fetch_detached("view_state", timeout_s=5)


async def test_statement_that_is_cancelled_is_not_the_database_away(service: Service, config: Sql) -> None:
    """By an operator, or by the role's own timeout: other statements are answered as before."""
    assert config

    async def slow(connection: Connection) -> None:
        await connection.execute("SET LOCAL statement_timeout = '10ms'")
        await connection.execute("SELECT pg_sleep(10)")

    with pytest.raises(ConfigDatabaseUnavailableError, match="canceling statement"):
        await service.runtime.database.in_transaction(slow)
    assert not service.runtime.database.is_down
    assert service.events.of(DatabaseDown) == []


async def test_defaults_of_the_database_do_no_harm(
    start: Start, config: Sql, config_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Isolation, encoding, JIT and the longest transaction are the service's own, whatever is set for the database."""
    source = add_source(config, name="Größe")
    database = config.info.dbname
    for setting in (
        "default_transaction_isolation = 'serializable'", "client_encoding = 'LATIN1'", "transaction_timeout = '300ms'",
        "jit = on",
    ):  # fmt: skip
        with connect(with_database(config_dsn, "postgres")) as admin:
            admin.execute(f"ALTER DATABASE {database} SET {setting}")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    service: Service = await start()
    for _ in range(3):
        page = (await service.details(source, headers={"Cache-Control": "no-cache"})).json()
        assert page["source"]["name"] == "Größe"
        response = await service.client.get("/api/v1/sources")
        assert [each["name"] for each in response.json()] == ["Größe"]

    async def long(connection: Connection) -> object:
        await connection.execute("SELECT pg_sleep(0.6)")
        return await (await connection.execute("SHOW jit")).fetchone()

    assert await service.runtime.database.in_transaction(long) == {"jit": "off"}


async def test_pages_without_the_view_are_computed_and_health_says_so(start: Start, config: Sql) -> None:
    """Somebody dropped it."""
    source = add_source(config)
    add_table(config, source, "a")
    service: Service = await start()
    config.execute("DROP MATERIALIZED VIEW source_details_tables")
    page = await service.details(source, headers={"Cache-Control": "no-cache"})
    assert [table["table_name"] for table in page.json()["tables"]] == ["a"]
    report = (await service.client.get("/health/ready")).json()
    assert any(why.startswith("view: missing") for why in report["degraded"])
