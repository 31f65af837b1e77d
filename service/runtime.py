"""The parts of a running service, put together, started and stopped in order."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import psycopg

from service.cache.rate_limit import RateLimit
from service.cache.store import Cache
from service.config.settings import Settings
from service.database.connection import reason
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError
from service.pages.details import Details
from service.pages.listener import Listener
from service.pages.page import Answer
from service.pages.refresher import Refresher
from service.pages.sampler import Sampler
from service.pages.warming import Warming
from service.sources.schedule import Schedule
from service.sources.sync import Synchronizer
from service.sources.table_list import TableLists
from service.sources.wal_monitor import WalMonitor
from service.telemetry.events import Observer, TaskFailed
from service.telemetry.metrics import Metrics

_RESTART_PAUSE_S = 1.0
_CANCEL_AGAIN_S = 0.2
# PostgreSQL itself warns, in its log, from half on.
_CROWDED = 0.25
# For how long a task that failed is told of: it begins anew at once, and may fail only now and then.
_TOLD_S = 60.0
# Of a background task's own interval.
_LATE_ROUNDS = 3


class Runtime:
    """One process's service without its HTTP side."""

    def __init__(self, settings: Settings, observer: Observer | None = None) -> None:
        self.observer = observer or Observer()
        self.refresh_wait_s = settings.refresh_wait_ms / 1000
        self._poll_interval = settings.poll_interval_s
        self.database = ConfigDatabase(settings, self.observer)
        self.cache = Cache(settings, self.observer)
        self.details = Details(settings, self.database, self.cache, self.observer)
        self.refresher = Refresher(settings, self.database, self.observer)
        self.synchronizer = Synchronizer(
            settings, self.database, self.details.sources, self.details.publications, self.details.evict, self.observer
        )
        self.table_lists = TableLists(settings, self.database, self.details.sources, self.cache)
        self.rate_limit = RateLimit(settings, self.cache)
        self.warming = Warming(settings, self.details, self.cache, self.observer)
        self.wal_monitor = WalMonitor(settings, self.database, self.details.sources, self.observer)
        self.schedule = Schedule(settings, self.database, self.synchronizer, self.observer)
        self.sampler = Sampler(settings, self.details, self.observer)
        self.listener = Listener(settings, self.database, self.details, self.refresher, self.observer)
        self._tasks: list[asyncio.Task[None]] = []
        self._on_stopping: list[Callable[[], None]] = []
        self._intervals = {
            "syncs_failing": settings.sync_interval_s,
            "syncs_late_s": settings.sync_interval_s,
            "slots_in_error": settings.wal_interval_s,
            "wal_round_late_s": settings.wal_interval_s,
        }
        self._background: dict[str, Any] = dict.fromkeys(self._intervals, 0)
        self._task_failures: dict[str, tuple[float, str]] = {}
        self._view: dict[str, Any] = {"uncovered_sources": 0, "uncovered_s": 0.0, "notification_queue": 0.0}
        self.metrics = Metrics(self.observer)
        self._gauges()

    def _gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("redis_up", "Redis is used", lambda: self.cache.is_trusted)
        gauge("listener_up", "changes are heard", lambda: self.listener.is_listening)
        gauge("listener_canary_seconds", "the last canary's round trip", lambda: (self.listener.canary_ms or 0) / 1000)
        gauge("config_database_up", "it answered when it was last asked", lambda: not self.database.is_down)
        gauge("memory_cache_bytes", "pages in this process", lambda: self.details.memory.bytes)
        gauge("sources_failing", "sources that did not answer", lambda: len(self.details.sources.failing))
        gauge(
            "syncs_failing",
            "sources that fail in their turn, when last looked",
            lambda: self._in_background("syncs_failing"),
        )
        gauge("slots_in_error", "slots in ERROR, when last looked", lambda: self._in_background("slots_in_error"))
        gauge("syncs_late_seconds", "how overdue a background sync is", lambda: self._in_background("syncs_late_s"))
        gauge(
            "wal_round_late_seconds", "how overdue the WAL monitor is", lambda: self._in_background("wal_round_late_s")
        )
        gauge("view_uncovered_sources", "sources read live, when last looked", lambda: self._view["uncovered_sources"])
        gauge("view_uncovered_seconds", "for how long the oldest has been", lambda: self._view["uncovered_s"])
        gauge("notification_queue_share", "how full it is, when last looked", lambda: self._view["notification_queue"])

    async def start(self) -> None:
        """Connects to everything. StartError where the config database is away; Redis may be, and comes in later."""
        await self.database.open()
        self._tasks.append(self._supervised("cache session", self.details.session.run))
        await self.details.session.tried.wait()
        await self.listener.open()
        self._tasks.append(self._supervised("listener", self.listener.run))
        self._tasks.append(self._supervised("refresher", self.refresher.run))
        self._tasks.append(self._supervised("poll", self._poll))
        self._tasks.append(self._supervised("schedule", self.schedule.run))
        self._tasks.append(self._supervised("warming", self.warming.run))
        self._tasks.append(self._supervised("WAL monitor", self.wal_monitor.run))

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Calls `callback` when this process begins to stop, before anything is closed."""
        self._on_stopping.append(callback)

    def begin_stop(self) -> None:
        """Says that this process is about to stop; `stop` says so too."""
        while self._on_stopping:
            self._on_stopping.pop()()

    async def stop(self) -> None:
        """Stops everything and closes every connection."""
        self.begin_stop()
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            # Once may not be enough: asyncio.wait_for, which psycopg waits with, swallows a cancellation on Python 3.11
            # where what it waits for comes in the same moment (https://github.com/python/cpython/issues/86296).
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        self._tasks.clear()
        await self.schedule.close()
        await self.listener.close()
        await self.details.sources.close()
        await self.details.session.close()
        await self.database.close()

    async def _poll(self) -> None:
        """Looks after what nobody tells of: a refresh by hand without the event trigger, a request that got lost."""
        while True:
            await asyncio.sleep(self._poll_interval)
            self.refresher.request()
            await self.details.sources.sweep()
            with contextlib.suppress(ConfigDatabaseUnavailableError):
                self._view = dict(await self.database.fetch_patiently("view_state") or self._view)
            await self._look_at_background()

    async def _look_at_background(self) -> str | None:
        """Why that cannot be told, if so. Pages need nothing of it: migrations 012 and 013, or the rights on what they
        make, may be missing while an update is under way.
        """
        if not any(self._intervals.values()):
            return None
        try:
            self._background = dict(await self.database.fetch_patiently("background_state") or self._background)
        except (ConfigDatabaseUnavailableError, psycopg.Error) as error:
            return f"what runs in the background cannot be told ({reason(error)}): rosetta doctor says what is missing"
        return None

    def _in_background(self, name: str) -> float:
        # What is switched off here is neither late nor failing, whatever it left behind.
        return float(self._background[name]) if self._intervals[name] else 0.0

    def _supervised(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def supervise() -> None:
            while True:
                try:
                    await run()
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                    self._task_failures[name] = monotonic(), why
                    self.observer(TaskFailed(task=name, reason=why))
                await asyncio.sleep(_RESTART_PAUSE_S)

        return asyncio.create_task(supervise(), name=name)

    def count(self, source_id: int, answer: Answer) -> None:
        """Counts a page that a reader gets."""
        self.warming.touch(source_id)
        self.metrics.served.labels(answer.found).inc()
        if answer.is_collapsed:
            self.metrics.collapsed.inc()

    async def health(self) -> dict[str, Any]:
        """Each dependency with its state. `status` is ready, degraded, or unavailable; `degraded` says why."""
        degraded: list[str] = []
        config: dict[str, Any] = {"status": "up", "pool": self.database.figures()}
        view: dict[str, Any] = {}
        try:
            view = dict(await self.database.fetch_patiently("view_state") or {})
            if untold := await self._look_at_background():
                degraded.append(untold)
        except ConfigDatabaseUnavailableError as error:
            config = {"status": "down", "reason": error.message}
            degraded.append("the config database cannot be reached: pages are as they were last known")
        cache: dict[str, Any] = {"status": "up", "outside_deletes_heard": self.details.session.is_tracking}
        if not self.cache.is_trusted:
            cache = {"status": "down", "reason": self.cache.failure}
            degraded.append(f"Redis is not used ({self.cache.failure}): serving from the process and PostgreSQL")
        elif self.cache.refusal:
            cache["refuses"] = self.cache.refusal
            degraded.append(
                f"Redis does not store pages ({self.cache.refusal}): serving from the process and PostgreSQL"
            )
        elif not self.details.session.is_tracking:
            degraded.append("CLIENT TRACKING is refused by Redis: pages are not kept in the process")
        if not self.listener.is_listening:
            degraded.append("nobody listens for changes: pages may be as old as their TTL")
        if view and not view["has_event_trigger"]:
            degraded.append("no event trigger: a REFRESH by hand is found by polling")
        if view and view["triggers_missing"]:
            degraded.append(
                f"{view['triggers_missing']} of 32 triggers are missing or not ENABLE ALWAYS: changes go unnoticed; "
                "apply migrations/010 and 011 again"
            )
        if view and view["notification_queue"] > _CROWDED:
            degraded.append(
                f"the notification queue is {view['notification_queue']:.0%} full: a session that listens stays in a "
                "transaction (pg_stat_activity); once it is full, writes to the config database fail"
            )
        if self._in_background("syncs_late_s") > _LATE_ROUNDS * self._intervals["syncs_late_s"]:
            degraded.append(
                "background syncs are late: more sources than ROSETTA_SYNCS_AT_ONCE can sync in ROSETTA_SYNC_INTERVAL_S"
            )
        if self._in_background("wal_round_late_s") > _LATE_ROUNDS * self._intervals["wal_round_late_s"]:
            degraded.append("the WAL monitor is late: a round takes longer than ROSETTA_WAL_INTERVAL_S")
        if count := self._in_background("syncs_failing"):
            which = _named(self._background["failing_ids"], count)
            degraded.append(f"{count:.0f} source(s) fail to be synced in their turn ({which}): their pages say why")
        if count := self._in_background("slots_in_error"):
            which = _named(self._background["slot_error_ids"], count)
            degraded.append(
                f"the replication slots of {count:.0f} source(s) are in ERROR ({which}): their pages say why"
            )
        for task, (when, why) in self._task_failures.items():
            if monotonic() - when < _TOLD_S:
                degraded.append(f"the {task} has failed, and begins anew: {why}")
        failing = self.details.sources.failing
        if failing:
            degraded.append(f"{len(failing)} source(s) do not answer: shown from what was last known")
        status = "unavailable" if config["status"] == "down" else "degraded" if degraded else "ready"
        return {
            "status": status,
            "degraded": degraded,
            "config_database": config,
            "redis": cache,
            "listener": {
                "status": "up" if self.listener.is_listening else "down",
                "canary_ms": self.listener.canary_ms,
            },
            "view": view,
            "background": {name: self._in_background(name) for name in self._intervals},
            "sources_failing": {str(source_id): why for source_id, why in failing.items()},
            "memory_cache_bytes": self.details.memory.bytes,
        }


def _named(ids: list[int], count: float) -> str:
    return ", ".join(map(str, ids)) + (", ..." if count > len(ids) else "")
