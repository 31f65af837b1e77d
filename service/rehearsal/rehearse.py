"""Runs a migration on the copy, and says what it does to each published table."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from service.database.connection import reason
from service.demo.reaper import Reaper
from service.demo.servers import Postgres
from service.rehearsal.copy import Copy
from service.sources.changes import sentences
from service.sources.questions import Limits
from service.sources.schema_diff import version_difference
from service.sources.source_connection import SourceConnection
from service.sources.state import read_state
from service.sources.table_names import display

_ROLE = "rehearsal"
_LIMITS = Limits(60)
_LONGEST_S = 120.0
_BACK = re.compile(r"\b(ROLLBACK|ABORT)\b", re.IGNORECASE)
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)


class MigrationFailedError(Exception):
    """The migration does not run on the copy; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a migration does to each table that it changes: `verdict`, sentences. `notes`: what the copy lacks.

    `doubts`: why the source may fare otherwise than the copy.
    """

    tables: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The worst of the verdicts; "compatible" if no table changes, and "unknown" if there is a doubt."""
        found = {table["verdict"] for table in self.tables} | ({"unknown"} if self.doubts else set())
        return next((verdict for verdict in ("breaking", "unknown") if verdict in found), "compatible")


async def rehearse(recorded: Mapping[str, Any], migration: str) -> Outcome:
    """The outcome of a migration's text on a copy of what is `recorded` (a row of `recorded_schema`).

    MigrationFailedError. EmbeddedServerError, ReaperError.
    """
    tables = [msgspec.json.decode(fragment) for fragment in recorded["fragments"]]
    publication = recorded["publication_name"]
    if "\0" in migration:
        raise MigrationFailedError("it has a zero byte, where PostgreSQL would stop reading it")
    with Reaper() as reaper:
        server = Postgres(reaper, "copy", settings={"statement_timeout": "60s"})
        server.start()
        # What runs there may set its own limits aside.
        deadline = threading.Timer(_LONGEST_S, server.stop, ["immediate"])
        deadline.start()
        try:
            own = server.dsn("copy", _ROLE)
            with psycopg.connect(server.dsn(), autocommit=True) as owner:
                # The password of this run, as that of the server itself.
                owner.execute(f"CREATE ROLE {_ROLE} LOGIN PASSWORD '{server.password}'".encode())
                owner.execute(f"CREATE DATABASE copy OWNER {_ROLE}".encode())
            with psycopg.connect(own, autocommit=True) as connection:
                copy = Copy(connection)
                copy.make(tables)
                if recorded["is_all_tables"]:
                    with psycopg.connect(server.dsn("copy"), autocommit=True) as owner:
                        copy.publish(publication, tables, owner)
                else:
                    copy.publish(publication, tables, None)
            before = await _state(own, publication)
            skipped = _apply(own, migration)
            after = await _state(own, publication)
        except psycopg.OperationalError as error:
            raise MigrationFailedError(f"the copy cannot be read after it ({reason(error)})") from None
        finally:
            deadline.cancel()
            server.stop("immediate")
    doubts = [f"skipped on the copy: {notice}" for notice in skipped] + copy.left_out
    if _BACK.search(migration):
        doubts.append("it has a ROLLBACK: what that takes back depends on how the file is run")
    return Outcome(_compared(before, after), copy.notes, doubts)


def _apply(dsn: str, migration: str) -> list[str]:
    """What was skipped because the copy lacks it: the source may have it, under that name."""
    skipped: list[str] = []

    def hear(notice: errors.Diagnostic) -> None:
        if "skipping" in (notice.message_primary or ""):
            skipped.append(str(notice.message_primary))

    # There are no rows and no other sessions: what is made concurrently is the same.
    text = _CONCURRENTLY.sub("", migration)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.add_notice_handler(hear)
        try:
            connection.execute(text.encode())
        except psycopg.Error as error:
            raise MigrationFailedError(_said(error, text)) from None
    return skipped


def _said(error: psycopg.Error, migration: str) -> str:
    said = error.diag.message_primary or str(error)
    if error.diag.statement_position and (place := int(error.diag.statement_position)):
        return f"line {migration.count(chr(10), 0, place - 1) + 1}: {said}"
    return said


async def _state(dsn: str, publication: str) -> dict[str, dict[str, Any]]:
    connection = await SourceConnection.connect(dsn, autocommit=True, row_factory=dict_row, prepare_threshold=None)
    async with connection:
        state = await read_state(connection, publication, "", _LIMITS)
    tables = {}
    for table in msgspec.json.decode(state.tables):
        described = table["described"]
        tables[table["key"]] = {
            "columns": [column["actual"] for column in described["columns"]],
            "replication": described["replication"],
            "identity": {"relation": str(described["relation"]), "attnums": described["attnums"]},
        }
    return tables


def _compared(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    places = {table["identity"]["relation"]: key for key, table in after.items()}
    compared = []
    for key, table in before.items():
        now = places.get(table["identity"]["relation"])
        name = display(key)
        if now is None:
            compared.append(_told(name, "breaking", [f"{name} is no longer published (programs that read it)"]))
            continue
        diff = version_difference(table, after[now])
        says = sentences(diff)
        verdict = diff and diff["more"]["verdict"]
        if now != key:
            says = [f"{name} is called {display(now)} now (programs that read it by its old name)", *says]
            verdict = "breaking"
        if verdict:
            compared.append(_told(name, verdict, says))
    known = {table["identity"]["relation"] for table in before.values()}
    for key, table in after.items():
        if table["identity"]["relation"] not in known:
            compared.append(_told(display(key), "compatible", [f"{display(key)} is published"]))
    return compared


def _told(name: str, verdict: str, says: list[str]) -> dict[str, Any]:
    return {"table_name": name, "verdict": verdict, "says": says}


def read(path: Path) -> str:
    """A migration's text; ValueError, in one line, if it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: it is not UTF-8") from None
