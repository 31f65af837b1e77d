"""Applies `migrations/*.sql` to the config database, in order, each once.

Each file runs in one transaction with its record. Two deployments may start at once: the second waits for the first.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors

from service.database.connection import conninfo, reason
from service.database.queries import folder
from service.errors import StartError

_PATIENCE_S = 60.0
_PAUSE_S = 0.5

_RECORD = """
CREATE TABLE IF NOT EXISTS public.source_details_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def _files() -> list[Path]:
    return sorted(folder("migrations").glob("*.sql"))


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _connect(dsn: str) -> "psycopg.Connection[tuple[Any, ...]]":
    try:
        return psycopg.connect(conninfo(dsn), autocommit=True)
    except psycopg.Error as error:
        raise StartError(f"cannot reach the config database: {reason(error)}") from None


def check(dsn: str) -> list[str]:
    """The names of the files that are not applied. StartError where one has changed since it was."""
    with _connect(dsn) as connection:
        exists = connection.execute("SELECT to_regclass('public.source_details_migrations')").fetchone()
        return _missing(connection) if exists and exists[0] else [path.name for path in _files()]


def migrate(dsn: str, say: Callable[[str], None]) -> list[str]:
    """Applies what is missing and returns the names. StartError with the server's message where a file fails."""
    with _connect(dsn) as connection:
        connection.add_notice_handler(lambda notice: _show_warning(notice, say))
        # For the session: every file commits on its own, and the next deployment waits for the last of them.
        connection.execute("SELECT pg_advisory_lock(hashtext('source_details_migrations'))")
        connection.execute(_RECORD)
        missing = _missing(connection)
        for path in (path for path in _files() if path.name in missing):
            say(f"applying {path.name}")
            _apply(connection, path, say)
        if not missing:
            say("nothing to apply")
        return missing


def _apply(connection: "psycopg.Connection[tuple[Any, ...]]", path: Path, say: Callable[[str], None]) -> None:
    # Whoever waits for a lock on a table makes everybody wait who comes after, and one file needs several: so it gives
    # up soon, before it could be in a deadlock with a writer (deadlock_timeout is 1 s), and begins anew.
    connection.execute("SET lock_timeout = '500ms'")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with connection.transaction():
                connection.execute(path.read_bytes())
                connection.execute(
                    "INSERT INTO public.source_details_migrations (name, sha256) VALUES (%s, %s)",
                    (path.name, _digest(path)),
                )
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise StartError(
                    f"{path.name}: other programs held the tables for {_PATIENCE_S:.0f} s; nothing of it was applied, "
                    "try again at a quieter time"
                ) from error
            say("  waiting for other programs' transactions")
            time.sleep(_PAUSE_S)
        except errors.Error as error:
            raise StartError(f"{path.name}: {reason(error)}") from None


def _missing(connection: "psycopg.Connection[tuple[Any, ...]]") -> list[str]:
    rows = connection.execute("SELECT name, sha256 FROM public.source_details_migrations").fetchall()
    applied: dict[str, str] = dict(rows)
    missing = []
    for path in _files():
        recorded = applied.get(path.name)
        if recorded is None:
            missing.append(path.name)
        elif recorded != _digest(path):
            raise StartError(f"{path.name} has changed since it was applied; put the change into a new file instead")
    return missing


def _show_warning(notice: errors.Diagnostic, say: Callable[[str], None]) -> None:
    if notice.severity_nonlocalized == "WARNING":
        for line in (notice.message_primary, notice.message_detail, notice.message_hint):
            if line:
                say(f"  {line}")
