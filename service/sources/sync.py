"""Syncs a source: records what it publishes, and every published table's columns, in the config database.

A sync makes one round trip to the source and one transaction in the config database, which compares and writes in one
statement. Nothing is locked while the source is asked. So the statement itself drops a sync that read the source
earlier than one that is already recorded, and a sync that another program overtook asks again (see `record_sync`).
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec
from psycopg.errors import (
    DataError,
    DeadlockDetected,
    ForeignKeyViolation,
    LockNotAvailable,
    StatementTooComplex,
)
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from service.concurrency import Turnstile, keep
from service.database.connection import Connection, reason
from service.database.pool import ConfigDatabase
from service.database.queries import query
from service.errors import (
    ConfigDatabaseUnavailableError,
    EntityNotFoundError,
    SourceBusyError,
    SourceUnreachableError,
    SyncError,
    SyncUnfinishedError,
)
from service.sources.address import SourceAddress
from service.sources.changes import change_at
from service.sources.connections import Connections
from service.sources.publication import Publications
from service.sources.state import SourceState, read_state
from service.sources.table_names import display
from service.telemetry.events import Observer, SyncFailed, SyncFinished, SyncPhase
from service.telemetry.tracing import span

_ATTEMPTS = 3
# The longest time for a recording: thousands of new tables take a while.
_RECORDING_S = 300.0
# Each costs a query.
_MOST_JUDGED = 50
# Drops the pages of these sources everywhere; the second argument is the cause, for the event.
Evict = Callable[[Iterable[int] | None, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did. `outcome`: "synced", or "superseded" if a sync that read the source later was recorded first.

    `changes` is the report of `record_sync`; `phases_ms` says how long connecting to the source, querying it and
    recording took.
    """

    outcome: str
    changes: dict[str, list[Any]]
    source: dict[str, Any]
    phases_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many tables changed in any way."""
        return sum(len(tables) for tables in self.changes.values())

    def body(self) -> dict[str, Any]:
        """The object that the API returns."""
        return {"outcome": self.outcome, **self.changes, **self.source, "phases_ms": dict(self.phases_ms)}


class Synchronizer:
    """Syncs sources, with at most one sync running and one waiting per source."""

    def __init__(
        self,
        database: ConfigDatabase,
        connections: Connections,
        publications: Publications,
        evict: Evict,
        observer: Observer,
        *,
        budget_s: float,
        patience_s: float,
    ) -> None:
        self._database = database
        self._connections = connections
        self._publications = publications
        self._evict = evict
        self._observe = observer
        self._budget = budget_s
        self._patience = patience_s
        self._turnstile: Turnstile[int, SyncResult] = Turnstile()
        # How many callers wait for a sync of each source; they read its page right after.
        self._callers: Counter[int] = Counter()

    @property
    def longest_s(self) -> float:
        """The longest that asking a source and recording its answer may take."""
        return self._patience + _RECORDING_S

    async def sync(self, source_id: int) -> SyncResult:
        """The report of a sync that starts after this call. When it returns, the source's page has been evicted.

        EntityNotFoundError, ConfigDatabaseUnavailableError, SyncError. No caller waits longer than the budget, not even
        behind a sync that was running before. After that time the sync goes on in the background.
        """
        self._callers[source_id] += 1
        try:
            shared = asyncio.ensure_future(self.sync_quietly(source_id))
            keep(shared)
            done, _ = await asyncio.wait({shared}, timeout=self._budget)
            if not done:
                raise SyncUnfinishedError(source_id, self._budget)
            return shared.result()
        finally:
            self._callers[source_id] -= 1
            if not self._callers[source_id]:
                del self._callers[source_id]

    async def sync_quietly(self, source_id: int) -> SyncResult:
        """Like `sync`, without a time limit. If nothing changed and no `sync` call shares it, caches keep the page."""
        return await self._turnstile.pass_through(source_id, lambda: self._observed(source_id))

    async def _observed(self, source_id: int) -> SyncResult:
        started = monotonic()
        try:
            report = await self._sync(source_id)
        except SyncError as error:
            self._observe(SyncFailed(source_id=source_id, reason=error.message))
            raise
        self._observe(
            SyncFinished(
                source_id=source_id,
                outcome=report.outcome,
                changes=report.count,
                took_ms=round((monotonic() - started) * 1000, 3),
                phases_ms=report.phases_ms,
            )
        )
        return report

    async def _sync(self, source_id: int) -> SyncResult:
        for _ in range(_ATTEMPTS):
            row = await self._database.fetch_one("sync_start", id=source_id)
            if row is None:
                raise EntityNotFoundError("Source", str(source_id))
            address = SourceAddress.of(row)
            self._observe(SyncPhase(source_id=source_id, phase="connect"))
            read = functools.partial(
                read_state,
                publication=address.publication_name,
                slot=address.replication_name,
                limits=self._connections.limits,
                known=row["digests"],
            )
            seen, phases = await self._connections.use(
                address,
                read,
                budget_s=self._patience,
                on_connected=lambda: self._observe(SyncPhase(source_id=source_id, phase="source")),
            )
            asked = monotonic()
            self._observe(SyncPhase(source_id=source_id, phase="record", tables=seen.table_count))
            record = functools.partial(_record, address=address, before=row, seen=seen)
            try:
                with span("sql record_sync", source_id=source_id):
                    recorded = await self._database.in_transaction(record, timeout_s=_RECORDING_S)
            except (_OvertakenError, ForeignKeyViolation):
                # The foreign key is violated if a table's row is deleted while its next version is being recorded.
                continue
            except (LockNotAvailable, DeadlockDetected):
                raise SourceBusyError(source_id) from None
            except (DataError, StatementTooComplex) as error:
                raise SourceUnreachableError(
                    f"its answer cannot be recorded: {reason(error)}", source_id=source_id
                ) from None
            if recorded is None:
                raise EntityNotFoundError("Source", str(source_id))
            phases["record"] = round((monotonic() - asked) * 1000, 3)
            return await self._finish(address, seen, recorded, phases)
        raise SourceBusyError(source_id)

    async def _finish(
        self, address: SourceAddress, seen: SourceState, recorded: DictRow, phases: dict[str, float]
    ) -> SyncResult:
        if recorded["is_newest"]:
            names = frozenset(recorded["published_names"])
            await self._publications.remember(address, names, recorded["number"], names)
        changes = recorded["report"]
        await self._judge(changes["tables_changed"])
        report = SyncResult(
            outcome="synced" if recorded["is_newest"] else "superseded",
            changes=changes,
            source={
                "publication_exists": seen.publication["has_publication"],
                "slot": seen.slot_body(),
                "wal_lsn": seen.wal_lsn,
                "set_back": recorded["is_set_back"],
                "unread": [{"what": f"table {display(key)}", "reason": why} for key, why in seen.unread.items()]
                + [{"what": what, "reason": why} for what, why in seen.not_known.items()],
            },
            phases_ms=phases,
        )
        # The notification alone would not do: it may still be on its way when a caller reads the page.
        if report.count or self._callers[address.id]:
            await self._evict([address.id], "sync")
        return report

    async def _judge(self, changed: list[dict[str, Any]]) -> None:
        """Adds the verdict on each change; None for those that are too many to judge here."""
        for number, table in enumerate(changed):
            table["verdict"] = None
            if number < _MOST_JUDGED:
                # What is recorded stays recorded, whether or not it can be judged now.
                with suppress(ConfigDatabaseUnavailableError):
                    diff = await change_at(self._database, table["table_id"], table["version"])
                    table["verdict"] = diff and diff["more"]["verdict"]


class _OvertakenError(Exception):
    """Another program wrote the source's tables, or pointed the source elsewhere, after the source had been asked."""


async def _record(connection: Connection, address: SourceAddress, before: DictRow, seen: SourceState) -> DictRow | None:
    # Not prepared: a prepared statement fails forever once another program has altered a column that it returns.
    await connection.execute(query("wait_for_recording"), prepare=False)
    locked = await connection.execute(query("lock_source"), {"id": address.id}, prepare=False)
    await connection.execute(query("give_way"), prepare=False)
    cursor = await connection.execute(
        query("record_sync"),
        {
            "id": address.id,
            "pg_host": address.pg_host,
            "pg_port": address.pg_port,
            "pg_database": address.pg_database,
            "publication_name": address.publication_name,
            "replication_name": address.replication_name,
            "tables_edition": before["tables_edition"],
            "sync_number": before["sync_number"],
            "tables": Jsonb(seen.tables, dumps=bytes),
            "incarnation": seen.incarnation or "",
            "source_snapshot": seen.source_snapshot,
            "has_publication": seen.publication["has_publication"],
            "has_slot": seen.has_slot,
            "named_alike": seen.publication["named_alike"],
            "seen": msgspec.json.encode(seen.seen()).decode(),
        },
        prepare=False,
    )
    # The source may have been deleted since it was looked up: then there is nothing to record.
    if await locked.fetchone() is None:
        return None
    recorded = await cursor.fetchone()
    assert recorded is not None
    if recorded["is_overtaken"]:
        # Raised inside the transaction, which rolls back everything written so far.
        raise _OvertakenError
    return recorded
