"""What is degraded, for people and for gauges. Failures in the background appear here too."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

import psycopg

from service import descriptors
from service.cache.store import Cache
from service.database.condition import find_troubles
from service.database.connection import reason
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError
from service.pages.details import Pages
from service.pages.listener import Listener
from service.sources.connections import Connections
from service.sources.health import LEVELS, health
from service.telemetry.metrics import Metrics

# The report names a failed task for this long: the task restarts soon, and may fail only now and then.
_FAILURE_SHOWN_S = 60.0
# Judging all sources reads a few rows of each.
_JUDGED_EVERY_S = 60.0
# A background task is late after this many of its intervals.
_LATE_ROUNDS = 3


class Health:
    """The state of every dependency, as of its last check."""

    def __init__(
        self,
        database: ConfigDatabase,
        cache: Cache,
        pages: Pages,
        connections: Connections,
        listener: Listener,
        metrics: Metrics,
        *,
        sync_interval_s: int,
        wal_interval_s: int,
        most_descriptors: int,
    ) -> None:
        self._database = database
        self._cache = cache
        self._pages = pages
        self._connections = connections
        self._listener = listener
        self._most_descriptors = most_descriptors
        self._intervals = {
            "syncs_failing": sync_interval_s,
            "syncs_late_s": sync_interval_s,
            "slots_in_error": wal_interval_s,
            "wal_round_late_s": wal_interval_s,
        }
        self._background: dict[str, Any] = dict.fromkeys(self._intervals, 0)
        self._sources = metrics.sources
        self._judge_at = 0.0
        self._task_failures: dict[str, tuple[float, str]] = {}
        self._view: dict[str, Any] = {"uncovered_sources": 0, "uncovered_s": 0.0, "notification_queue": 0.0}

    def add_gauges(self, metrics: Metrics) -> None:
        """Shows the state as gauges. Those that come from the database are as of the last `look`."""
        gauge, listener = metrics.gauge, self._listener
        gauge("redis_up", "Redis is used", lambda: self._cache.is_trusted)
        gauge("listener_up", "notifications of changes arrive", lambda: listener.is_listening)
        gauge("listener_canary_seconds", "the last canary's round trip", lambda: (listener.canary_ms or 0) / 1000)
        gauge("config_database_up", "it answered the last query", lambda: not self._database.is_down)
        gauge("memory_cache_bytes", "pages cached in this process", lambda: self._pages.memory.bytes)
        gauge("kept_fragments_bytes", "what pages are made of, in this process", lambda: self._pages.fragments.bytes)
        gauge("sources_failing", "sources that did not answer", lambda: len(self._connections.failures.reasons))
        for name, key, meaning in (
            ("syncs_failing", "syncs_failing", "sources whose background syncs fail, at the last check"),
            ("slots_in_error", "slots_in_error", "slots in ERROR, at the last check"),
            ("syncs_late_seconds", "syncs_late_s", "how overdue a background sync is"),
            ("wal_round_late_seconds", "wal_round_late_s", "how overdue the WAL monitor is"),
        ):
            gauge(name, meaning, lambda key=key: self._in_background(key))  # type: ignore[misc]  # bound per gauge
        gauge("view_uncovered_sources", "sources read live, at the last check", lambda: self._view["uncovered_sources"])
        gauge("view_uncovered_seconds", "how long the oldest has been read live", lambda: self._view["uncovered_s"])
        gauge("notification_queue_share", "how full it is, at the last check", lambda: self._view["notification_queue"])

    def note_failure(self, task: str, why: str) -> None:
        """Takes note that a background task failed; the task restarts."""
        self._task_failures[task] = monotonic(), why

    async def look_at_sources(self) -> None:
        """Judges every source, for the gauge."""
        with contextlib.suppress(ConfigDatabaseUnavailableError, psycopg.ProgrammingError):
            rows = await self._database.fetch_all("all_health_facts")
            failing = self._connections.failures.reasons
            counts = Counter(health(row["health_facts"], failing.get(row["id"])).level for row in rows)
            for level in LEVELS:
                self._sources.labels(level).set(counts[level])

    async def look(self) -> None:
        """Queries the config database for the gauges."""
        if monotonic() > self._judge_at:
            self._judge_at = monotonic() + _JUDGED_EVERY_S
            await self.look_at_sources()
        with contextlib.suppress(ConfigDatabaseUnavailableError):
            self._view = dict(await self._database.fetch_one("view_state") or self._view)
        with contextlib.suppress(ConfigDatabaseUnavailableError):
            await self._look_at_background()

    async def report(self) -> dict[str, Any]:
        """Each dependency with its state. `status` is ready, degraded, or unavailable; `degraded` says why."""
        degraded: list[str] = []
        config: dict[str, Any] = {"status": "up", "pool": self._database.figures()}
        view: dict[str, Any] = {}
        try:
            view = dict(await self._database.fetch_one("view_state") or {})
            if unknown := await self._look_at_background():
                degraded.append(unknown)
        except ConfigDatabaseUnavailableError as error:
            config = {"status": "down", "reason": error.message}
            degraded.append("the config database cannot be reached: pages are served as last known")
        cache: dict[str, Any] = {"status": "up", "outside_deletes_heard": self._cache.is_tracked}
        if not self._cache.is_trusted:
            cache = {"status": "down", "reason": self._cache.failure}
        elif self._cache.refusal:
            cache["refuses"] = self._cache.refusal
        degraded += self._degraded_cache()
        if not self._listener.is_listening:
            degraded.append("nobody listens for changes: pages may be as old as their TTL")
        degraded += [f"{trouble.subject}: {trouble.says}; {trouble.remedy}" for trouble in find_troubles(view)]
        degraded += self._degraded_background()
        if descriptors.is_nearly_exhausted():
            degraded.append(
                f"file descriptors are nearly exhausted (limit {descriptors.limit()}): connections fail; raise the "
                "limit (LimitNOFILE, ulimit -n) or lower ROSETTA_MOST_STREAMS"
            )
        elif self._most_descriptors > descriptors.limit():
            degraded.append(
                f"the settings may need {self._most_descriptors} file descriptors, and the limit is "
                f"{descriptors.limit()}: raise it (LimitNOFILE, ulimit -n) or lower ROSETTA_MOST_STREAMS"
            )
        failing = self._connections.failures.reasons
        if failing:
            degraded.append(f"{len(failing)} source(s) do not answer: their pages show what was last known")
        status = "unavailable" if config["status"] == "down" else "degraded" if degraded else "ready"
        return {
            "status": status,
            "degraded": degraded,
            "config_database": config,
            "redis": cache,
            "listener": {
                "status": "up" if self._listener.is_listening else "down",
                "canary_ms": self._listener.canary_ms,
            },
            "view": view,
            "background": {name: self._in_background(name) for name in self._intervals},
            "sources_failing": {str(source_id): why for source_id, why in failing.items()},
            "memory_cache_bytes": self._pages.memory.bytes,
        }

    def _degraded_cache(self) -> Iterator[str]:
        if not self._cache.is_trusted:
            yield f"Redis is not used ({self._cache.failure}): serving from the process and PostgreSQL"
        elif self._cache.refusal:
            yield f"Redis does not store pages ({self._cache.refusal}): serving from the process and PostgreSQL"
        elif not self._cache.is_tracked:
            yield "CLIENT TRACKING is refused by Redis: pages are not kept in the process"

    def _degraded_background(self) -> Iterator[str]:
        if self._in_background("syncs_late_s") > _LATE_ROUNDS * self._intervals["syncs_late_s"]:
            yield "background syncs are late: there are more sources than ROSETTA_SYNCS_AT_ONCE can sync in time"
        if self._in_background("wal_round_late_s") > _LATE_ROUNDS * self._intervals["wal_round_late_s"]:
            yield "the WAL monitor is late: a round takes longer than ROSETTA_WAL_INTERVAL_S"
        if count := self._in_background("syncs_failing"):
            which = _named(self._background["failing_ids"], count)
            yield f"{count:.0f} source(s) fail their background syncs ({which}): their pages say why"
        if count := self._in_background("slots_in_error"):
            which = _named(self._background["slot_error_ids"], count)
            yield f"the replication slots of {count:.0f} source(s) are in ERROR ({which}): their pages say why"
        for task, (when, why) in self._task_failures.items():
            if monotonic() - when < _FAILURE_SHOWN_S:
                yield f"the {task} failed and was restarted: {why}"

    async def _look_at_background(self) -> str | None:
        """Why the state of background work is unknown, or None. Pages do not need it: during an update, migrations 009
        and 010, or rights on their tables, may be missing.
        """
        if not any(self._intervals.values()):
            return None
        try:
            self._background = dict(await self._database.fetch_one("background_state") or self._background)
        except (ConfigDatabaseUnavailableError, psycopg.Error) as error:
            return f"the state of background work is unknown ({reason(error)}): rosetta doctor says what is missing"
        return None

    def _in_background(self, name: str) -> float:
        # Work that is switched off here is neither late nor failing, whatever it left in its tables. A restore may have
        # left out the row that its turns are taken by.
        return float(self._background[name] or 0) if self._intervals[name] else 0.0


def _named(ids: list[int], count: float) -> str:
    return ", ".join(map(str, ids)) + (", ..." if count > len(ids) else "")
