"""The service's objects in the config database: a history and a present.

`migrations/*.sql` are numbered and make what holds data: tables, columns, indexes, the materialized view. Each is
applied once, in order, and never changed after its release. `migrations/present/*.sql` are the present text of what can
be recreated: functions, views, triggers. They are applied together, in order, whenever one of them has changed.

Every file can be applied again without harm, also by `psql -f`. Each runs in its own transaction. If two deployments
start at once, the second waits for the first.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
# The longest wait for another deployment. One that computes the view of a million tables takes a minute.
_OTHERS_S = 600

_RECORD = """
CREATE TABLE IF NOT EXISTS public.source_details_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# The limits are those of a role or its database. A file may take minutes, and the next deployment waits for it.
_BEGIN_WITHOUT_LIMITS = b"""
BEGIN;
SET LOCAL statement_timeout = 0;
SELECT set_config(name, '0', true)
FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
"""
# The name under which the present is recorded.
PRESENT = "present"
# Files that were rewritten or renamed before the first release, by name and digest. A database that has one of them
# recorded gets the current files, which apply to it without harm.
_BEFORE_RELEASE = {
    ("007_optimize_source_details_performance.sql", "9277773b8e5be925556551a8289040bbce2fdf52bb8c9a8a709eadf589cb4125"),
    ("008_source_details_view.sql", "d511b144c3ff772873743e9ac09b7baae253bc7b042e25b2b16d1032bf9b2f72"),
    ("009_source_details_refresh.sql", "01a6aaeea932023c1e1d3691aa47bb695c7bcadcaa6c8f9dce3bb99935b81cc3"),
    ("010_source_details_notify.sql", "81fbfd257f5439091265b84bb310135ad75e49ae84bd0b44fa3cc0128d1766ee"),
    ("011_refresh_source_details.sql", "d60020cd59133ab70372f72577341de66da547c1023226483261de7353da69d3"),
    ("012_source_details_schedule.sql", "7ca671e25543a2bfbffef4f4ae1b5a311d3cde071372ab748aa620027d42904b"),
    ("013_source_details_wal.sql", "0498c75cd9f9b0ebf0dd4d6b9641346dd35d981cac7a18e5163ec72c9ba39f9f"),
}
_MADE = re.compile(
    r"^\s*CREATE (?:OR REPLACE )?(?:UNIQUE )?(TABLE|INDEX|MATERIALIZED VIEW|VIEW|FUNCTION) (?:IF NOT EXISTS )?"
    r"(?:public\.)?(\w+)\b(?!\.)",
    re.MULTILINE,
)

Connection = psycopg.Connection[tuple[Any, ...]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Missing:
    """Files that are not applied (`PRESENT` if one of its files has changed), and objects that were dropped."""

    files: list[str]
    objects: list[str]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return self.files + self.objects

    @property
    def remedy(self) -> str:
        """The command that adds them."""
        return "rosetta migrate --repair" if self.objects else "rosetta migrate"


@dataclass(frozen=True, slots=True)
class Record:
    """What is recorded of an applied file. The files of the present share one record, made with the last of them.

    `is_repeated`: the file is applied even if it is recorded already.
    """

    name: str
    digest: str
    is_repeated: bool = False
    is_complete: bool = True


def numbered() -> list[Path]:
    """The numbered files, in order."""
    return sorted(folder("migrations").glob("[0-9]*.sql"))


def present() -> list[Path]:
    """The files of the present, in order."""
    return sorted((folder("migrations") / "present").glob("*.sql"))


def check(dsn: str) -> Missing:
    """What is missing; objects are checked only if every file is applied.

    StartError if a numbered file has changed since it was applied.
    """
    with connect(dsn) as connection:
        if first(connection, "SELECT to_regclass('public.source_details_migrations')") is None:
            return Missing([*(path.name for path in numbered()), PRESENT], [])
        files = _unapplied(connection)
        return Missing(files, [] if files else _gone(connection))


def migrate(dsn: str, say: Say, *, repair: bool = False) -> list[str]:
    """Applies what is missing and returns the names of what it applied; with `repair`, applies every file again.

    StartError with the server's message if a file fails.
    """
    with connect(dsn) as connection:
        connection.add_notice_handler(lambda notice: _show_warning(notice, say))
        with alone(connection):
            if first(connection, "SELECT pg_backend_pid()") == connection.info.backend_pid:
                # Nobody is in between: the next deployment waits until all is done, and repeats nothing.
                connection.execute("SELECT pg_advisory_lock(hashtext('source_details_migrations'))")
            if first(connection, "SELECT to_regclass('public.source_details_migrations')") is None:
                connection.execute(_RECORD)
            _forget_before_release(connection)
        missing = _unapplied(connection)
        if repair:
            missing = [*(path.name for path in numbered()), PRESENT]
        applied = []
        for path in (path for path in numbered() if path.name in missing):
            say(f"applying {path.name}")
            if apply(connection, path, say, Record(path.name, _digest([path]), is_repeated=repair)):
                applied.append(path.name)
        if PRESENT in missing:
            # Recorded with the last file: after an interruption all of them are applied again.
            digest, last = _digest(present()), present()[-1]
            for path in present():
                say(f"applying present/{path.name}")
                record = Record(PRESENT, digest, is_repeated=repair, is_complete=path == last)
                if apply(connection, path, say, record) and record.is_complete:
                    applied.append(PRESENT)
        if not missing:
            say("nothing to apply")
        return applied


def connect(dsn: str) -> Connection:
    """An autocommit connection. StartError with the reason."""
    try:
        # Behind a pooler, a prepared statement may be on another server process.
        return psycopg.connect(conninfo(dsn), autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise StartError(f"cannot reach the config database: {reason(error)}") from None


def _digest(paths: list[Path]) -> str:
    # The same for either line ending of a checkout.
    return sha256(b"".join(path.read_bytes().replace(b"\r\n", b"\n") for path in paths)).hexdigest()


def first(connection: Connection, statement: str) -> Any:
    """The first value of the first row; None if there is none."""
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """A transaction, not within another, during which no other deployment applies anything; without the role's limits.

    This lock and the settings are the transaction's: a pooler gives the connection to other programs after it.
    """
    try:
        # One message: between BEGIN and the settings, the role's limit of an idle transaction would hold. (Some poolers
        # do not know pipeline mode.)
        connection.execute(_BEGIN_WITHOUT_LIMITS)
        connection.execute(f"SET LOCAL lock_timeout = '{_OTHERS_S}s'")
        try:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('source_details_migrations'))")
        except errors.LockNotAvailable:
            raise StartError(
                f"another deployment has held its lock for {_OTHERS_S} s; pg_locks shows it (locktype advisory): "
                "end its session if it is stuck, then try again"
            ) from None
        connection.execute("SET LOCAL lock_timeout = 0")
        yield
    except BaseException:
        try:
            connection.rollback()
        except psycopg.Error:
            # It is broken, or still busy: Ctrl-C may come between a statement and the wait for its answer. psycopg
            # would say that it cannot roll back either, and the reason is what counts.
            connection.close()
        raise
    connection.commit()


def apply(connection: Connection, path: Path, say: Say, record: Record | None = None) -> bool:
    """Applies a file in one transaction, with its record; False if another deployment has done so in the meantime.

    StartError with the server's message.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with alone(connection):
                if record and not record.is_repeated and _recorded(connection).get(record.name) == record.digest:
                    return False
                # A file that waits for a lock on a table makes every later writer queue behind it, and a file needs
                # several locks. So it gives up soon, before it could deadlock with a writer (deadlock_timeout is 1 s),
                # and starts over.
                connection.execute("SET LOCAL lock_timeout = '500ms'")
                connection.execute(path.read_bytes())
                if record and record.is_complete:
                    connection.execute(
                        "INSERT INTO public.source_details_migrations (name, sha256) VALUES (%s, %s) "
                        "ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, applied_at = now()",
                        (record.name, record.digest),
                    )
            return True
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise StartError(
                    f"{path.name}: other programs held locks on the tables for {_PATIENCE_S:.0f} s; nothing of it "
                    "was applied, try again at a quieter time"
                ) from error
            say("  waiting for other programs' transactions")
            time.sleep(_PAUSE_S)
        except errors.Error as error:
            raise StartError(f"{path.name}: {reason(error)}") from None


def _recorded(connection: Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sha256 FROM public.source_details_migrations").fetchall())


def _forget_before_release(connection: Connection) -> None:
    for name, digest in _recorded(connection).items():
        if (name, digest) in _BEFORE_RELEASE:
            connection.execute("DELETE FROM public.source_details_migrations WHERE name = %s", (name,))


def _unapplied(connection: Connection) -> list[str]:
    recorded = _recorded(connection)
    missing = []
    for path in numbered():
        digest = recorded.get(path.name)
        if digest is None or (path.name, digest) in _BEFORE_RELEASE:
            missing.append(path.name)
        elif digest != _digest([path]):
            raise StartError(f"{path.name} has changed since it was applied; put the change into a new file instead")
    if recorded.get(PRESENT) != _digest(present()):
        missing.append(PRESENT)
    return missing


def _gone(connection: Connection) -> list[str]:
    """The objects of the files that were dropped, or disabled."""
    gone = []
    for path in [*numbered(), *present()]:
        for kind, name in _MADE.findall(path.read_text(encoding="utf-8")):
            catalog, column = ("pg_proc", "proname") if kind == "FUNCTION" else ("pg_class", "relname")
            namespace = f"{column.removesuffix('name')}namespace"
            found = connection.execute(
                f"SELECT FROM pg_catalog.{catalog} WHERE {column} = %s AND {namespace} = 'public'::regnamespace",
                (name,),
            ).fetchone()
            if found is None:
                gone.append(f"{kind.lower()} {name}")
    if "function source_details_triggers" not in gone:
        rows = connection.execute(
            "SELECT trigger_name, table_name FROM public.source_details_triggers() WHERE NOT is_right"
        )
        gone += [f"trigger {trigger} on {table}" for trigger, table in rows]
    return gone


def _show_warning(notice: errors.Diagnostic, say: Say) -> None:
    if notice.severity_nonlocalized == "WARNING":
        for line in (notice.message_primary, notice.message_detail, notice.message_hint):
            if line:
                say(f"  {line}")
