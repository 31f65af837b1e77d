"""The command: what it refuses, what it waits for, what it says."""

import shutil
import threading
from pathlib import Path

import pytest

from service.cli import migrate as command
from service.database import migrations as migrate
from service.database.queries import folder
from service.errors import StartError
from tests.fixtures.databases import Databases, connect
from tests.fixtures.metadata import add_source

FILES = sorted(path.name for path in folder("migrations").glob("*.sql"))


def test_two_deployments_may_start_at_once(databases: Databases) -> None:
    """One applies, the other waits for it and finds nothing to do."""
    dsn = databases.create()
    applied: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate.migrate(dsn, say=lambda _: None))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(applied) == [[], [], FILES]


@pytest.fixture
def other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that the command uses, for a test to change."""
    copy = tmp_path / "migrations"
    shutil.copytree(folder("migrations"), copy)
    monkeypatch.setattr(migrate, "folder", lambda _: copy)
    return copy


def test_file_that_changed_after_it_was_applied_is_refused(databases: Databases, other_files: Path) -> None:
    """By --check as well; nothing is applied."""
    dsn = databases.migrated()
    with (other_files / FILES[1]).open("a") as file:
        file.write("-- one more line\n")
    with pytest.raises(StartError, match=f"{FILES[1]} has changed"):
        migrate.migrate(dsn, say=print)
    with pytest.raises(StartError, match=f"{FILES[1]} has changed"):
        migrate.check(dsn)


def test_file_that_fails_leaves_nothing_behind(databases: Databases, other_files: Path) -> None:
    """Not its first statement, and no record; what came before it stays."""
    dsn = databases.create()
    (other_files / "999_broken.sql").write_text("CREATE TABLE half_written (); SELECT 1 / 0;")
    with pytest.raises(StartError, match=r"999_broken.sql: division by zero"):
        migrate.migrate(dsn, say=lambda _: None)
    assert migrate.check(dsn) == ["999_broken.sql"]
    with connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('half_written') AS it").fetchone() == {"it": None}


def test_check_says_what_is_missing(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with the names, and 0 where nothing is."""
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", databases.create())
    assert command.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [f"missing: {name}" for name in FILES]
    assert command.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [f"applying {name}" for name in FILES]
    assert command.main(["--check"]) == 0
    assert command.main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["nothing is missing", "nothing to apply"]
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", "postgresql://nobody:hidden-word@127.0.0.1:1/none")
    assert command.main([]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rosetta migrate: cannot reach the config database")
    assert len(error.splitlines()) == 1
    assert "hidden-word" not in error


def test_lock_that_a_writer_holds_is_waited_for_without_blocking_others(databases: Databases) -> None:
    """The file gives up and begins anew, and says so; the writer goes on, to the other tables as well."""
    dsn = databases.create()
    with connect(dsn) as writer:
        writer.execute((folder("migrations") / FILES[0]).read_bytes())
        add_source(writer)
        waiting = threading.Event()

        def say(line: str) -> None:
            if "waiting" in line:
                waiting.set()

        with writer.transaction():
            writer.execute("UPDATE wal_monitor SET status = 'IDLE'")
            thread = threading.Thread(target=lambda: migrate.migrate(dsn, say=say))
            thread.start()
            assert waiting.wait(60)
            writer.execute("UPDATE sources SET total_tables = 3")
    thread.join(60)
    assert migrate.check(dsn) == []
