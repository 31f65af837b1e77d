"""What notifies, and what does not: in plain SQL, as the other programs write."""

import psycopg
import pytest

from service.database.queries import folder
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.notifications import listening
from tests.fixtures.runtime import Service

SHOWN = [
    "UPDATE sources SET name = 'other'",
    "UPDATE sources SET pg_host = 'other'",
    "UPDATE sources SET pg_password = 'other'",
    "UPDATE sources SET total_tables = 7",
    "UPDATE destinations SET name = 'other'",
    "UPDATE pipelines SET status = 'START'",
    "UPDATE pipelines SET name = 'other'",
    "UPDATE pipelines_destination SET is_error = true",
    "UPDATE wal_monitor SET status = 'ERROR'",
    "UPDATE wal_monitor SET error_message = 'broken'",
    "UPDATE wal_monitor SET total_wal_size = '4 GB'",
    "UPDATE table_metadata_list SET schema_table = '{}'",
    "UPDATE table_metadata_list SET is_published = false",
    "UPDATE table_metadata_list SET at_source = '{}'",
    "UPDATE history_schema_evolution SET version_schema = 9",
    "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) SELECT id, 2 FROM table_metadata_list",  # noqa: E501  # reads best as one line
    "DELETE FROM history_schema_evolution",
    "DELETE FROM table_metadata_list",
    "DELETE FROM wal_monitor",
    "DELETE FROM pipelines_destination",
    "DELETE FROM pipelines",
    "DELETE FROM destinations",
    "DELETE FROM sources",
]

UNSEEN = [
    "UPDATE sources SET name = name",
    "UPDATE sources SET updated_at = now(), last_check_replication_publication = now()",
    "UPDATE wal_monitor SET wal_lsn = '0/1', wal_position = 1, replication_lag_bytes = 5, last_wal_received = now()",
    "UPDATE wal_monitor SET total_wal_size = '17 MB', updated_at = now()",
    "UPDATE destinations SET config = '{\"a\": 1}'",
    "UPDATE pipelines SET ready_refresh = true, last_refresh_at = now()",
    "UPDATE pipelines_destination SET error_message = 'x', last_error_at = now()",
    "UPDATE table_metadata_list SET updated_at = now(), is_changes_schema = true",
    "UPDATE history_schema_evolution SET updated_at = now()",
    "DELETE FROM sources WHERE false",
    "INSERT INTO rosetta_setting_configuration (config_key, config_value) VALUES ('SOMETHING', '1')",
]


@pytest.mark.parametrize("statement", SHOWN)
def test_what_a_page_shows_notifies_once(config: Sql, config_dsn: str, filled: int, statement: str) -> None:
    """Cascades included: one notification per source and transaction."""
    with listening(config_dsn) as payloads:
        config.execute(statement)
    assert payloads == [str(filled)]


def test_statement_tells_of_the_sources_whose_rows_differ(config: Sql, config_dsn: str, filled: int) -> None:
    """Of one row or of several, whichever comes first; a row with another id is another row."""
    other, third = add_source(config), add_source(config)
    first, second = add_table(config, other, "first"), add_table(config, other, "second")
    ids = {"filled": filled, "other": other, "third": third, "first": first, "second": second}
    for statement, told in (
        ("UPDATE sources SET pg_host = pg_host || CASE WHEN id = %(other)s THEN 'x' ELSE '' END", [other]),
        ("UPDATE sources SET pg_host = pg_host || CASE WHEN id = %(other)s THEN '' ELSE 'x' END", [filled, third]),
        ("UPDATE table_metadata_list SET id = %(first)s + %(second)s WHERE id = %(second)s", [other]),
        ("UPDATE rosetta_setting_configuration SET config_key = 'x' WHERE config_key LIKE '%%WARNING'", ["*"]),
        (
            "INSERT INTO table_metadata_list (id, source_id, table_name) "
            "VALUES (%(first)s, %(third)s, 'moved'), (9999, %(filled)s, 'new') "
            "ON CONFLICT (id) DO UPDATE SET source_id = excluded.source_id",
            [filled, other, third],
        ),
    ):
        with listening(config_dsn) as payloads:
            config.execute(statement, ids)
        assert sorted(payloads) == sorted(map(str, told)), statement


@pytest.mark.parametrize("statement", UNSEEN)
def test_what_only_ticks_is_silent(config: Sql, config_dsn: str, filled: int, statement: str) -> None:
    """A heartbeat must not empty the cache."""
    assert filled
    with listening(config_dsn) as payloads:
        config.execute(statement)
    assert payloads == []


def test_truncates_and_thresholds_reach_every_page(config: Sql, config_dsn: str, filled: int) -> None:
    """Nothing says which pages they concern."""
    assert filled
    for statement in (
        "UPDATE rosetta_setting_configuration SET config_value = '1' WHERE config_key LIKE '%WARNING'",
        "TRUNCATE wal_monitor",
        "TRUNCATE history_schema_evolution",
        "TRUNCATE sources CASCADE",
    ):
        with listening(config_dsn) as payloads:
            config.execute(statement)
        assert payloads == ["*"], statement


def test_ten_thousand_sources_in_one_statement_are_one_notification(config: Sql, config_dsn: str) -> None:
    """Above a limit, all pages are evicted."""
    with listening(config_dsn) as payloads:
        config.execute(
            """
            INSERT INTO sources (name, pg_host, pg_database, pg_username, publication_name, replication_name)
            SELECT 's' || n, 'h', 'd', 'u', 'p', 'r' FROM generate_series(1, 10000) AS n
            """
        )
        config.execute("UPDATE sources SET pg_host = 'other'")
        config.execute("INSERT INTO table_metadata_list (source_id, table_name) SELECT id, 't' FROM sources")
    assert payloads == ["*", "*", "*"]
    row = config.execute("SELECT count(*) AS n FROM source_details_log").fetchone()
    assert row == {"n": 10_000}


def test_change_of_one_source_costs_its_writer_one_function(config: Sql, filled: int) -> None:
    """The trigger's own, called once: one function more costs a writer as much as the note and the notification."""
    config.execute("SET track_functions = 'all'")
    with config.transaction():
        config.execute("UPDATE table_metadata_list SET schema_table = '{}' WHERE source_id = %s", (filled,))
        called = config.execute("SELECT funcname, calls FROM pg_stat_xact_user_functions").fetchall()
    assert [(row["funcname"], row["calls"]) for row in called] == [("source_details_table_metadata_list_changed", 1)]


def test_rolled_back_change_is_silent(config: Sql, config_dsn: str, filled: int) -> None:
    """NOTIFY and the log are part of the transaction."""
    assert filled
    with listening(config_dsn) as payloads:
        with config.transaction(force_rollback=True):
            config.execute("UPDATE table_metadata_list SET table_name = 'other'")
            config.execute("UPDATE sources SET name = 'other'")
        assert config.execute("SELECT count(*) AS n FROM source_details_log").fetchone() == {"n": 0}
    assert payloads == []


def test_renamed_destination_reaches_all_who_use_it(config: Sql, config_dsn: str, filled: int) -> None:
    """And no other source."""
    second, third = add_source(config), add_source(config)
    add_pipeline(config, second, "warehouse")
    add_pipeline(config, third)
    with listening(config_dsn) as payloads:
        config.execute("UPDATE destinations SET name = 'renamed'")
    assert sorted(payloads) == sorted([str(filled), str(second)])


def test_replica_role_is_heard(config: Sql, config_dsn: str, filled: int) -> None:
    """ENABLE ALWAYS: triggers also fire for a program with session_replication_role = replica."""
    config.execute("SET session_replication_role = replica")
    with listening(config_dsn) as payloads:
        config.execute("UPDATE table_metadata_list SET table_name = 'other'")
    assert payloads == [str(filled)]
    assert config.execute("SELECT source_id FROM source_details_log").fetchall() == [{"source_id": filled}]


def test_writer_without_rights_on_our_tables_is_heard(config: Sql, config_dsn: str, filled: int) -> None:
    """Other programs need no new rights, whatever their search_path."""
    config.execute("DROP ROLE IF EXISTS platform_writer")
    config.execute("CREATE ROLE platform_writer LOGIN PASSWORD 'w'")
    config.execute("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO platform_writer")
    config.execute("REVOKE ALL ON source_details_log, source_details_refresh_state FROM platform_writer")
    try:
        with listening(config_dsn) as payloads:
            config.execute("SET ROLE platform_writer")
            config.execute("SET search_path = pg_catalog")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                config.execute("SELECT FROM public.source_details_log")
            config.execute("UPDATE public.table_metadata_list SET table_name = 'other'")
            config.execute("RESET ROLE")
        assert payloads == [str(filled)]
    finally:
        config.execute("RESET ROLE")
        config.execute("DROP OWNED BY platform_writer")
        config.execute("DROP ROLE platform_writer")


def test_change_below_a_row_that_is_not_there_is_told_to_all(config_dsn: str, filled: int) -> None:
    """A restore may write the rows below first; foreign keys are not checked for it."""
    with listening(config_dsn) as payloads, connect(config_dsn) as restoring:
        restoring.execute("SET session_replication_role = replica")
        restoring.execute(
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (99, 2)"
        )
        restoring.execute("INSERT INTO pipelines_destination (pipeline_id, destination_id) VALUES (99, 99)")
    assert filled
    assert payloads == ["*", "*"]


def test_transaction_with_an_old_snapshot_tells_of_all(config: Sql, config_dsn: str, filled: int) -> None:
    """It cannot see which sources use a destination by now."""
    second = add_source(config)
    with listening(config_dsn) as payloads, connect(config_dsn) as renaming:
        renaming.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        renaming.execute("SELECT FROM sources")
        add_pipeline(config, second, "warehouse")
        renaming.execute("UPDATE destinations SET name = 'renamed'")
        renaming.execute("COMMIT")
    assert payloads[-1] == "*"
    assert filled


async def test_triggers_that_do_not_fire_always_are_told(service: Service, config: Sql) -> None:
    """As pg_restore --disable-triggers leaves them; applying the file that makes them repairs them."""
    config.execute("ALTER TABLE wal_monitor DISABLE TRIGGER ALL")
    config.execute("ALTER TABLE wal_monitor ENABLE TRIGGER ALL")
    health = (await service.client.get("/health/ready")).json()
    assert any("triggers: 4 of 40" in why for why in health["degraded"])
    config.execute((folder("migrations") / "present/04_notify.sql").read_bytes())
    health = (await service.client.get("/health/ready")).json()
    assert not any("triggers" in why for why in health["degraded"])
