"""A backup of the config database, restored: what docs/backup.md promises."""

import subprocess
from pathlib import Path

import pytest

from service.database import migrations
from service.demo.servers import wheel_binaries
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import add_source, add_table


@pytest.fixture
def original(databases: Databases) -> tuple[str, int]:
    """The DSN of a database with a source of one table that was changed since the view was refreshed."""
    dsn = databases.migrated()
    with connect(dsn) as config:
        source = add_source(config, name="shop")
        add_table(config, source, "orders")
        config.execute("SELECT source_details_refresh()")
        add_table(config, source, "unrefreshed")
    return dsn, source


def program(name: str, *arguments: str | Path) -> None:
    """One of PostgreSQL's own."""
    ran = subprocess.run(
        [wheel_binaries(18) / name, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr


def tables(config: Sql) -> list[str]:
    """As a page shows them, from the view or live."""
    rows = config.execute("SELECT table_name FROM source_details_live ORDER BY table_name").fetchall()
    return [row["table_name"] for row in rows]


def test_restored_dump_lacks_nothing(original: tuple[str, int], databases: Databases, tmp_path: Path) -> None:
    """All objects, all triggers, the view, the timeline; and changes are noticed again."""
    dsn, source = original
    program("pg_dump", "-Fc", "-f", tmp_path / "dump", dsn)
    restored = databases.create()
    program("pg_restore", "--exit-on-error", "-d", restored, tmp_path / "dump")
    assert migrations.check(restored).names == []
    with connect(dsn) as before, connect(restored) as after:
        told = "SELECT * FROM source_details_timeline ORDER BY id"
        assert after.execute(told).fetchall() == before.execute(told).fetchall()
        assert tables(after) == ["orders", "unrefreshed"]
        after.execute("LISTEN source_details_changed")
        add_table(after, source, "after")
        assert [notice.payload for notice in after.notifies(timeout=5, stop_after=1)] == [str(source)]


def test_data_alone_with_triggers_disabled_needs_a_repair(
    original: tuple[str, int], databases: Databases, tmp_path: Path
) -> None:
    """`--disable-triggers` enables them again, but not ALWAYS: --check says so, --repair mends it."""
    dsn, _ = original
    program("pg_dump", "-Fc", "--data-only", "-t", "sources", "-t", "table_metadata_list", "-f", tmp_path / "dump", dsn)
    restored = databases.migrated()
    program("pg_restore", "--data-only", "--disable-triggers", "-d", restored, tmp_path / "dump")
    assert any("trigger source_details_" in each for each in migrations.check(restored).objects)
    migrations.migrate(restored, print, repair=True)
    assert migrations.check(restored).names == []
    with connect(restored) as after:
        assert tables(after) == ["orders", "unrefreshed"]
