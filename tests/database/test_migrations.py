"""The migrations: applied twice, by either way, over what the platform made, by two at once, without a superuser."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from service.database import migrations as migrate
from service.database.queries import folder, query
from service.demo.servers import wheel_binaries
from tests import PROJECT
from tests.fixtures.databases import Databases, Sql, connect, with_database
from tests.fixtures.metadata import add_source, add_table

FILES = sorted(path.name for path in folder("migrations").glob("*.sql"))


@pytest.fixture(params=[15, 16, 18], ids=lambda version: f"postgres-{version}")
def each_server(request: pytest.FixtureRequest, every_database: Callable[[int], Databases]) -> Iterator[Databases]:
    """Databases on every version that is supported."""
    databases = every_database(request.param)
    yield databases
    databases.drop()


def by_migrate(dsn: str) -> None:
    """As bin/migrate does it."""
    migrate.migrate(dsn, say=lambda _: None)


def by_psql(dsn: str) -> None:
    """As an operator does it."""
    for name in FILES:
        command = [
            str(wheel_binaries(18) / "psql"),
            "-X",
            "-q",
            dsn,
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            str(folder("migrations") / name),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{name}: {result.stderr}"


def fingerprint(connection: Sql) -> dict[str, list[Any]]:
    """Everything that a migration could have changed, as the catalogs say it."""
    questions = {
        "columns": """
            SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attnum
            FROM pg_attribute WHERE attnum > 0 AND attrelid IN
                (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) ORDER BY 1, 5""",
        "views": """
            SELECT oid::regclass::text, pg_get_viewdef(oid) FROM pg_class
            WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace ORDER BY 1""",
        "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "functions": """
            SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1""",
        "triggers": """
            SELECT pg_get_triggerdef(t.oid), tgenabled FROM pg_trigger AS t WHERE NOT tgisinternal ORDER BY 1""",
        "constraints": """
            SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
        "event triggers": "SELECT evtname, evtevent, evtenabled, evttags FROM pg_event_trigger ORDER BY 1",
        "settings": "SELECT config_key, config_value FROM rosetta_setting_configuration ORDER BY 1",
    }
    return {what: [tuple(row.values()) for row in connection.execute(ask)] for what, ask in questions.items()}


@pytest.mark.parametrize("apply", [by_migrate, by_psql])
def test_every_file_applies_twice_without_harm(each_server: Databases, apply: Callable[[str], None]) -> None:
    """The second time changes nothing: not a definition, not a row, not what a page shows."""
    dsn = each_server.create()
    apply(dsn)
    with connect(dsn) as connection:
        add_table(connection, add_source(connection))
        connection.execute("SELECT source_details_refresh()")
        shown = "SELECT table_id, source_id, table_name, is_published, version, fragment FROM source_details_tables"
        before, rows = fingerprint(connection), connection.execute(shown).fetchall()
        by_psql(dsn)
        assert fingerprint(connection) == before
        assert connection.execute(shown).fetchall() == rows
    by_migrate(dsn)
    assert migrate.check(dsn) == []


def test_tables_of_the_platform_are_left_as_they_are(each_server: Databases) -> None:
    """001 over a database that the platform made: other defaults, more columns, changed thresholds."""
    dsn = each_server.create()
    with connect(dsn) as platform:
        platform.execute((folder("migrations") / FILES[0]).read_bytes())
        platform.execute(
            "ALTER TABLE sources ADD COLUMN owned_by text DEFAULT 'platform', ALTER COLUMN pg_port DROP DEFAULT"
        )
        platform.execute("ALTER TABLE history_schema_evolution ALTER COLUMN changes_type TYPE varchar(64)")
        platform.execute("DELETE FROM rosetta_setting_configuration WHERE config_key LIKE '%ERROR'")
        before = fingerprint(platform)
        platform.execute((folder("migrations") / FILES[0]).read_bytes())
        assert fingerprint(platform) == before
    by_migrate(dsn)
    with connect(dsn) as platform:
        columns = fingerprint(platform)["columns"]
        assert set(before["columns"]) <= set(columns)
        new = {row[:2] for row in set(columns) - set(before["columns"]) if row[0] in {r[0] for r in before["columns"]}}
        assert new == {("table_metadata_list", "is_published"), ("table_metadata_list", "column_order")}


def test_covering_index_with_schema_table_is_replaced(each_server: Databases) -> None:
    """It made wide tables impossible to store; afterwards one of 1,600 columns is."""
    dsn = each_server.create()
    with connect(dsn) as connection:
        connection.execute((folder("migrations") / FILES[0]).read_bytes())
        connection.execute(
            "CREATE INDEX idx_table_metadata_list_source_id_covering "
            "ON table_metadata_list (source_id, id) INCLUDE (table_name, schema_table)"
        )
        source = add_source(connection)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="index row"):
            add_table(connection, source, "wide", columns=1600)
        by_migrate(dsn)
        add_table(connection, source, "wide", columns=1600)
        connection.execute("SELECT source_details_refresh()")
        row = connection.execute(
            "SELECT json_array_length(fragment::json -> 'schema_table') AS n FROM source_details_tables"
        ).fetchone()
        assert row == {"n": 1600}


def test_index_that_a_failed_build_left_invalid_is_built_again(databases: Databases) -> None:
    """CREATE INDEX CONCURRENTLY leaves one when it fails, and IF NOT EXISTS would take it for good."""
    dsn = databases.migrated()
    name = "idx_history_schema_evolution_table_version_composite"
    with connect(dsn) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (name,))
        by_psql(dsn)
        row = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", (name,)).fetchone()
        assert row == {"indisvalid": True}


def test_owner_without_superuser_rights_succeeds_and_is_told(each_server: Databases) -> None:
    """Everything but the event trigger is there, and the message says what will work differently."""
    dsn = each_server.create()
    with connect(dsn) as admin:
        admin.execute("DROP ROLE IF EXISTS plain_owner")
        admin.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'owner'")
        admin.execute(f"ALTER DATABASE {admin.info.dbname} OWNER TO plain_owner")
        admin.execute("ALTER SCHEMA public OWNER TO plain_owner")
        owner_dsn = with_database(dsn, admin.info.dbname, user="plain_owner", password="owner")
        said: list[str] = []
        try:
            migrate.migrate(owner_dsn, say=said.append)
            assert any("no event trigger" in line for line in said)
            assert any("found by polling" in line for line in said)
            assert any("source_details_refresh()" in line for line in said)
            by_psql(owner_dsn)
            with connect(owner_dsn) as owner:
                add_table(owner, add_source(owner))
                owner.execute("SELECT source_details_refresh()")
                assert owner.execute("SELECT count(*) AS n FROM source_details_tables").fetchone() == {"n": 1}
            # A superuser adds what was missing; the owner may then apply the files again.
            by_psql(dsn)
            assert len(fingerprint(admin)["event triggers"]) == 1
        finally:
            admin.execute("DROP OWNED BY plain_owner CASCADE")
            admin.execute(f"ALTER DATABASE {admin.info.dbname} OWNER TO CURRENT_USER")
            admin.execute("DROP ROLE plain_owner")


def test_change_between_the_view_and_its_triggers_is_not_lost(databases: Databases) -> None:
    """Each file commits on its own: what was written unheard, the last file reads."""
    dsn = databases.create()
    with connect(dsn) as connection:
        for name in FILES:
            if name.startswith("010"):
                source = add_source(connection)
                add_table(connection, source, "a")
                connection.execute("SELECT source_details_refresh()")
                add_table(connection, source, "unheard")
            connection.execute((folder("migrations") / name).read_bytes())
        row = connection.execute(query("details"), {"id": source, "names": None}).fetchone()
        assert row is not None
        assert row["view_is_current"]
        assert row["published_names"] == ["a", "unheard"]


def test_column_below_the_view_can_be_altered_by_the_readmes_recipe(databases: Databases) -> None:
    """In one transaction: the views go, the column changes, the files bring everything back."""
    dsn = databases.migrated()
    recipe = re.search(r"```sh\n(psql --single-transaction.*?)```", (PROJECT / "README.md").read_text(), re.S)
    assert recipe is not None
    command = recipe[1].replace("psql ", f"'{wheel_binaries(18) / 'psql'}' -q -v ON_ERROR_STOP=1 ", 1)
    with connect(dsn) as connection:
        add_table(connection, add_source(connection))
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="used by a view"):
            connection.execute("ALTER TABLE sources ALTER COLUMN name TYPE text")
        environment = os.environ | {"DSN": dsn}
        result = subprocess.run(
            ["bash", "-c", command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        row = connection.execute(query("details"), {"id": 1, "names": None}).fetchone()
        assert row is not None
        assert row["view_is_current"]
        assert row["published_names"] == ["orders"]
