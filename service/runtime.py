"""The parts of the service: put together, started and stopped in order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from service.cache.deployment import Deployment
from service.cache.keys import Keys
from service.cache.rate_limit import RateLimit
from service.cache.session import CacheSession
from service.cache.store import Cache
from service.concurrency import Supervisor
from service.config.settings import Settings
from service.database.pool import ConfigDatabase
from service.health import Health
from service.pages.details import Pages
from service.pages.explanation import Explainer
from service.pages.listener import Listener
from service.pages.memory import Memory
from service.pages.page import Answer
from service.pages.refresher import Refresher
from service.pages.sampler import Sampler
from service.pages.warming import Warming
from service.sources.connections import ConnectionOptions, Connections
from service.sources.overview import Overview
from service.sources.publication import Publications
from service.sources.schedule import Schedule
from service.sources.sync import Synchronizer, SyncResult
from service.sources.table_list import TableLists
from service.sources.wal_monitor import WalMonitoring
from service.telemetry.events import Observer, TaskFailed
from service.telemetry.metrics import Metrics

_MIB = 1024 * 1024


class Parts:
    """The parts that read pages and sync sources. Commands need no others: they work without a listener or Redis.

    A sync by a command evicts as a write by any other program does: its changes notify every process that serves.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self.observer = observer
        self.database = ConfigDatabase(
            observer,
            dsn=settings.config_dsn.get_secret_value(),
            timeout_s=settings.config_timeout_ms / 1000,
            pool_min_size=settings.pool_min_size,
            pool_max_size=settings.pool_max_size,
        )
        self.redis = Deployment(settings.redis_url.get_secret_value(), settings.redis_timeout_ms / 1000)
        fill_wait_s = settings.fill_wait_ms / 1000
        self.cache = Cache(observer, Keys(settings.redis_prefix), eviction_wait_s=fill_wait_s)
        connect_s, statement_s = settings.source_connect_timeout_ms / 1000, settings.source_statement_timeout_ms / 1000
        options = ConnectionOptions(
            encryption_key=settings.encryption_key,
            connect_timeout_s=connect_s,
            statement_timeout_s=statement_s,
            rest_s=settings.source_rest_s,
            idle_s=settings.source_idle_s,
            most_idle=settings.source_connections,
            sslmode=settings.source_sslmode,
            sslrootcert=settings.source_sslrootcert,
            require_auth=settings.source_require_auth,
            allowed_hosts=settings.source_hosts,
        )
        self.connections = Connections(options, observer)
        self.publications = Publications(
            self.connections,
            self.cache,
            budget_s=settings.publication_budget_ms / 1000,
            patience_s=connect_s + statement_s,
            ttl_s=settings.publication_ttl_s,
        )
        self.pages = Pages(
            self.database,
            self.cache,
            Memory(settings.memory_cache_mb * _MIB, settings.stale_if_error_s),
            self.publications,
            observer,
            ttl_s=settings.cache_ttl_s,
            fill_wait_s=fill_wait_s,
        )
        self.synchronizer = Synchronizer(
            self.database,
            self.connections,
            self.publications,
            self.pages.evict,
            observer,
            budget_s=settings.sync_budget_ms / 1000,
            # The statements have their own limit. This one is for a source that stops answering.
            patience_s=connect_s + 3 * statement_s,
        )

        self.overview = Overview(self.database, lambda: self.connections.failing)

    async def identity(self) -> str:
        """Names the config database: its pages are not those of a copy. Raises ServiceError if it cannot be asked."""
        row = await self.database.fetch_one("identity")
        assert row is not None
        return str(row["identity"])

    async def close(self) -> None:
        """Closes every connection."""
        await self.connections.close()
        await self.redis.close()
        await self.database.close()


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
    """One process's service without its HTTP side."""

    def __init__(self, settings: Settings, observer: Observer | None = None) -> None:
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
            self.pages.memory,
            self.connections,
            self.listener,
            self.metrics,
            sync_interval_s=settings.sync_interval_s,
            wal_interval_s=settings.wal_interval_s,
            most_descriptors=settings.most_descriptors,
        )
        self.health.add_gauges(self.metrics)
        self.tasks = Supervisor(self._note_failure)
        self._poll_interval = settings.poll_interval_s
        self._refresh_wait = settings.refresh_wait_ms / 1000
        self._on_stopping: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Connects to everything. StartError without the config database; Redis may be missing, and is used later."""
        await self.database.open()
        self.tasks.start("cache session", self.session.run)
        await self.session.tried.wait()
        await self.listener.open()
        self.tasks.start("listener", self.listener.run)
        self.tasks.start("refresher", self.refresher.run)
        self.tasks.start("poll", self._poll)
        self.tasks.start("schedule", self.schedule.run)
        self.tasks.start("warming", self.warming.run)
        self.tasks.start("WAL monitor", self.wal_monitor.run)

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
