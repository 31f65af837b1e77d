"""Reads hot pages before anyone requests them, so that readers rarely wait for a miss.

A page is hot if it is requested often; its count of requests halves every half minute. A hot page is read again at once
after its eviction, and shortly before its life ends. A process that starts reads the pages that were hot before. The
work is bounded: so many pages, so many at a time, one source at most ten times a second.
"""

import asyncio
import math
import random
from contextlib import suppress
from heapq import nlargest
from time import monotonic
from typing import Annotated

import msgspec

from service.cache.store import Cache
from service.cache.values import CacheUnavailableError
from service.concurrency import end, keep
from service.errors import ServiceError
from service.pages.details import Pages
from service.telemetry.events import Event, Evicted, Observer, TaskFailed, Warmed

_TICK_S = 1.0
_HALF_LIFE_S = 30.0
# A page is hot with this many requests in about the last half minute.
_HOT = 2.0
_AT_ONCE = 4
_SPACING_S = 0.1
_NOTED_EVERY_S = 10.0
_NOTE_LIFE_MS = 3_600_000
_Id = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]


class Warming:
    """Keeps up to `most` hot pages warm. Whatever serves a page calls `touch`."""

    def __init__(self, pages: Pages, cache: Cache, observer: Observer, *, most: int, ttl_s: float) -> None:
        self._most = most
        self._pages = pages
        self._cache = cache
        self._observe = observer
        self._counts: dict[int, float] = {}
        self._waiting: dict[int, bool] = {}
        self._more = asyncio.Event()
        self._warmed: dict[int, float] = {}
        # Each process draws its own time: the first to renew a page spares the others the work, since an event from
        # Redis announces the new page to them.
        self._early_s = ttl_s * random.uniform(0.1, 0.25)
        observer.subscribe(self._hear)

    @property
    def waiting(self) -> tuple[int, ...]:
        """The sources whose pages are due to be read and have not been taken up yet."""
        return tuple(self._waiting)

    def touch(self, source_id: int) -> None:
        """Counts a request for a page."""
        if self._most:
            self._counts[source_id] = self._counts.get(source_id, 0.0) + 1.0

    def _hot(self) -> list[int]:
        hot = [source_id for source_id, count in self._counts.items() if count >= _HOT]
        return nlargest(self._most, hot, key=self._counts.__getitem__)

    def _hear(self, event: Event) -> None:
        if not self._most or not isinstance(event, Evicted) or event.cause == "canary":
            return
        affected = self._hot() if event.sources is None else event.sources
        for source_id in affected:
            if self._counts.get(source_id, 0.0) >= _HOT:
                self._want(source_id, is_renewal=False)

    def _want(self, source_id: int, *, is_renewal: bool) -> None:
        # A page that changes all the time is not read after each change: the next `_look` at all hot pages makes up for
        # the reads left out.
        if monotonic() - self._warmed.get(source_id, -math.inf) >= _SPACING_S:
            self._waiting[source_id] = self._waiting.get(source_id, False) or is_renewal
            self._more.set()

    async def run(self) -> None:
        """Runs until it is cancelled; does nothing if no page is to be kept warm."""
        if not self._most:
            await asyncio.Event().wait()
        workers = [asyncio.create_task(self._work(), name=f"warming {number}") for number in range(_AT_ONCE)]
        for worker in workers:
            keep(worker)
        try:
            await self._remember()
            noted = monotonic()
            while True:
                await asyncio.sleep(_TICK_S)
                self._cool()
                self._look()
                if monotonic() - noted >= _NOTED_EVERY_S:
                    noted = monotonic()
                    await self._note()
        finally:
            await end(workers)

    def _cool(self) -> None:
        factor = 0.5 ** (_TICK_S / _HALF_LIFE_S)
        self._counts = {
            source_id: count * factor for source_id, count in self._counts.items() if count * factor > _HOT / 16
        }
        long_ago = monotonic() - _SPACING_S
        self._warmed = {source_id: when for source_id, when in self._warmed.items() if when > long_ago}

    def _look(self) -> None:
        for source_id in self._hot():
            page = self._pages.memory.get(source_id)
            if page is None:
                self._want(source_id, is_renewal=False)
            elif page.expires - monotonic() <= self._early_s:
                self._want(source_id, is_renewal=True)

    async def _work(self) -> None:
        while True:
            await self._more.wait()
            if not self._waiting:
                self._more.clear()
                continue
            source_id, is_renewal = self._waiting.popitem()
            self._warmed[source_id] = monotonic()
            try:
                answer = await (self._pages.reload(source_id) if is_renewal else self._pages.read(source_id))
            except ServiceError:
                # The same error meets the page's readers, and is reported there.
                continue
            except Exception as error:
                self._observe(TaskFailed(task="warming", reason=f"{type(error).__name__}: {error}"))
                continue
            if answer.found == "computed":
                self._observe(Warmed(source_id=source_id, is_renewal=is_renewal))

    async def _note(self) -> None:
        with suppress(CacheUnavailableError):
            await self._cache.remember_hot(msgspec.json.encode(self._hot()), _NOTE_LIFE_MS)

    async def _remember(self) -> None:
        """Takes up the pages that were hot before this process started, as noted in Redis."""
        noted = None
        with suppress(CacheUnavailableError):
            noted = await self._cache.recall_hot()
        with suppress(msgspec.DecodeError):
            # Any program can write there: a list with an id that no source can have is ignored.
            for source_id in msgspec.json.decode(noted or b"[]", type=list[_Id])[: self._most]:
                self._counts[source_id] = self._counts.get(source_id, 0.0) + _HOT
                self._want(source_id, is_renewal=False)
