"""The command `rosetta migrate`: what it refuses, what it waits for, what it prints."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import psycopg
import pytest

from service.cli.migrate import command
from service.database import migrations as migrate
from service.database.queries import folder
from service.errors import StartError
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import add_source


def run(*arguments: str) -> int:
    """The command's exit code."""
    code: int = command.main(list(arguments), "rosetta migrate", standalone_mode=False)
    return code


NUMBERED = [path.name for path in migrate.numbered()]
MISSING = [*NUMBERED, migrate.PRESENT]
SAID = [f"applying {name}" for name in [*NUMBERED, *(f"present/{path.name}" for path in migrate.present())]]


def test_two_deployments_may_start_at_once(databases: Databases) -> None:
    """One applies the files, the others wait for it and find nothing to do."""
    dsn = databases.create()
    applied: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate.migrate(dsn, say=lambda _: None))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(applied) == [[], [], MISSING]


def test_limits_of_its_role_do_not_bind_it(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are meant for queries: it waits for another deployment, and pauses in a transaction, for longer."""
    dsn = databases.create()
    wait = psycopg.Connection.wait

    def wait_far_away(self: psycopg.Connection[Any], *arguments: Any, **options: Any) -> Any:
        answer = wait(self, *arguments, **options)
        sleep(0.003)
        return answer

    limits = ["statement_timeout = 500", "lock_timeout = 500", "idle_in_transaction_session_timeout = 1"]
    with ThreadPoolExecutor() as threads, connect(dsn) as other:
        if other.info.server_version >= 170000:
            limits.append("transaction_timeout = 500")
        for limit in limits:
            other.execute(f'ALTER DATABASE "{other.info.dbname}" SET {limit}'.encode())
        other.execute("SELECT pg_advisory_lock(hashtext('source_details_migrations'))")
        monkeypatch.setattr(psycopg.Connection, "wait", wait_far_away)
        applying = threads.submit(migrate.migrate, dsn, say=print)
        waits = """
            SELECT FROM pg_stat_activity
            WHERE
                datname = current_database() AND wait_event = 'advisory'
                AND clock_timestamp() - query_start > '600 ms'
        """
        while other.execute(waits).fetchone() is None:
            assert not applying.done(), applying.result()
        other.execute("SELECT pg_advisory_unlock(hashtext('source_details_migrations'))")
        assert applying.result(60) == MISSING


@pytest.fixture
def other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that the command uses, for a test to change."""
    copy = tmp_path / "migrations"
    shutil.copytree(folder("migrations"), copy)
    monkeypatch.setattr(migrate, "folder", lambda _: copy)
    return copy


def test_file_that_changed_after_it_was_applied_is_refused(databases: Databases, other_files: Path) -> None:
    """--check refuses it as well; nothing is applied."""
    dsn = databases.migrated()
    with (other_files / NUMBERED[1]).open("a") as file:
        file.write("-- one more line\n")
    with pytest.raises(StartError, match=f"{NUMBERED[1]} has changed"):
        migrate.migrate(dsn, say=print)
    with pytest.raises(StartError, match=f"{NUMBERED[1]} has changed"):
        migrate.check(dsn)


def test_file_that_fails_leaves_nothing_behind(databases: Databases, other_files: Path) -> None:
    """Neither its first statement nor a record of it; earlier files stay applied."""
    dsn = databases.create()
    (other_files / "999_broken.sql").write_text("CREATE TABLE half_written (); SELECT 1 / 0;")
    with pytest.raises(StartError, match=r"999_broken.sql: division by zero"):
        migrate.migrate(dsn, say=lambda _: None)
    assert migrate.check(dsn).names == ["999_broken.sql", migrate.PRESENT]
    with connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('half_written') AS it").fetchone() == {"it": None}


def test_check_says_what_is_missing(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with the names, or 0 if nothing is missing."""
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", databases.create())
    assert run("--check") == 1
    told = [*(f"missing: {name}" for name in MISSING), "run rosetta migrate"]
    assert capsys.readouterr().out.splitlines() == told
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == SAID
    assert run("--check") == 0
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == ["nothing is missing", "nothing to apply"]
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", "postgresql://nobody:hidden-word@127.0.0.1:1/none")
    assert run() == 1
    error = capsys.readouterr().err
    assert error.startswith("rosetta migrate: cannot reach the config database")
    assert len(error.splitlines()) == 1
    assert "hidden-word" not in error


def test_lock_that_a_writer_holds_is_waited_for_without_blocking_others(databases: Databases) -> None:
    """The file gives up, starts over and says so; the writer can write to other tables as well."""
    dsn = databases.create()
    with connect(dsn) as writer:
        writer.execute(migrate.numbered()[0].read_bytes())
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
    assert migrate.check(dsn).names == []


def test_check_names_the_remedy_for_what_was_dropped(
    config: Sql, config_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command repairs everything."""
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", config_dsn)
    config.execute("DROP VIEW source_details_sources")
    assert run("--check") == 1
    told = ["missing: view source_details_sources", "run rosetta migrate --repair"]
    assert capsys.readouterr().out.splitlines() == told
    assert run("--repair") == 0
    assert capsys.readouterr().out.splitlines() == SAID
    assert run("--check") == 0


def test_uninstalling_says_what_is_lost_and_asks(
    config: Sql, config_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an answer nothing is removed; if there is nothing to lose, it does not ask."""
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", config_dsn)
    source = add_source(config)
    config.execute("INSERT INTO source_details_lag (source_id, lag_bytes) VALUES (%s, 1)", (source,))
    assert run("--uninstall") == 1
    out, error = capsys.readouterr()
    assert out.splitlines() == [
        "will be lost: 1 measurements of replication lag",
        "will be lost: 1 entries of timelines",
    ]
    assert error.startswith("rosetta migrate: nothing was removed")
    assert run("--check") == 0
    assert run("--uninstall", "--yes") == 0
    assert run("--check") == 1
    assert run() == 0
    assert run("--uninstall") == 0


def test_earlier_version_applies_its_own_present_again(databases: Databases) -> None:
    """Rolled back to: the database has a file and texts of a later version, and the objects of both stay."""
    dsn = databases.migrated()
    with connect(dsn) as connection:
        connection.execute("CREATE TABLE source_details_later (id int)")
        connection.execute(
            "INSERT INTO source_details_migrations (name, sha256) VALUES ('099_later.sql', 'whatever it was')"
        )
        connection.execute("UPDATE source_details_migrations SET sha256 = 'later' WHERE name = %s", (migrate.PRESENT,))
        connection.execute(
            "CREATE OR REPLACE FUNCTION source_details_sees_others() RETURNS boolean LANGUAGE sql AS 'SELECT false'"
        )
        assert migrate.check(dsn).names == [migrate.PRESENT]
        assert migrate.migrate(dsn, print) == [migrate.PRESENT]
        assert migrate.check(dsn).names == []
        row = connection.execute(
            "SELECT prosrc = 'SELECT false' AS is_later FROM pg_proc WHERE proname = 'source_details_sees_others'"
        ).fetchone()
        assert row == {"is_later": False}
        assert connection.execute("SELECT FROM source_details_later").rowcount == 0


def test_interruption_between_a_statement_and_its_answer_is_quiet(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can be rolled back on such a connection, and nobody is told so: it is closed."""

    def interrupted() -> None:
        with migrate.connect(databases.create()) as connection, migrate.alone(connection):
            connection.pgconn.send_query(b"SELECT pg_sleep(60)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert caplog.records == []
