"""The parts of the service: put together, started and stopped in order."""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg

from service.cache.rate_limit import RateLimit
from service.cache.session import CacheSession
from service.concurrency import Supervisor
from service.config.settings import Settings
from service.errors import ConfigDatabaseUnavailableError, MissingObjectsError, StartError
from service.health.process import Health
from service.health.reports import Reports
from service.notices.sending import Notices
from service.pages.explanation import Explainer
from service.pages.listener import Listener
from service.pages.page import Answer
from service.pages.refresher import Refresher
from service.pages.sampler import Sampler
from service.pages.warming import Warming
from service.parts import Parts
from service.sources.schedule import Schedule
from service.sources.sync import SyncResult
from service.sources.table_list import TableLists
from service.sources.wal_monitor import WalMonitoring
from service.telemetry.events import Observer, TaskFailed
from service.telemetry.metrics import Metrics
from service.telemetry.siblings import Siblings


@dataclass(frozen=True, slots=True)
class Synced:
    """A sync that a caller waited for. `view_refreshed`: whether the view shows it already; None if nothing changed."""

    result: SyncResult
    view_refreshed: bool | None = None
    refresh_ms: float | None = None

    @property
    def phases_ms(self) -> dict[str, float]:
        """How long each phase took."""
        return dict(self.result.phases_ms) | ({} if self.refresh_ms is None else {"refresh": self.refresh_ms})

    def body(self) -> dict[str, Any]:
        """The object that the API returns."""
        refreshed = {} if self.view_refreshed is None else {"view_refreshed": self.view_refreshed}
        return self.result.body() | {"phases_ms": self.phases_ms} | refreshed


class Runtime(Parts):
    """One process's service without its HTTP side. `siblings` are the other workers on its port, if there are any."""

    def __init__(self, settings: Settings, observer: Observer | None = None, siblings: Siblings | None = None) -> None:
        super().__init__(settings, observer or Observer())
        observer = self.observer
        sync_budget_s = settings.sync_budget_ms / 1000
        self.session = CacheSession(self.redis, self.cache, observer, self.pages.doubt, self.identity)
        self.refresher = Refresher(self.database, observer, share=settings.refresh_share)
        self.table_lists = TableLists(self.database, self.connections, self.cache, budget_s=sync_budget_s)
        self.rate_limit = RateLimit(self.cache, per_minute=settings.syncs_per_minute)
        self.warming = Warming(self.pages, self.cache, observer, most=settings.warm_pages, ttl_s=settings.cache_ttl_s)
        self.wal_monitor = WalMonitoring(
            self.database,
            self.connections,
            observer,
            interval_s=settings.wal_interval_s,
            budget_s=(settings.source_connect_timeout_ms + settings.source_statement_timeout_ms) / 1000,
            disk_bytes=settings.wal_disk_gb * 2**30 or None,
        )
        self.schedule = Schedule(
            self.database,
            self.synchronizer,
            observer,
            interval_s=settings.sync_interval_s,
            longest_s=self.synchronizer.longest_s,
            at_once=settings.syncs_at_once,
        )
        self.notices = Notices(self.database, observer, settings.webhook_list, settings.webhook_hosts)
        self.sampler = Sampler(self.pages, observer, share=settings.sample_share)
        self.listener = Listener(
            self.database,
            self.pages,
            self.refresher,
            observer,
            dsn=(settings.listener_dsn or settings.config_dsn).get_secret_value(),
            canary_interval_s=settings.canary_interval_s,
        )
        self.explainer = Explainer(self.pages, self.cache, self.redis, self.listener, observer)
        self.metrics = Metrics(observer)
        self.health = Health(
            self.database,
            self.cache,
            self.pages,
            self.connections,
            self.listener,
            self.metrics,
            sync_interval_s=settings.sync_interval_s,
            wal_interval_s=settings.wal_interval_s,
            most_descriptors=settings.most_descriptors,
        )
        self.health.add_gauges(self.metrics)
        self.reports = Reports(self.health, self.metrics, siblings)
        self.tasks = Supervisor(self._note_failure)
        self._poll_interval = settings.poll_interval_s
        self._refresh_wait = settings.refresh_wait_ms / 1000
        self._on_stopping: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Connects to everything. StartError without the config database, or if it lacks what pages need; Redis may be
        missing, and is used later.
        """
        await self.database.open()
        await self._try_a_page()
        self.tasks.start("cache session", self.session.run)
        await self.session.tried.wait()
        await self.listener.open()
        self.tasks.start("listener", self.listener.run)
        self.tasks.start("refresher", self.refresher.run)
        self.tasks.start("poll", self._poll)
        self.tasks.start("schedule", self.schedule.run)
        self.tasks.start("warming", self.warming.run)
        self.tasks.start("WAL monitor", self.wal_monitor.run)
        self.tasks.start("pruning", self.notices.run_pruning)
        for webhook in self.notices.webhooks:
            self.tasks.start(f"webhook {webhook.name}", functools.partial(self.notices.run_webhook, webhook))

    async def _try_a_page(self) -> None:
        # A process of this version before its migrations would be ready, and could not compute any page.
        try:
            await self.pages.read_head(0, None)
        except MissingObjectsError:
            raise StartError(
                "ROSETTA_CONFIG_DSN: the database lacks objects of this version; run rosetta migrate first"
            ) from None
        except (ConfigDatabaseUnavailableError, psycopg.Error):
            # It answered a moment ago. What else is wrong (a lock, a right) is told to readers, and by health.
            return

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Calls `callback` when this process begins to stop, before anything is closed."""
        self._on_stopping.append(callback)

    def begin_stop(self) -> None:
        """Calls each `on_stopping` callback, once; `stop` does so too."""
        while self._on_stopping:
            self._on_stopping.pop()()

    async def stop(self) -> None:
        """Stops everything and closes every connection."""
        self.begin_stop()
        await self.reports.close()
        await self.tasks.stop()
        await self.schedule.close()
        await self.listener.close()
        await self.close()

    async def sync(self, source_id: int, on_refresh: Callable[[], None] = lambda: None) -> Synced:
        """Syncs, then waits a bounded time until the view shows the changes; pages are right either way.

        `on_refresh` is called when that wait begins. Raises the errors of `Synchronizer.sync`.
        """
        result = await self.synchronizer.sync(source_id)
        if not result.count:
            # The view has nothing to catch up with. Other sources' changes are no reason to wait.
            return Synced(result)
        on_refresh()
        started = monotonic()
        is_covered = await self.refresher.wait_until_covered(self._refresh_wait)
        return Synced(result, is_covered, round((monotonic() - started) * 1000, 3))

    def count(self, source_id: int, answer: Answer) -> None:
        """Counts a page that a reader received."""
        self.warming.touch(source_id)
        self.metrics.served.labels(answer.found).inc()
        if answer.is_collapsed:
            self.metrics.collapsed.inc()

    async def _poll(self) -> None:
        """Polls for changes that no notification announces, such as a refresh by hand without the event trigger."""
        while True:
            await asyncio.sleep(self._poll_interval)
            self.refresher.request()
            await self.connections.sweep()
            await self.health.look()

    def _note_failure(self, task: str, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        self.health.note_failure(task, why)
        self.observer(TaskFailed(task=task, reason=why))
