"""Syncing every source by itself, at an interval: each once in the whole deployment, by whichever process is free.

The schedule is a table of the config database, where all processes meet. Who takes a source holds it by a lease; a
process that dies in the middle loses it, and the next one takes the source again.
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
# A lease is longer than any sync, its source's budget and the recording included.
_LEASE_SPARE_S = 60.0


class Schedule:
    """Runs until it is cancelled, and is closed then; does nothing where the interval is 0."""

    def __init__(
        self,
        database: ConfigDatabase,
        synchronizer: Synchronizer,
        observer: Observer,
        *,
        interval_s: int,
        budget_s: float,
        at_once: int,
    ) -> None:
        self._database = database
        self._synchronizer = synchronizer
        self._observe = observer
        self._interval = interval_s
        self._lease = budget_s + _LEASE_SPARE_S
        self._at_once = at_once
        self._free = asyncio.Semaphore(at_once)
        self._claim: asyncio.Task[int | None] | None = None
        self._running: dict[asyncio.Task[None], int] = {}

    async def run(self) -> None:
        """Takes what is due, at most so many at a time in the whole deployment."""
        if not self._interval:
            await asyncio.Event().wait()
        while True:
            await self._free.acquire()
            source_id = None
            try:
                self._claim = asyncio.create_task(self.claim(), name="claim of a scheduled sync")
                # A cancellation between its commit and the answer would leave a lease that nobody knows of.
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
        """Ends its syncs and gives back what it had taken: until their leases end nobody would sync these, and as many
        others fewer. Not a part of `run`, which is cancelled again and again until it has ended.
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
        """The source whose turn it is now, taken for as long as a sync may last; None where there is none to take."""

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
        # Another program may add a source, or have one synced at once, at any time.
        soon = row["next_s"] if row is not None and row["next_s"] is not None else _LOOK_AGAIN_S
        # What is due and was not given waits until another process has done with one of its own.
        return min(soon + 0.01, _LOOK_AGAIN_S) if soon > 0 else _TRY_AGAIN_S

    async def _sync(self, source_id: int) -> None:
        error: str | None = None
        try:
            await self._synchronizer.sync_quietly(source_id)
        except SyncError as failure:
            error = failure.message
        except EntityNotFoundError:
            # Its row went with it.
            return
        except ConfigDatabaseUnavailableError:
            # Nothing can be noted either: the lease runs out, and then it is due again.
            return
        except Exception as failure:
            # Whatever it is, its lease must not stay: as many such sources would keep all others from their turns.
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
