"""Syncs every source automatically, once per interval in the whole deployment, by whichever process is free.

The schedule is a table in the config database, which all processes share. A process that takes a source holds it by a
lease. If the process dies during the sync, the lease runs out and another process takes the source.
"""

import asyncio
from contextlib import suppress

from psycopg.errors import LockNotAvailable
from psycopg.rows import DictRow

from service.concurrency import keep
from service.database.connection import Connection, reason
from service.database.pool import ConfigDatabase
from service.database.queries import query
from service.errors import ConfigDatabaseUnavailableError, EntityNotFoundError, SyncError
from service.sources.sync import Synchronizer
from service.telemetry.events import Observer, ScheduledSync, TaskFailed

_LOOK_AGAIN_S = 5.0
_TRY_AGAIN_S = 1.0
_LONGEST_PAUSE_S = 3600.0
# Added to the longest time of a sync, so that a lease outlives it.
_LEASE_SPARE_S = 60.0


class Schedule:
    """Runs until it is cancelled, and must be closed then. Does nothing if the interval is 0."""

    def __init__(
        self,
        database: ConfigDatabase,
        synchronizer: Synchronizer,
        observer: Observer,
        *,
        interval_s: int,
        longest_s: float,
        at_once: int,
    ) -> None:
        self._database = database
        self._synchronizer = synchronizer
        self._observe = observer
        self._interval = interval_s
        self._lease = longest_s + _LEASE_SPARE_S
        self._at_once = at_once
        self._free = asyncio.Semaphore(at_once)
        self._claim: asyncio.Task[int | None] | None = None
        self._running: dict[asyncio.Task[None], int] = {}

    async def run(self) -> None:
        """Syncs the sources that are due, at most `at_once` at a time in the whole deployment."""
        if not self._interval:
            await asyncio.Event().wait()
        while True:
            await self._free.acquire()
            source_id = None
            try:
                self._claim = asyncio.create_task(self.claim(), name="claim of a scheduled sync")
                # Shielded: a cancellation between the commit of the claim and its answer would leave a lease that
                # nobody knows of.
                source_id = await asyncio.shield(self._claim)
                self._claim = None
            finally:
                if source_id is None:
                    self._free.release()
            if source_id is None:
                await asyncio.sleep(await self._pause())
                continue
            task = asyncio.create_task(self._sync(source_id), name=f"scheduled sync {source_id}")
            self._running[task] = source_id
            task.add_done_callback(self._end)
            keep(task)

    async def close(self) -> None:
        """Cancels its syncs and gives back the sources that it had taken. Otherwise, until their leases run out, no
        process could sync them, and fewer others could be synced at a time.

        Not a part of `run`: that is cancelled repeatedly until it has ended, which would interrupt the giving back.
        """
        taken = list(self._running.values())
        for task in self._running:
            task.cancel()
        if (claim := self._claim) is not None:
            self._claim = None
            await asyncio.wait({claim})
            if claim.exception() is None and (source_id := claim.result()) is not None:
                taken.append(source_id)
        if taken:
            with suppress(ConfigDatabaseUnavailableError):
                await self._database.fetch_one("give_back_syncs", ids=taken)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._free.release()

    async def claim(self) -> int | None:
        """Takes the source whose turn it is, for as long as a sync may last; None if there is none to take."""

        async def claim(connection: Connection) -> DictRow | None:
            await connection.execute(query("wait_for_locks"))
            await connection.execute(query("lock_schedule"))
            parameters = {"lease_s": self._lease, "at_once": self._at_once}
            return await (await connection.execute(query("claim_sync"), parameters)).fetchone()

        try:
            row = await self._database.in_transaction(claim)
        except (ConfigDatabaseUnavailableError, LockNotAvailable):
            return None
        return None if row is None else int(row["source_id"])

    async def _pause(self) -> float:
        try:
            row = await self._database.fetch_one("schedule_new_sources", interval_s=self._interval)
        except ConfigDatabaseUnavailableError:
            return _TRY_AGAIN_S
        # Another program may add a source, or make one due now, at any time: so the wait is bounded.
        soon = row["next_s"] if row is not None and row["next_s"] is not None else _LOOK_AGAIN_S
        # A source that is due but could not be claimed waits until another process has finished a sync of its own.
        return min(soon + 0.01, _LOOK_AGAIN_S) if soon > 0 else _TRY_AGAIN_S

    async def _sync(self, source_id: int) -> None:
        error: str | None = None
        try:
            await self._synchronizer.sync_quietly(source_id)
        except SyncError as failure:
            error = failure.message
        except EntityNotFoundError:
            # The source was deleted, and its row in the schedule with it.
            return
        except ConfigDatabaseUnavailableError:
            # The outcome cannot be recorded either: the lease runs out, and then the source is due again.
            return
        except Exception as failure:
            # Whatever the error is, the lease must not stay: `at_once` such sources would keep all others from being
            # synced.
            error = f"the sync failed: {type(failure).__name__}"
            self._observe(
                TaskFailed(task=f"scheduled sync {source_id}", reason=f"{type(failure).__name__}: {reason(failure)}")
            )
        with suppress(ConfigDatabaseUnavailableError):
            if error is None:
                await self._database.fetch_one("sync_succeeded", id=source_id, interval_s=self._interval)
            else:
                await self._database.fetch_one(
                    "sync_failed", id=source_id, interval_s=self._interval, longest_s=_LONGEST_PAUSE_S, error=error
                )
        self._observe(ScheduledSync(source_id=source_id, error=error))
