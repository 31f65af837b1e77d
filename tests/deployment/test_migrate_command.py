"""`rosetta migrate` as a process: behind a pooler, without rights, interrupted."""

import os
import signal
import subprocess
from collections.abc import Callable

import psycopg
import pytest

from tests.fixtures.databases import Databases, connect
from tests.fixtures.pgbouncer import PgBouncer
from tests.fixtures.process import SERVICE, heed_interrupts

pytestmark = pytest.mark.operations


def test_migrate_leaves_nothing_behind_a_pooler(databases: Databases, pooler_for: Callable[[str], PgBouncer]) -> None:
    """No lock and no setting: other programs get its connection, and the next migration must not wait for ever."""
    dsn = databases.create()
    through = pooler_for(dsn).dsn(dsn)
    for arguments in ([], ["--repair"], []):
        ran = subprocess.run(
            [*SERVICE, "migrate", *arguments],
            env=os.environ | {"ROSETTA_CONFIG_DSN": through},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    with connect(dsn) as direct, connect(through) as other:
        held = direct.execute("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        assert held == {"n": 0}
        assert other.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "0"}


def test_migrate_without_rights_says_so_in_a_line(databases: Databases) -> None:
    """And leaves nothing half-applied."""
    dsn = databases.create()
    with connect(dsn) as connection:
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain-word'")
        try:
            place = psycopg.conninfo.make_conninfo(dsn, user="plain", password="plain-word")
            ran = subprocess.run(
                [*SERVICE, "migrate"],
                env=os.environ | {"ROSETTA_CONFIG_DSN": place},
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            connection.execute("DROP ROLE plain")
        assert ran.returncode == 1
        assert ran.stderr.startswith("rosetta migrate: permission denied for schema public")
        assert ran.stderr.count("\n") == 1
        assert connection.execute("SELECT to_regclass('source_details_migrations') AS found").fetchone() == {
            "found": None
        }


def test_interrupted_migrate_says_so_in_a_line(databases: Databases) -> None:
    """While it waits for another deployment's lock."""
    dsn = databases.create()
    with connect(dsn) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtext('source_details_migrations'))")
        with subprocess.Popen(
            [*SERVICE, "migrate"],
            env=os.environ | {"ROSETTA_CONFIG_DSN": dsn},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        ) as child:
            waiting = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while (other.execute(waiting).fetchone() or {})["n"] == 0:
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.stderr is not None
            said = child.stderr.read()
            assert child.wait(20) == 130
    assert said == "rosetta migrate: interrupted; nothing is half-applied: run it again\n"
