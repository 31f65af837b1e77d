"""Typed events. Log lines and metrics are derived from them, and tests wait for them.

An event reports a change of state or finished work, never a single request that met a known state.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import structlog

from service.concurrency import keep

_LEVELS = logging.getLevelNamesMapping()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `level` is the level of its log line."""

    level: ClassVar[str] = "info"


@dataclass(frozen=True, slots=True)
class CacheUp(Event):
    """Redis is used again, and everything older is evicted. `tracking`: Redis reports an outside DEL."""

    tracking: bool


@dataclass(frozen=True, slots=True)
class CacheDown(Event):
    """Redis is not used: pages come from the process cache and PostgreSQL until it answers again."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class CacheRefuses(Event):
    """Redis answers but refuses to store (out of memory, a missing right): only the process cache keeps pages."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class CacheAccepts(Event):
    """Redis stores pages again."""


@dataclass(frozen=True, slots=True)
class PageReplaced(Event):
    """What stood under a page's key in Redis was not this deployment's page: it was not served, and is replaced."""

    level: ClassVar[str] = "warning"
    source_id: int


@dataclass(frozen=True, slots=True)
class DatabaseDown(Event):
    """The config database cannot be reached: only pages that a process still has are served."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class DatabaseUp(Event):
    """The config database answers again."""


@dataclass(frozen=True, slots=True)
class ListenerUp(Event):
    """The listener is connected, and every page that a missed notification may concern is evicted."""


@dataclass(frozen=True, slots=True)
class ListenerDown(Event):
    """The listener is disconnected: until it is back, pages may be as old as their TTL."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class Evicted(Event):
    """Pages were dropped from both caches. `sources` None: all pages. `took_ms`: since the eviction became due."""

    level: ClassVar[str] = "debug"
    cause: Literal["notification", "reconnect", "sync", "late publication", "sample", "canary"]
    sources: tuple[int, ...] | None
    took_ms: float


@dataclass(frozen=True, slots=True)
class CanaryReceived(Event):
    """A canary was sent, notified and evicted like any change. Both times start before its commit: `received_ms` ends
    with its notification, `evicted_ms` with the answer of Redis.
    """

    level: ClassVar[str] = "debug"
    received_ms: float
    evicted_ms: float


@dataclass(frozen=True, slots=True)
class Filled(Event):
    """A page was computed. `outcome` says whether it is in Redis: "stored"; "refused": an eviction came in between and
    took its lease; "aside": another fill had the lease, or Redis is not used.
    """

    level: ClassVar[str] = "debug"
    source_id: int
    outcome: Literal["stored", "refused", "aside"]
    view_is_current: bool
    took_ms: float


@dataclass(frozen=True, slots=True)
class Warmed(Event):
    """A hot page was computed before anyone requested it. `is_renewal`: before it expired, not after an eviction."""

    level: ClassVar[str] = "debug"
    source_id: int
    is_renewal: bool


@dataclass(frozen=True, slots=True)
class ViewRefreshed(Event):
    """This process refreshed the materialized view."""

    took_ms: float


@dataclass(frozen=True, slots=True)
class RefreshSkipped(Event):
    """A refresh was skipped. "clean": nothing changed; "spaced": the last one was too recent; "busy": another process
    is refreshing; "unsettled": a transaction still runs that may have moved rows to other sources.
    """

    level: ClassVar[str] = "debug"
    why: str


@dataclass(frozen=True, slots=True)
class RefreshFailed(Event):
    """The view could not be refreshed; pages stay correct, and changed sources are read live."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class SyncPhase(Event):
    """A sync began its next phase: "connect", "source" (it is queried), "record" (its answer about `tables` tables is
    compared and written).
    """

    level: ClassVar[str] = "debug"
    source_id: int
    phase: Literal["connect", "source", "record"]
    tables: int | None = None


@dataclass(frozen=True, slots=True)
class SyncFinished(Event):
    """A sync recorded what it saw, or found that a later sync already had."""

    source_id: int
    outcome: str
    changes: int
    took_ms: float
    phases_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SyncFailed(Event):
    """A source could not be synced; its page shows the last known state."""

    level: ClassVar[str] = "warning"
    source_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ScheduledSync(Event):
    """A scheduled sync of a source ended; `error` is why it failed."""

    level: ClassVar[str] = "debug"
    source_id: int
    error: str | None


@dataclass(frozen=True, slots=True)
class WalRound(Event):
    """This process checked every source's slot; `troubled` of them have a problem."""

    level: ClassVar[str] = "debug"
    sources: int
    troubled: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class SourceDown(Event):
    """A source does not answer; page loads skip it for a while."""

    level: ClassVar[str] = "warning"
    source_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class SourceUp(Event):
    """A source that did not answer answers again."""

    source_id: int


@dataclass(frozen=True, slots=True)
class Sampled(Event):
    """A served page was compared with the database. `age_s`: the page's age if they differ, None if they agree."""

    source_id: int
    age_s: float | None

    @property
    def level(self) -> str:  # type: ignore[override]  # agreement is not news
        return "debug" if self.age_s is None else "error"


@dataclass(frozen=True, slots=True)
class NoticeSent(Event):
    """A webhook has accepted a notice. `source_id` 0: about all sources."""

    webhook: str
    kind: str
    source_id: int


@dataclass(frozen=True, slots=True)
class NoticeFailed(Event):
    """A webhook has not accepted a notice; it is sent again later."""

    level: ClassVar[str] = "warning"
    webhook: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskFailed(Event):
    """A task failed unexpectedly; the service keeps running."""

    level: ClassVar[str] = "error"
    task: str
    reason: str


class Observer:
    """Logs events and passes them to subscribers. Logging is configured before (see `log_lines`)."""

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()
        self._subscribers: list[Callable[[Event], None]] = []

    def __call__(self, event: Event) -> None:
        if self._log.is_enabled_for(_LEVELS[event.level.upper()]):
            facts = {field.name: getattr(event, field.name) for field in fields(event)}
            getattr(self._log, event.level)(type(event).__name__, **facts)
        for subscriber in tuple(self._subscribers):
            subscriber(event)

    def watch(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in the background; nobody awaits it, so its failure becomes an event."""

        async def run() -> None:
            try:
                await work
            except Exception as error:
                self(TaskFailed(task=name, reason=f"{type(error).__name__}: {error}"))

        keep(asyncio.ensure_future(run()))

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `subscriber` with every event from now on; returns a function that unsubscribes it."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)
