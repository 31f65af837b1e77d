"""Tables that are altered: pages follow at once, and nothing is believed that was read while one was rewritten."""

import asyncio

import psycopg
import pytest

from service.database.queries import query
from service.telemetry.events import Evicted
from tests.fixtures.databases import Aside, Sql, connect
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.notifications import listening
from tests.fixtures.runtime import Start
from tests.fixtures.view import CONCURRENTLY, OURS, REFRESH, asked, log, read, refresh_while_a_table_is_rewritten, whole


@pytest.mark.parametrize("statement", [REFRESH, CONCURRENTLY, OURS])
def test_refresh_that_waits_for_a_rewritten_table_is_not_believed(config: Sql, config_dsn: str, statement: str) -> None:
    """To its snapshot the table is empty, so that every version would be 1; our own refresh waits before it reads."""
    source = add_source(config)
    table = add_table(config, source, "a")
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, 7)", (table,)
    )
    config.execute("SELECT source_details_refresh(false)")
    refresh = refresh_while_a_table_is_rewritten(config_dsn, statement)
    assert b'"version":7' in bytes(read(config, source)["body"])
    if statement.startswith("REFRESH"):
        assert isinstance(refresh.error, psycopg.errors.SerializationFailure)
    else:
        assert refresh.error is None
    config.execute("SELECT source_details_refresh(false)")
    assert read(config, source)["view_is_current"]
    assert b'"version":7' in bytes(read(config, source)["body"])


@pytest.mark.parametrize("has_event_trigger", [True, False])
async def test_alteration_of_a_watched_table_evicts_everything(
    start: Start, config: Sql, has_event_trigger: bool
) -> None:
    """It may change what rows say, and fires no row's trigger. Told at once; at the next poll if only that can know."""
    source = add_source(config)
    add_pipeline(config, source, "lake")
    if not has_event_trigger:
        config.execute("DROP EVENT TRIGGER source_details_altered")
    service = await start(poll_interval_s=0.1)
    await service.settled(config)
    assert (await service.details(source)).json()["destinations"] == ["lake"]
    for statement in (
        "ALTER TABLE destinations ALTER COLUMN name TYPE text USING upper(name)",
        "ALTER TABLE history_schema_evolution ALTER COLUMN id TYPE bigint",
        "ALTER TABLE rosetta_setting_configuration RENAME TO elsewhere",
    ):
        seen = len(service.events.events)
        # In a thread: the service may be in a transaction that the statement waits for.
        await asyncio.to_thread(config.execute, statement)
        await service.events.until(Evicted, lambda event: event.sources is None, seen)
        if "upper" in statement:
            assert (await service.details(source)).json()["destinations"] == ["LAKE"]


def test_alteration_elsewhere_tells_nobody(config: Sql, config_dsn: str) -> None:
    """Only what pages show matters."""
    config.execute("CREATE TABLE elsewhere (id int)")
    config.execute("SELECT source_details_refresh(false)")
    with listening(config_dsn) as payloads:
        config.execute("ALTER TABLE elsewhere ADD COLUMN name text DEFAULT 'x'")
    assert payloads == []
    assert log(config) == []


def test_alteration_works_while_our_objects_are_missing(config: Sql) -> None:
    """Any table of the database may be altered: without our objects too."""
    config.execute("DROP VIEW source_details_watched_tables")
    config.execute("ALTER TABLE destinations ADD COLUMN color text")


def test_thresholds_that_are_being_altered_are_waited_for(config: Sql, config_dsn: str) -> None:
    """To a snapshot from before the rewrite their table is empty, and every class that of the default."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id, total_wal_size) VALUES (%s, '16 MB')", (source,))
    config.execute("UPDATE rosetta_setting_configuration SET config_value = '10' WHERE config_key LIKE '%ERROR'")
    for name in ("details", "details_live"):
        with connect(config_dsn) as other:
            other.execute("BEGIN; ALTER TABLE rosetta_setting_configuration ALTER COLUMN id TYPE bigint")
            reading = Aside(config_dsn, query(name), asked(source))
            reading.wait_for_lock(other)
            other.execute("COMMIT")
        reading.join()
        assert reading.error is None
        assert b'"wal_threshold_status":"ERROR"' in whole(reading.rows)["before_tables"]
        config.execute("ALTER TABLE rosetta_setting_configuration ALTER COLUMN id TYPE integer")
