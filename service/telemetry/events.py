"""What the service notices, as typed events. Logs are derived from them, and tests wait for them.

Events are about changes of state and finished work, never about one request that met a known state.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import structlog

from service.concurrency import keep


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `level` is the level of its log line."""

    level: ClassVar[str] = "info"


@dataclass(frozen=True, slots=True)
class CacheUp(Event):
    """Redis answers, everything older is evicted, and it is used again. `tracking`: an outside DEL is heard."""

    tracking: bool


@dataclass(frozen=True, slots=True)
class CacheDown(Event):
    """Redis is not used: pages come from the process cache and PostgreSQL until it answers again."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class CacheRefuses(Event):
    """Redis answers and says no (out of memory, a missing right): pages are computed, but stored nowhere but here."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class CacheAccepts(Event):
    """Redis stores pages again."""


@dataclass(frozen=True, slots=True)
class DatabaseDown(Event):
    """The config database cannot be reached: pages are as they were last known, or there are none."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class DatabaseUp(Event):
    """The config database answers again."""


@dataclass(frozen=True, slots=True)
class ListenerUp(Event):
    """LISTEN stands, and everything that may have been missed is evicted."""


@dataclass(frozen=True, slots=True)
class ListenerDown(Event):
    """Nobody listens: pages may be as old as their TTL until the listener is back."""

    level: ClassVar[str] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class Evicted(Event):
    """Pages dropped from both caches. `sources` None: all of them. `took_ms` from knowing to done."""

    level: ClassVar[str] = "debug"
    cause: Literal["notification", "reconnect", "sync", "late publication", "sample", "canary"]
    sources: tuple[int, ...] | None
    took_ms: float


@dataclass(frozen=True, slots=True)
class CanaryHeard(Event):
    """A change that nobody reads was sent, heard and evicted as every other is. Both times are from before its commit:
    `heard_ms` to its notification, `evicted_ms` to the answer of Redis.
    """

    level: ClassVar[str] = "debug"
    heard_ms: float
    evicted_ms: float


@dataclass(frozen=True, slots=True)
class Filled(Event):
    """A page was computed. `outcome` says whether it is in Redis: "stored"; "refused", for an eviction came in between
    and took its lease; "aside", for another fill had the lease, or Redis is not used.
    """

    level: ClassVar[str] = "debug"
    source_id: int
    outcome: Literal["stored", "refused", "aside"]
    view_is_current: bool
    took_ms: float


@dataclass(frozen=True, slots=True)
class Warmed(Event):
    """A hot page was computed before somebody asked; `is_renewal`: before its life ended, and not after an eviction."""

    level: ClassVar[str] = "debug"
    source_id: int
    is_renewal: bool


@dataclass(frozen=True, slots=True)
class ViewRefreshed(Event):
    """The materialized view was computed anew by this process."""

    took_ms: float


@dataclass(frozen=True, slots=True)
class RefreshSkipped(Event):
    """A refresh was not made. "clean": nothing changed; "spaced": the last one is not long ago; "busy": another process
    makes one.
    """

    level: ClassVar[str] = "debug"
    why: str


@dataclass(frozen=True, slots=True)
class RefreshFailed(Event):
    """The view could not be refreshed; pages stay right and read live what changed."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class SyncPhase(Event):
    """A sync goes on to its next part: "connect", "source" (it is asked), "record" (what it said about `tables` tables
    is compared and written).
    """

    level: ClassVar[str] = "debug"
    source_id: int
    phase: Literal["connect", "source", "record"]
    tables: int | None = None


@dataclass(frozen=True, slots=True)
class SyncFinished(Event):
    """A sync recorded what it saw (or found that a later one already had)."""

    source_id: int
    outcome: str
    changes: int
    took_ms: float
    phases_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SyncFailed(Event):
    """A source could not be synced; its page shows what was last known."""

    level: ClassVar[str] = "warning"
    source_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ScheduledSync(Event):
    """A source's turn on the schedule is over; `error` says why it could not be synced."""

    level: ClassVar[str] = "debug"
    source_id: int
    error: str | None


@dataclass(frozen=True, slots=True)
class WalRound(Event):
    """Every source's slot was looked at by this process; `troubled` of them are not as they should be."""

    level: ClassVar[str] = "debug"
    sources: int
    troubled: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class SourceDown(Event):
    """A source does not answer; page loads leave it alone for a while."""

    level: ClassVar[str] = "warning"
    source_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class SourceUp(Event):
    """A source that did not answer does again."""

    source_id: int


@dataclass(frozen=True, slots=True)
class Sampled(Event):
    """A served page was compared with the database. `age_s` None: they agree; else the age of the page that did not."""

    source_id: int
    age_s: float | None

    @property
    def level(self) -> str:  # type: ignore[override]  # an agreement is no news
        return "debug" if self.age_s is None else "error"


@dataclass(frozen=True, slots=True)
class TaskFailed(Event):
    """A part of the service failed in a way that nobody foresaw; it goes on."""

    level: ClassVar[str] = "error"
    task: str
    reason: str


class Observer:
    """Takes events, logs them, and tells whoever subscribed."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._subscribers: list[Callable[[Event], None]] = []

    def __call__(self, event: Event) -> None:
        facts = {field.name: getattr(event, field.name) for field in fields(event)}
        getattr(self._log, event.level)(type(event).__name__, **facts)
        for subscriber in tuple(self._subscribers):
            subscriber(event)

    def watch(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` aside; nobody waits for it, so its failure becomes an event."""

        async def run() -> None:
            try:
                await work
            except Exception as error:
                self(TaskFailed(task=name, reason=f"{type(error).__name__}: {error}"))

        keep(asyncio.ensure_future(run()))

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `subscriber` with every event from now on; returns what ends that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)
