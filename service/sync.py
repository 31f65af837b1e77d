"""Syncing a source: what it publishes, and every published table's columns, into the config database.

One round trip to the source, one transaction in the config database, which compares and writes in one statement.
Nothing is locked while the source is asked: a sync that read the source earlier and arrives later is dropped by the
statement itself (see `record_sync`).
"""

from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from psycopg.rows import DictRow

from service.database import ConfigDatabase, Connection
from service.details import Details
from service.errors import EntityNotFoundError, SourceUnreachableError
from service.observation import Observer, SyncFailed, SyncFinished
from service.queries import query
from service.remote import Source, SourceConnection
from service.settings import Settings
from service.waiting import Turnstile


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. `outcome`: "synced", or "superseded" where one that started later was recorded first.

    `changes` is the report of `record_sync`; `phases_ms` says how long connecting to the source, asking it and
    recording took.
    """

    outcome: str
    changes: dict[str, list[Any]]
    source: dict[str, Any]
    phases_ms: dict[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many tables changed in any way."""
        return sum(len(tables) for tables in self.changes.values())

    def body(self) -> dict[str, Any]:
        """As it goes on the wire."""
        return {"outcome": self.outcome, **self.changes, **self.source, "phases_ms": self.phases_ms}


class Synchronizer:
    """Syncs sources, at most one running and one waiting for each."""

    def __init__(self, settings: Settings, database: ConfigDatabase, details: Details, observer: Observer) -> None:
        self._database = database
        self._details = details
        self._observe = observer
        self._budget = settings.sync_budget_ms / 1000
        self._turnstile: Turnstile[int, SyncReport] = Turnstile()

    async def sync(self, source_id: int) -> SyncReport:
        """The report of a sync that started after this call; afterwards no cache holds the source's page.

        EntityNotFoundError, SourceUnreachableError, ConfigDatabaseUnavailableError.
        """
        return await self._turnstile.pass_through(source_id, lambda: self._sync(source_id))

    async def _sync(self, source_id: int) -> SyncReport:
        started = monotonic()
        row = await self._database.fetch("source_connection", id=source_id)
        if row is None:
            raise EntityNotFoundError("Source", str(source_id))
        source = Source.of(row)
        try:
            seen, phases = await self._details.sources.ask(source, self._budget, lambda c: _look(c, source))
        except SourceUnreachableError as error:
            self._observe(SyncFailed(source_id=source_id, reason=error.message))
            raise
        asked = monotonic()
        recorded = await self._database.in_transaction(lambda c: _record(c, source_id, seen))
        if recorded is None:
            raise EntityNotFoundError("Source", str(source_id))
        phases["record"] = round((monotonic() - asked) * 1000, 3)

        if recorded["is_newest"]:
            names = frozenset(recorded["published_names"])
            await self._details.publications.remember(source, names, recorded["number"])
        # Not left to the notification, which may still be on its way when the caller reads.
        await self._details.evict([source_id], "sync")
        report = SyncReport(
            outcome="synced" if recorded["is_newest"] else "superseded",
            changes=recorded["report"],
            source={
                "publication_exists": seen["has_publication"],
                "slot": seen["slot"],
                "wal_lsn": seen["wal_lsn"],
            },
            phases_ms=phases,
        )
        self._observe(
            SyncFinished(
                source_id=source_id,
                outcome=report.outcome,
                changes=report.count,
                took_ms=round((monotonic() - started) * 1000, 3),
            )
        )
        return report


async def _look(connection: SourceConnection, source: Source) -> DictRow:
    parameters = {"publication": source.publication_name, "slot": source.replication_name}
    cursor = await connection.execute(query("remote_state"), parameters)
    row = await cursor.fetchone()
    assert row is not None
    return row


async def _record(connection: Connection, source_id: int, seen: DictRow) -> DictRow | None:
    await connection.execute(query("limit_lock_wait"))
    locked = await connection.execute(query("lock_source"), {"id": source_id})
    recorded = await connection.execute(
        query("record_sync"),
        {
            "id": source_id,
            "tables": seen["tables"],
            "incarnation": seen["incarnation"],
            "source_snapshot": seen["source_snapshot"],
            "has_publication": seen["has_publication"],
            "has_slot": seen["slot"] is not None,
        },
    )
    # The source may have been deleted since it was looked up: then there is nothing to record about it.
    if await locked.fetchone() is None:
        return None
    return await recorded.fetchone()
