"""The read path of a page: process cache, Redis, one round trip to PostgreSQL. Also its eviction.

A fill computes a page. Each process has at most one current fill for each source, and readers who miss the cache join
it. An eviction drops the current fill: it still answers the readers who wait for it already, but its page is stored
nowhere (its lease in Redis is deleted, and the process does not keep the page). The next reader starts a new fill.
"""

import asyncio
import contextlib
import enum
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from service.cache.store import Cache
from service.cache.values import CacheUnavailableError
from service.concurrency import Turnstile, keep
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError
from service.pages.filling import Filling
from service.pages.fragments import Fragments, KeptFragments
from service.pages.memory import Memory
from service.pages.page import Answer, Page
from service.sources.publication import Publications
from service.telemetry.events import Evicted, Observer


class _State(enum.Enum):
    """What happens to the page that a fill computes."""

    # Readers join this fill, and the process keeps its page.
    CURRENT = enum.auto()
    # The key in Redis changed during the fill. The page may still be right: it becomes the last known one if there is
    # none.
    DOUBTED = enum.auto()
    # The page was evicted during the fill, or a newer fill replaced this one. Only the readers who wait already get it.
    DROPPED = enum.auto()


@dataclass(slots=True, eq=False)
class _Fill:
    """A running computation of a page."""

    task: asyncio.Task[Answer]
    state: _State = _State.CURRENT


class Pages:
    """Reads, computes and evicts details pages. Times are in seconds."""

    def __init__(
        self,
        database: ConfigDatabase,
        cache: Cache,
        memory: Memory,
        fragments: KeptFragments,
        publications: Publications,
        observer: Observer,
        *,
        ttl_s: float,
        fill_wait_s: float,
    ) -> None:
        self._cache = cache
        self.memory = memory
        self.fragments = fragments
        self._observe = observer
        self.filling = Filling(
            database,
            cache,
            memory,
            fragments,
            publications,
            observer,
            self.evict,
            ttl_s=ttl_s,
            fill_wait_s=fill_wait_s,
        )
        # The running fills whose page may still be kept; at most one per source is current.
        self._fills: dict[int, list[_Fill]] = {}
        self._reloads: Turnstile[int, Answer] = Turnstile()

    async def read(self, source_id: int) -> Answer:
        """The page. EntityNotFoundError, or ConfigDatabaseUnavailableError if no cache has it."""
        page = self.memory.get(source_id)
        if page is not None:
            return Answer(page, "memory")
        current = self._current(source_id)
        fill = current or self._start(source_id, force=False)
        try:
            answer = await asyncio.shield(fill.task)
        except ConfigDatabaseUnavailableError:
            # Looked up after the wait, not before it: the page may have been evicted during the wait.
            if page := self.memory.last_known(source_id):
                return Answer(page, "last known")
            raise
        if current is not None and not answer.is_settled:
            # That fill may have read before a change that this process has been told of, under another source's id.
            return await self.reload(source_id)
        return Answer(answer.page, answer.found, answer.is_stored, current is not None, answer.computed)

    async def reload(self, source_id: int) -> Answer:
        """The page, from a fill that starts after this call and reads the database. It replaces the cached page."""

        async def fill() -> Answer:
            return await asyncio.shield(self._start(source_id, force=True).task)

        return await self._reloads.pass_through(source_id, fill)

    async def read_head(self, source_id: int, names: list[str] | None) -> bytes | None:
        """The page up to its `meta`, all of it from the database, with these tables; None for an unknown id."""
        return await self.filling.read_head(source_id, names)

    def fragments_of(self, source_id: int, page: Page) -> Fragments | None:
        """What this page is made of, if this process keeps that."""
        kept = self.fragments.of(source_id)
        return kept if kept.body is page.body else None

    async def evict(self, source_ids: Iterable[int] | None, cause: Any) -> None:
        """Drops pages from this process and from Redis; all of them for None.

        Once it returns, no new reader of this process gets data that was read before the call. The process drops the
        pages before anything is awaited. Redis follows, and readers of this process wait for it.
        """
        started = monotonic()
        ids = None if source_ids is None else tuple(source_ids)
        self.drop(ids)
        # If Redis fails here, it is no longer trusted. Everything in it is evicted before it is trusted again.
        with contextlib.suppress(CacheUnavailableError):
            await self._cache.evict(ids)
        self._observe(Evicted(cause=cause, sources=ids, took_ms=round((monotonic() - started) * 1000, 3)))

    def drop(self, source_ids: Iterable[int] | None) -> None:
        """The first step of an eviction, at once: no new reader of this process gets these pages or joins their fills.

        `evict` has to follow before a new fill asks Redis.
        """
        ids = None if source_ids is None else tuple(source_ids)
        self.memory.drop(ids)
        if ids is None:
            self.fragments.forget()
        self._change_fills(ids, _State.DROPPED)

    def doubt(self, source_id: int | None) -> None:
        """Takes note that the page's key in Redis was written or deleted, perhaps by this process; all keys for None.

        The next reader asks Redis. This does not prove that a page is old, neither a cached one nor one that is being
        computed. Both may serve as the last known page.
        """
        ids = None if source_id is None else (source_id,)
        self.memory.doubt(ids)
        self._change_fills(ids, _State.DOUBTED)

    def _current(self, source_id: int) -> _Fill | None:
        return next((fill for fill in self._fills.get(source_id, ()) if fill.state is _State.CURRENT), None)

    def _change_fills(self, source_ids: tuple[int, ...] | None, state: _State) -> None:
        for source_id in tuple(self._fills) if source_ids is None else source_ids:
            for fill in self._fills.get(source_id, ()):
                fill.state = state
            if state is _State.DROPPED:
                self._fills.pop(source_id, None)
        self.filling.wake(source_ids)

    def _start(self, source_id: int, *, force: bool) -> _Fill:
        if (before := self._current(source_id)) is not None:
            # The older fill read earlier than the new one will: its page must not replace the new one's.
            before.state = _State.DROPPED
            self._fills[source_id].remove(before)
        fill = _Fill(asyncio.ensure_future(self.filling.fill(source_id, force=force)))
        self._fills.setdefault(source_id, []).append(fill)
        keep(fill.task)
        fill.task.add_done_callback(lambda _: self._end(source_id, fill))
        return fill

    def _end(self, source_id: int, fill: _Fill) -> None:
        if fill.state is _State.DROPPED:
            return
        answer = None if fill.task.cancelled() or fill.task.exception() else fill.task.result()
        if answer is not None and answer.storing is not None and not answer.storing.done():
            # The fill stays the current one: new readers get its page, and an eviction still drops it.
            answer.storing.add_done_callback(lambda _: self._end(source_id, fill))
            return
        self._fills[source_id].remove(fill)
        if not self._fills[source_id]:
            del self._fills[source_id]
        if answer is None or not answer.is_settled:
            return
        if fill.state is _State.DOUBTED:
            if self.memory.last_known(source_id) is None:
                self.memory.put(source_id, answer.page, is_current=False)
            return
        # While Redis is in use, the process serves only pages that Redis holds too: a DEL by hand sends no event for
        # any other page.
        is_in_redis = answer.found == "redis" or answer.is_stored or answer.was_stored
        is_alone = not self._cache.is_reachable or self._cache.refusal is not None
        is_current = is_alone or (is_in_redis and self._cache.is_tracked)
        self.memory.put(source_id, answer.page, is_current=is_current)
