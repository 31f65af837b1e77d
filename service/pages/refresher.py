"""Refreshes the materialized view: after changes, not too often, and in one process of the whole deployment.

The config database makes the decision (`source_details_refresh_if_due`), since all processes share it.
"""

import asyncio
from time import monotonic

import psycopg

from service.database.connection import reason
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError
from service.telemetry.events import Observer, RefreshFailed, RefreshSkipped, ViewRefreshed

_RETRY_S = 1.0
_LONGEST_S = 3600.0


class Refresher:
    """Combines requests: the first starts a refresh at once, and all that come during it cause one more after it."""

    def __init__(self, database: ConfigDatabase, observer: Observer, *, share: float) -> None:
        self._database = database
        self._observe = observer
        self._share = share
        self._is_failing = False
        self._requested = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    def request(self) -> None:
        """Takes note that the view may need a refresh. Does not wait."""
        self._requested.set()

    async def wait_until_covered(self, seconds: float) -> bool:
        """Requests a refresh. True once the view covers all that was committed before; false if that takes longer."""
        covered = asyncio.get_running_loop().create_future()
        self._waiting.append(covered)
        self.request()
        done, _ = await asyncio.wait({covered}, timeout=seconds)
        if not done:
            covered.cancel()
        return bool(done)

    async def run(self) -> None:
        """Serves requests until it is cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            # A caller that comes from here on may have written after the refresh below took its snapshot: that refresh
            # must not serve it.
            served, self._waiting = self._waiting, []
            is_covered, pause = await self._refresh()
            if is_covered:
                for covered in served:
                    if not covered.done():
                        covered.set_result(None)
                if pause:
                    asyncio.get_running_loop().call_later(pause, self.request)
            else:
                self._waiting = served + self._waiting
                self._requested.set()
                await asyncio.sleep(pause)

    async def _refresh(self) -> tuple[bool, float]:
        """Whether the view covers all that it can cover now, and the seconds until the next attempt; 0 for none."""
        started = monotonic()
        try:
            row = await self._database.fetch_detached("refresh_if_due", timeout_s=_LONGEST_S, share=self._share)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure):
            # Somebody is refreshing the view by hand.
            return False, _RETRY_S
        except (psycopg.Error, ConfigDatabaseUnavailableError) as error:
            # Callers go on waiting for the view: the refresh is tried again. The event is sent once, not per attempt.
            if not self._is_failing:
                self._observe(RefreshFailed(reason=reason(error)))
            self._is_failing = True
            return False, _RETRY_S
        self._is_failing = False
        assert row is not None
        if row["outcome"] == "refreshed":
            self._observe(ViewRefreshed(took_ms=round((monotonic() - started) * 1000, 3)))
        else:
            self._observe(RefreshSkipped(why=row["outcome"]))
        return row["outcome"] in ("refreshed", "clean", "unsettled"), (row["wait_ms"] or 0) / 1000
