"""The parts of a running service, put together, started and stopped in order."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from service.answer import Answer
from service.cache import Cache
from service.database import ConfigDatabase
from service.details import Details
from service.errors import ConfigDatabaseUnavailableError
from service.listener import Listener
from service.metrics import Metrics
from service.observation import Observer, TaskFailed
from service.refresh import Refresher
from service.sampler import Sampler
from service.settings import Settings
from service.sync import Synchronizer

_RESTART_PAUSE_S = 1.0
_CANCEL_AGAIN_S = 0.2
# PostgreSQL itself warns, in its log, from half on.
_CROWDED = 0.25


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
        self.synchronizer = Synchronizer(settings, self.database, self.details, self.observer)
        self.sampler = Sampler(settings, self.details, self.observer)
        self.listener = Listener(settings, self.database, self.details, self.refresher, self.observer)
        self._tasks: list[asyncio.Task[None]] = []
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

    async def stop(self) -> None:
        """Stops everything and closes every connection."""
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            # Once may not be enough: asyncio.wait_for, which psycopg waits with, swallows a cancellation on Python 3.11
            # where what it waits for comes in the same moment (https://github.com/python/cpython/issues/86296).
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        self._tasks.clear()
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

    def _supervised(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def supervise() -> None:
            while True:
                try:
                    await run()
                except Exception as error:
                    self.observer(TaskFailed(task=name, reason=f"{type(error).__name__}: {error}"))
                await asyncio.sleep(_RESTART_PAUSE_S)

        return asyncio.create_task(supervise(), name=name)

    def count(self, answer: Answer) -> None:
        """Counts a page that a reader gets."""
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
            "sources_failing": {str(source_id): why for source_id, why in failing.items()},
            "memory_cache_bytes": self.details.memory.bytes,
        }
