"""The present: dropped and repaired, applied again when its text changes, one line for one more watched column."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import service
from service.database import migrations as migrate
from tests.fixtures.catalogs import fingerprint
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.view import read


@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        ("DROP VIEW source_details_sources", "view source_details_sources"),
        ("DROP FUNCTION source_details_refresh", "function source_details_refresh"),
        ("DROP TRIGGER source_details_update ON wal_monitor", "trigger source_details_update on wal_monitor"),
        ("ALTER TABLE sources DISABLE TRIGGER source_details_insert", "trigger source_details_insert on sources"),
        ("DROP VIEW source_details_live CASCADE", "materialized view source_details_tables"),
        ("DROP INDEX idx_pipelines_source_id", "index idx_pipelines_source_id"),
        ("DROP TABLE source_details_lag", "table source_details_lag"),
        ("DROP FUNCTION source_details_triggers", "function source_details_triggers"),
    ],
)
def test_check_knows_what_was_dropped_and_repair_makes_it_again(
    databases: Databases, broken: str, missing: str
) -> None:
    """Whatever was dropped, a repaired database equals a fresh one."""
    dsn, whole_dsn = databases.migrated(), databases.migrated()
    with connect(dsn) as connection, connect(whole_dsn) as whole:
        connection.execute(broken.encode())
        assert missing in migrate.check(dsn).names
        migrate.migrate(dsn, say=lambda _: None)
        assert missing in migrate.check(dsn).names
        migrate.migrate(dsn, say=lambda _: None, repair=True)
        assert migrate.check(dsn).names == []
        assert fingerprint(connection) == fingerprint(whole)


def test_present_is_applied_again_when_its_text_has_changed(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its files, in order; other line endings alone are no change."""
    dsn = databases.migrated()
    other = tmp_path / "migrations"
    shutil.copytree(migrate.numbered()[0].parent, other)
    monkeypatch.setattr(migrate, "folder", lambda _: other)
    for path in other.rglob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate.check(dsn).names == []
    changed = other / "present/02_views.sql"
    changed.write_bytes(changed.read_bytes().replace(b"'Unknown'", b"'nameless'"))
    assert migrate.check(dsn).names == [migrate.PRESENT]
    with connect(dsn) as connection:
        add_table(connection, add_source(connection), None)
        assert migrate.migrate(dsn, say=lambda _: None) == [migrate.PRESENT]
        row = read(connection, 1)
        assert row["published_names"] == ["nameless"]
        assert row["view_is_current"]
    assert migrate.migrate(dsn, say=lambda _: None) == []


def test_watching_one_more_column_is_one_line(config: Sql) -> None:
    """A table that is no longer watched loses its triggers; undoing the change restores the database."""
    notify = next(path for path in migrate.present() if path.name == "04_notify.sql").read_text()
    line = "    ('destinations', 'name', NULL),\n"
    more = notify.replace(line, line + line.replace("name", "type"))
    less = re.sub(r"    \('wal_monitor', .*\n", "", notify)
    assert notify not in (more, less)
    before = fingerprint(config)
    source = add_source(config)
    add_pipeline(config, source, "warehouse")
    config.execute("LISTEN source_details_changed")

    def received() -> list[str]:
        config.execute("UPDATE destinations SET type = type || '!'")
        config.execute("NOTIFY source_details_changed, 'last'")
        return [notice.payload for notice in config.notifies(stop_after=1)] + [
            notice.payload for notice in config.notifies(timeout=0)
        ]

    assert received() == ["last"]
    config.execute(more.encode())
    assert received() == [str(source), "last"]
    config.execute(less.encode())
    triggers = "SELECT FROM pg_trigger WHERE tgrelid = 'wal_monitor'::regclass AND NOT tgisinternal"
    assert config.execute(triggers).fetchall() == []
    config.execute(notify.encode())
    # A trigger is enabled by ALTER TABLE: what was written without it is told of.
    assert received() == ["*", "last"]
    assert fingerprint(config) == before


@contextmanager
def role(connection: Sql, name: str) -> Iterator[None]:
    """A role for a while; nothing of it is left, whoever the session is by then."""
    connection.execute(f"CREATE ROLE {name}".encode())
    try:
        yield
    finally:
        connection.execute(f"RESET ROLE; DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_role_without_rights_calls_nothing_that_works_with_the_owners(databases: Databases) -> None:
    """It could start refreshes, and hold them. Triggers of other programs' writes need no right."""
    dsn = databases.migrated()
    with connect(dsn) as connection:
        open_to_all = connection.execute(
            "SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p WHERE p.prosecdef "
            "AND p.pronamespace = 'public'::regnamespace AND (p.proacl IS NULL OR EXISTS ("
            "SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0))"
        ).fetchall()
        assert open_to_all == []
        with role(connection, "stranger"):
            connection.execute("GRANT INSERT ON sources TO stranger; GRANT USAGE ON sources_id_seq TO stranger")
            connection.execute("SET ROLE stranger")
            for call in ("refresh()", "refresh_if_due(1)", "health_facts(1)"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT * FROM source_details_{call}".encode())
            connection.execute(
                "INSERT INTO sources (name, pg_host, pg_port, pg_database, pg_username, publication_name, "
                "replication_name) VALUES ('other', 'h', 1, 'd', 'u', 'p', 'r')"
            )


def test_roles_that_served_pages_before_keep_what_they_need(databases: Databases) -> None:
    """A role of another name, with the rights of an earlier version: it must not fail between migration and grants."""
    dsn = databases.migrated()
    with connect(dsn) as connection, role(connection, "other_service"):
        connection.execute("GRANT SELECT ON source_details_refresh_state TO other_service")
        migrate.migrate(dsn, say=lambda _: None, repair=True)
        connection.execute("SET ROLE other_service")
        connection.execute("SELECT source_details_health_facts(1)")
        connection.execute("SELECT source_details_refresh()")


def test_service_reads_no_destinations_secret(databases: Databases) -> None:
    """Only which destinations there are. The rights of an earlier version are taken back."""
    dsn = databases.migrated()
    with connect(dsn) as connection:
        connection.execute("GRANT SELECT ON destinations TO rosetta_service")
        connection.execute((Path(service.__file__).parent / "deploy" / "roles.sql").read_bytes())
        connection.execute("SET ROLE rosetta_service")
        connection.execute("SELECT id, name, type FROM destinations")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT config FROM destinations")
