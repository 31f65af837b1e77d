"""Syncs that race with each other, with other programs, and with changes of their source."""

import asyncio
import json
from typing import Any

import pytest

from service.telemetry.events import SyncFinished, SyncPhase
from tests.fixtures.databases import Sql, connect
from tests.fixtures.gates import held_sync
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until
from tests.fixtures.shop import history, tables


async def test_older_look_is_not_recorded_over_a_newer(
    start: Start, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes: one reads the source before a change, and records after the other, which saw the change."""
    source = add_source(config, shop_dsn)
    slow, quick = await start(), await start()
    looking, late = await held_sync(monkeypatch, slow, source)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric")
    assert tables(await quick.sync(source)) == {"orders": 1}
    looking.open()
    page = await late
    assert page["meta"]["sync"]["outcome"] == "superseded"
    assert [column["column_name"] for column in page["tables"][0]["schema_table"]] == ["id", "note", "total"]
    assert history(config) == [("orders", 1, "INITIAL_LOAD")]


async def test_sync_is_shared_only_by_who_called_before_it_began(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One runs, one waits: a caller that comes during the first shares the second, and sees its own change."""
    source = add_source(config, shop_dsn)
    looking, first = await held_sync(monkeypatch, service, source)
    published.execute("CREATE TABLE lines (id int)")
    later = [asyncio.create_task(service.sync(source)) for _ in range(20)]
    await asyncio.sleep(0)
    looking.open()
    await first
    for page in await asyncio.gather(*later):
        assert set(tables(page)) == {"lines", "orders"}
    assert len(service.events.of(SyncFinished)) == 2


async def test_source_deleted_during_a_sync_is_a_404(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded about a deleted source."""
    assert published
    source = add_source(config, shop_dsn)
    use = service.runtime.connections.use

    async def delete_meanwhile(*arguments: Any, **options: Any) -> Any:
        answer = await use(*arguments, **options)
        config.execute("DELETE FROM sources")
        return answer

    monkeypatch.setattr(service.runtime.connections, "use", delete_meanwhile)
    response = await service.client.post(f"/api/v1/sources/{source}/refresh")
    assert response.status_code == 404


async def test_program_that_wrote_after_the_look_is_not_reverted(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw a change that the sync could not have seen: the source is asked again, and no version is invented."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    looking, syncing = await held_sync(monkeypatch, service, source)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric")
    total = {"column_name": "total", "is_nullable": "YES", "real_data_type": "NUMERIC"}
    with config.transaction():
        config.execute(
            "UPDATE table_metadata_list SET schema_table = schema_table || %s", (json.dumps({"total": total}),)
        )
        config.execute(
            """
            INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type)
            SELECT id, 2, 'NEW COLUMN' FROM table_metadata_list
            """
        )
    looking.open()
    page = await syncing
    assert looking.calls == 2
    assert page["meta"]["sync"]["outcome"] == "synced"
    assert tables(page) == {"orders": 2}
    assert history(config) == [("orders", 1, "INITIAL_LOAD"), ("orders", 2, "NEW COLUMN")]


async def test_source_that_is_pointed_elsewhere_during_a_sync_is_asked_again(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old database's answer is recorded nowhere."""
    published.execute("CREATE TABLE lines (id int); CREATE PUBLICATION other FOR TABLE lines")
    source = add_source(config, shop_dsn)
    looking, syncing = await held_sync(monkeypatch, service, source)
    config.execute("UPDATE sources SET publication_name = 'other'")
    looking.open()
    page = await syncing
    assert page["meta"]["sync"]["tables_added"] == ["lines"]
    assert page["source"]["total_tables"] == 1
    assert history(config) == [("lines", 1, "INITIAL_LOAD")]


async def test_version_that_another_program_records_at_the_same_time_is_not_lost(
    service: Service, config: Sql, config_dsn: str, published: Sql, shop_dsn: str
) -> None:
    """Both record version 2: the sync waits, finds it taken, rolls everything back and asks again."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN a int, ADD COLUMN b int")
    with connect(config_dsn) as platform:
        with platform.transaction():
            platform.execute(
                """
                INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type)
                SELECT id, 2, 'NEW COLUMN' FROM table_metadata_list
                """
            )
            syncing = asyncio.create_task(service.sync(source))
            blocked = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            await until(lambda: (config.execute(blocked).fetchone() or {})["n"])
        page = await syncing
    assert tables(page) == {"orders": 3}
    (changed,) = page["meta"]["sync"]["tables_changed"]
    assert [column["column_name"] for column in changed["columns"]] == ["a", "b"]
    assert [version for _, version, _ in history(config)] == [1, 2, 3]


async def test_program_that_wrote_in_a_subtransaction_is_not_reverted(
    service: Service, config: Sql, config_dsn: str, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No snapshot lists its transaction id, by which its write would seem older than the sync's look at the source."""
    published.execute("CREATE TABLE lines (id int)")
    source = add_source(config, shop_dsn)
    await service.sync(source)
    with connect(config_dsn) as platform:
        platform.execute("BEGIN; SAVEPOINT one")
        platform.execute("UPDATE table_metadata_list SET updated_at = now() WHERE table_name = 'lines'")
        # Somebody else commits, so that the subtransaction is not the newest one.
        config.execute("UPDATE rosetta_setting_configuration SET updated_at = now()")
        looking, syncing = await held_sync(monkeypatch, service, source)
        published.execute("ALTER TABLE orders ADD COLUMN total numeric")
        total = {"total": {"column_name": "total", "is_nullable": "YES", "real_data_type": "NUMERIC"}}
        platform.execute(
            "UPDATE table_metadata_list SET schema_table = schema_table || %s WHERE table_name = 'orders'",
            (json.dumps(total),),
        )
        platform.execute(
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type) "
            "SELECT id, 2, 'NEW COLUMN' FROM table_metadata_list WHERE table_name = 'orders'"
        )
        platform.execute("COMMIT")
        looking.open()
        await syncing
    assert looking.calls == 2
    assert [version for version in history(config) if version[0] == "orders"] == [
        ("orders", 1, "INITIAL_LOAD"), ("orders", 2, "NEW COLUMN")
    ]  # fmt: skip


@pytest.mark.parametrize("leaves", [False, True])
async def test_program_that_holds_the_row_while_the_sync_records_is_not_reverted(
    service: Service,
    config: Sql,
    config_dsn: str,
    published: Sql,
    shop_dsn: str,
    leaves: bool,
) -> None:
    """The sync's UPDATE waits for its lock, and then sees the row that it wrote: the sync asks the source again."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    if leaves:
        published.execute("DROP PUBLICATION rosetta")
    else:
        config.execute("UPDATE table_metadata_list SET is_published = false")
    with connect(config_dsn) as platform:
        platform.execute(
            "BEGIN; UPDATE table_metadata_list SET is_changes_schema = true, is_published = NOT is_published"
        )
        platform.execute("UPDATE table_metadata_list SET table_name = 'renamed'")
        syncing = asyncio.create_task(service.sync(source))
        blocked = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        await until(lambda: (config.execute(blocked).fetchone() or {})["n"])
        if not leaves:
            published.execute("ALTER TABLE orders RENAME TO renamed")
        before = len(service.events.events)
        platform.execute("COMMIT")
        page = await syncing
    assert page["meta"]["sync"]["outcome"] == "synced"
    await service.events.until(SyncPhase, lambda event: event.phase == "source", before)
    row = config.execute("SELECT table_name, is_published, is_changes_schema FROM table_metadata_list").fetchall()
    assert row == [{"table_name": "renamed", "is_published": not leaves, "is_changes_schema": True}]


async def test_table_deleted_while_its_version_is_recorded_is_asked_for_again(
    service: Service, config: Sql, config_dsn: str, published: Sql, shop_dsn: str
) -> None:
    """Another program deletes it, so that a foreign key fails the recording."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric")
    with connect(config_dsn) as other:
        other.execute("BEGIN; DELETE FROM table_metadata_list")
        syncing = asyncio.create_task(service.sync(source))
        waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        await until(lambda: (config.execute(waiting).fetchone() or {})["n"])
        other.execute("COMMIT")
        page = await syncing
    assert page["meta"]["sync"]["outcome"] == "synced"
    assert tables(page) == {"orders": 1}
