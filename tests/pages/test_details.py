"""What a page looks like, whatever the config database holds."""

import json

import pytest

from service.telemetry.events import Filled
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.runtime import Service, Start

SOURCE_KEYS = [
    "created_at", "updated_at", "name", "pg_host", "pg_port", "pg_database", "pg_username", "publication_name",
    "replication_name", "id", "is_publication_enabled", "is_replication_enabled",
    "last_check_replication_publication", "total_tables",
]  # fmt: skip
MONITOR_KEYS = [
    "wal_lsn", "wal_position", "last_wal_received", "last_transaction_time", "replication_slot_name",
    "replication_lag_bytes", "total_wal_size", "wal_size_bytes", "wal_threshold_status", "status", "error_message",
    "id", "source_id", "source", "created_at", "updated_at",
]  # fmt: skip
COLUMN_KEYS = [
    "column_name", "is_nullable", "real_data_type", "numeric_precision", "numeric_scale", "is_primary_key",
    "has_default", "default_value",
]  # fmt: skip


async def test_page_has_the_contracts_shape(service: Service, config: Sql) -> None:
    """Every key, in the contract's order."""
    source = add_source(config)
    add_table(config, source, "orders")
    config.execute("INSERT INTO wal_monitor (source_id, total_wal_size) VALUES (%s, '16 MB')", (source,))
    add_pipeline(config, source, "warehouse", "lake")
    add_pipeline(config, source, "warehouse")
    page = (await service.details(source)).json()
    assert list(page) == ["source", "wal_monitor", "tables", "destinations", "meta"]
    assert list(page["source"]) == SOURCE_KEYS
    assert list(page["wal_monitor"]) == MONITOR_KEYS
    assert page["wal_monitor"]["source"] == page["source"]
    assert page["wal_monitor"]["wal_size_bytes"] == 16 * 1024 * 1024
    assert page["wal_monitor"]["wal_threshold_status"] == "OK"
    assert list(page["tables"][0]) == ["id", "table_name", "version", "schema_table"]
    assert list(page["tables"][0]["schema_table"][0]) == COLUMN_KEYS
    assert page["tables"][0]["version"] == 1
    assert page["destinations"] == ["lake", "warehouse"]
    assert page["source"]["created_at"].endswith("+00:00")


@pytest.mark.parametrize(
    "rubbish",
    ["null", "{}", "[]", '"text"', "17", "true", '["a", 1, null]', '{"a": 1, "b": [], "c": null}', '[{"x": 1}]'],
)
async def test_odd_schemas_count_as_no_columns(service: Service, config: Sql, rubbish: str) -> None:
    """JSON scalars, lists of anything, objects of anything."""
    source = add_source(config)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name, schema_table) VALUES (%s, NULL, %s), (%s, 'b', NULL)",
        (source, rubbish, source),
    )
    page = (await service.details(source)).json()
    assert [(table["table_name"], table["schema_table"]) for table in page["tables"]] == [("Unknown", []), ("b", [])]


async def test_schema_may_be_a_list_and_keeps_its_order(service: Service, config: Sql) -> None:
    """Lists keep their own order. Objects are ordered by column_order, or by name if that is unknown."""
    source = add_source(config)
    columns = [{"column_name": name, "is_nullable": "NO", "real_data_type": "text"} for name in ("z", "a", "m")]
    by_name = {column["column_name"]: column for column in columns}
    config.execute(
        """
        INSERT INTO table_metadata_list (source_id, table_name, schema_table, column_order)
        VALUES
            (%(id)s, 'list', %(list)s, NULL),
            (%(id)s, 'object', %(object)s, NULL),
            (%(id)s, 'ordered', %(object)s, '{m,z,a}')
        """,
        {"id": source, "list": json.dumps(columns), "object": json.dumps(by_name)},
    )
    tables = (await service.details(source)).json()["tables"]
    order = {table["table_name"]: [column["column_name"] for column in table["schema_table"]] for table in tables}
    assert order == {"list": ["z", "a", "m"], "object": ["a", "m", "z"], "ordered": ["m", "z", "a"]}
    assert tables[0]["schema_table"][0]["real_data_type"] == "TEXT"


async def test_sources_without_tables_and_with_ten_thousand(service: Service, config: Sql) -> None:
    """Both are ordinary pages."""
    empty, full = add_source(config), add_source(config)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name) SELECT %s, 't' || generate_series(1, 10000)",
        (full,),
    )
    assert (await service.details(empty)).json()["tables"] == []
    assert len((await service.details(full)).json()["tables"]) == 10_000
    await service.events.until(Filled, lambda event: event.source_id == full)


async def test_monitor_without_a_status_is_shown(service: Service, config: Sql) -> None:
    """A NULL status is the platform's default; a size that cannot be parsed has no threshold status."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id, status, total_wal_size) VALUES (%s, NULL, 'a lot')", (source,))
    monitor = (await service.details(source)).json()["wal_monitor"]
    assert (monitor["status"], monitor["wal_size_bytes"], monitor["wal_threshold_status"]) == ("ACTIVE", None, None)


async def test_dates_without_a_form_are_null_or_replaced(service: Service, config: Sql) -> None:
    """Infinity, years BC and years past 9999: a reader can parse every date that a page shows."""
    source = add_source(config)
    config.execute(
        "UPDATE sources SET created_at = '-infinity', updated_at = '0044-03-15 BC', "
        "last_check_replication_publication = '12000-01-01'"
    )
    config.execute(
        "INSERT INTO wal_monitor (source_id, created_at, updated_at, last_wal_received) "
        "VALUES (%s, 'infinity', '2026-02-03 04:05:06+02', 'infinity')",
        (source,),
    )
    page = (await service.details(source)).json()
    assert page["source"]["created_at"] == page["source"]["updated_at"] == "1970-01-01T00:00:00.000000+00:00"
    assert page["source"]["last_check_replication_publication"] is None
    assert page["wal_monitor"]["created_at"] == "2026-02-03T02:05:06.000000+00:00"
    assert page["wal_monitor"]["last_wal_received"] is None


async def test_dates_that_the_platform_keeps_without_a_zone_are_utc(start: Start, config: Sql) -> None:
    """Regardless of the server's time zone."""
    name = config.info.dbname
    config.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    config.execute("ALTER TABLE wal_monitor ALTER COLUMN last_wal_received TYPE timestamp")
    source = add_source(config)
    config.execute(
        "INSERT INTO wal_monitor (source_id, last_wal_received) VALUES (%s, '2026-02-03 04:05:06')", (source,)
    )
    service: Service = await start()
    page = (await service.details(source)).json()
    assert page["wal_monitor"]["last_wal_received"] == "2026-02-03T04:05:06.000000+00:00"
