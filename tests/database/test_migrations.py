"""The migrations: applied twice, in either way, to the platform's tables, and without a superuser."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from service.database import migrations as migrate
from service.database.queries import folder
from service.database.uninstall import uninstall
from service.demo.servers import wheel_binaries
from tests import PROJECT
from tests.fixtures.catalogs import fingerprint
from tests.fixtures.databases import Databases, Sql, connect, with_database
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.view import read

# In an operator's order: the numbered files, then the present.
FILES = [*migrate.numbered(), *migrate.present()]
EARLIER = sorted((PROJECT / "tests/database/earlier").glob("*.sql"))


@pytest.fixture(params=[15, 16, 18], ids=lambda version: f"postgres-{version}")
def each_server(request: pytest.FixtureRequest, every_database: Callable[[int], Databases]) -> Iterator[Databases]:
    """Databases on every supported version."""
    databases = every_database(request.param)
    yield databases
    databases.drop()


def by_migrate(dsn: str) -> None:
    """As bin/migrate applies them."""
    migrate.migrate(dsn, say=lambda _: None)


def by_psql(dsn: str) -> None:
    """As an operator applies them."""
    for path in FILES:
        command = [
            str(wheel_binaries(18) / "psql"),
            "-X",
            "-q",
            dsn,
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            str(path),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{path.name}: {result.stderr}"


def by_restoring(connection: Sql, path: Path) -> None:
    """Restores pg_dump's output, which leaves the session without a search path."""
    connection.execute(path.read_bytes())
    connection.execute("RESET search_path")


@pytest.mark.parametrize("apply", [by_migrate, by_psql])
def test_every_file_applies_twice_without_harm(each_server: Databases, apply: Callable[[str], None]) -> None:
    """The second time changes nothing: no definition, no row, nothing that a page shows."""
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
    assert migrate.check(dsn).names == []


def test_tables_of_the_platform_are_left_as_they_are(each_server: Databases) -> None:
    """001 on a database that the platform made: other defaults, more columns, changed thresholds."""
    dsn = each_server.create()
    with connect(dsn) as platform:
        platform.execute(FILES[0].read_bytes())
        platform.execute(
            "ALTER TABLE sources ADD COLUMN owned_by text DEFAULT 'platform', ALTER COLUMN pg_port DROP DEFAULT"
        )
        platform.execute("ALTER TABLE history_schema_evolution ALTER COLUMN changes_type TYPE varchar(64)")
        platform.execute("DELETE FROM rosetta_setting_configuration WHERE config_key LIKE '%ERROR'")
        before = fingerprint(platform)
        platform.execute(FILES[0].read_bytes())
        assert fingerprint(platform) == before
    by_migrate(dsn)
    with connect(dsn) as platform:
        columns = fingerprint(platform)["columns"]
        assert set(before["columns"]) <= set(columns)
        new = {row[:2] for row in set(columns) - set(before["columns"]) if row[0] in {r[0] for r in before["columns"]}}
        assert new == {
            ("table_metadata_list", "is_published"),
            ("table_metadata_list", "column_order"),
            ("table_metadata_list", "at_source"),
            ("history_schema_evolution", "at_source"),
        }


def test_covering_index_with_schema_table_is_replaced(each_server: Databases) -> None:
    """It made wide tables impossible to store; afterwards a table of 1,600 columns can be stored."""
    dsn = each_server.create()
    with connect(dsn) as connection:
        connection.execute(FILES[0].read_bytes())
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
    """A failed CREATE INDEX CONCURRENTLY leaves an invalid index, which IF NOT EXISTS would accept."""
    dsn = databases.migrated()
    name = "idx_history_schema_evolution_table_version_composite"
    with connect(dsn) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (name,))
        by_psql(dsn)
        row = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", (name,)).fetchone()
        assert row == {"indisvalid": True}


def test_owner_without_superuser_rights_succeeds_and_is_told(each_server: Databases) -> None:
    """Everything except the event triggers exists, and the message says what works differently."""
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
            assert len(fingerprint(admin)["event triggers"]) == 2
        finally:
            admin.execute("DROP OWNED BY plain_owner CASCADE")
            admin.execute(f"ALTER DATABASE {admin.info.dbname} OWNER TO CURRENT_USER")
            admin.execute("DROP ROLE plain_owner")


def test_change_between_the_view_and_its_triggers_is_not_lost(databases: Databases) -> None:
    """Each file commits on its own: the last file reads what was written before the triggers existed."""
    dsn = databases.create()
    with connect(dsn) as connection:
        for path in FILES:
            if path.name == "04_notify.sql":
                source = add_source(connection)
                add_table(connection, source, "a")
                connection.execute("SELECT source_details_refresh()")
                add_table(connection, source, "unheard")
            connection.execute(path.read_bytes())
        row = read(connection, source)
        assert row["view_is_current"]
        assert sorted(row["published_names"]) == ["a", "unheard"]


def test_column_below_the_view_can_be_altered_by_the_readmes_recipe(databases: Databases) -> None:
    """In one transaction: the views are dropped, the column is altered, the files recreate everything."""
    dsn = databases.migrated()
    recipe = re.search(r"```sh\n(psql --single-transaction.*?)```", (PROJECT / "docs/upgrading.md").read_text(), re.S)
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
        # What a transaction alters is in the view from the next refresh on.
        connection.execute("SELECT source_details_refresh_if_due(1)")
        row = read(connection, 1)
        assert row["view_is_current"]
        assert row["published_names"] == ["orders"]


def test_migrated_from_each_earlier_state_is_a_fresh_one(each_server: Databases) -> None:
    """Object by object: from every file after which a migration may have stopped, and from those before 0.1.0."""
    fresh_dsn = each_server.create()
    by_migrate(fresh_dsn)
    with connect(fresh_dsn) as connection:
        fresh = fingerprint(connection)
    states = [[path] for path in EARLIER] + [FILES[:count] for count in range(1, len(FILES) + 1)]
    for state in states:
        dsn = each_server.create()
        with connect(dsn) as connection:
            for path in state:
                connection.execute(path.read_bytes())
        by_migrate(dsn)
        with connect(dsn) as connection:
            if state[0] in EARLIER:
                # Such a database does not record who made this index; uninstalling leaves it.
                connection.execute("COMMENT ON INDEX idx_pipelines_source_id IS 'made by source_details'")
            upgraded = fingerprint(connection)
            for what, objects in fresh.items():
                assert upgraded[what] == objects, f"{what}, from {state[-1].name}"
        assert migrate.check(dsn).names == []


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_earlier_database_keeps_its_data(databases: Databases, path: Path) -> None:
    """Its pages are read from the view, as before."""
    dsn = databases.create()
    with connect(dsn) as connection:
        by_restoring(connection, path)
        by_migrate(dsn)
        row = read(connection, 1)
        assert row["view_is_current"]
        assert row["published_names"] == ["orders"]
        assert connection.execute("SELECT lag_bytes FROM source_details_lag").fetchall() == [{"lag_bytes": 42}]
        assert connection.execute("SELECT source_id FROM source_details_sync_state").fetchall() == [{"source_id": 1}]
        recorded = connection.execute("SELECT name FROM source_details_migrations ORDER BY name").fetchall()
    assert [row["name"] for row in recorded] == [*(path.name for path in migrate.numbered()), migrate.PRESENT]


@pytest.mark.parametrize("earlier", [None, *EARLIER], ids=lambda path: path.stem if path else "fresh")
def test_uninstalling_leaves_what_the_platform_made(each_server: Databases, earlier: Path | None) -> None:
    """Its own tables, and the index on pipelines if the platform made it: as if the service had never been there."""
    platform_dsn, dsn = each_server.create(), each_server.create()
    with connect(platform_dsn) as platform, connect(dsn) as connection:
        platform.execute(FILES[0].read_bytes())
        if earlier is None:
            for made in (platform, connection):
                made.execute(FILES[0].read_bytes())
                made.execute("CREATE INDEX idx_pipelines_source_id ON pipelines (source_id)")
        else:
            by_restoring(connection, earlier)
            # Such a database does not record who made it.
            platform.execute("CREATE INDEX idx_pipelines_source_id ON pipelines (source_id)")
        by_migrate(dsn)
        add_table(connection, add_source(connection), "kept")
        uninstall(dsn, say=lambda _: None)
        assert fingerprint(connection) == fingerprint(platform)
        assert connection.execute("SELECT FROM table_metadata_list WHERE table_name = 'kept'").fetchone() is not None
        # An index that the service made is removed as well, and the service can be installed again.
        by_migrate(dsn)
        connection.execute("DROP INDEX idx_pipelines_source_id")
        migrate.migrate(dsn, say=lambda _: None, repair=True)
        uninstall(dsn, say=lambda _: None)
        assert connection.execute("SELECT to_regclass('idx_pipelines_source_id') AS it").fetchone() == {"it": None}


def test_tables_of_other_schemas_are_moved_with_their_history(databases: Databases) -> None:
    """By the names that earlier syncs gave them; what the platform wrote stays where it is."""
    names = ["orders", "sales.orders", '"s.t"."u"', '"a.b"', "plain.dot"]
    with connect(databases.migrated()) as config:
        source = add_source(config)
        ids = {name: add_table(config, source, name) for name in names}
        config.execute("UPDATE table_metadata_list SET column_order = '{a}' WHERE table_name <> 'plain.dot'")
        config.execute(
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type) "
            "SELECT id, n, 'NEW COLUMN' FROM table_metadata_list CROSS JOIN generate_series(1, 3) AS n"
        )
        for _ in range(2):
            config.execute((folder("migrations") / "011_source_details_at_source.sql").read_bytes())
        rows = config.execute("SELECT id, schema_name, table_name, key FROM source_details_registered").fetchall()
        assert {row["id"]: (row["schema_name"], row["table_name"], row["key"]) for row in rows} == {
            ids["orders"]: ("public", "orders", "orders"),
            ids["sales.orders"]: ("sales", "sales.orders", "sales.orders"),
            ids['"s.t"."u"']: ("s.t", '"s.t"."u"', '"s.t"."u"'),
            ids['"a.b"']: ("public", "a.b", '"a.b"'),
            ids["plain.dot"]: ("public", "plain.dot", '"plain.dot"'),
        }
        versions = config.execute(
            "SELECT table_id, max(version) AS n FROM source_details_versions GROUP BY 1"
        ).fetchall()
        assert {row["table_id"]: row["n"] for row in versions} == dict.fromkeys(ids.values(), 3)
