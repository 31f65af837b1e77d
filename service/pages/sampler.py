"""Checks that served pages agree with the database: compares a share of the reads, after they were answered.

A difference may be a change whose notification is on its way. So it counts only if the same page is still served
`_ON_ITS_WAY_S` later; then the page is evicted, and one log line reports it.
"""

import asyncio
import random
from collections.abc import Callable
from time import monotonic

from service.errors import ConfigDatabaseUnavailableError, EntityNotFoundError
from service.pages.comparison import differences
from service.pages.details import Pages
from service.pages.page import Page
from service.telemetry.events import Observer, Sampled

_ON_ITS_WAY_S = 1.0
# Comparing takes at most this share of the time, however many pages are read.
_LARGEST_SHARE = 0.01
_MOST_AT_ONCE = 2


class Sampler:
    """Samples a `share` of the reads. `draw` returns a number from 0 to 1, and a read below `share` is sampled."""

    def __init__(
        self,
        pages: Pages,
        observer: Observer,
        *,
        share: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._share = share
        self._pages = pages
        self._observe = observer
        self._draw = draw
        self._busy = 0
        self._rests_until = 0.0

    @property
    def is_busy(self) -> bool:
        """A page is being compared."""
        return self._busy > 0

    @property
    def is_resting(self) -> bool:
        """No page is sampled for now: the last comparison has used up the sampler's share of the time."""
        return monotonic() < self._rests_until

    def offer(self, source_id: int, page: Page) -> None:
        """Perhaps compares a cached page that is being served, in the background. The reader pays for the draw only."""
        if self._draw() >= self._share:
            return
        if self._busy >= _MOST_AT_ONCE or self.is_resting:
            return
        self._busy += 1
        self._observe.watch("sampler", self._compare(source_id, page))

    async def _compare(self, source_id: int, page: Page) -> None:
        try:
            if await self._agrees(source_id, page):
                self._observe(Sampled(source_id=source_id, age_s=None))
                return
            await asyncio.sleep(_ON_ITS_WAY_S)
            still = await self._pages.read(source_id)
            if still.page.body != page.body or await self._agrees(source_id, page):
                self._observe(Sampled(source_id=source_id, age_s=None))
                return
            self._observe(Sampled(source_id=source_id, age_s=float(page.age)))
            await self._pages.evict([source_id], "sample")
        except (ConfigDatabaseUnavailableError, EntityNotFoundError):
            # There is nothing left to compare with.
            return
        finally:
            self._busy -= 1

    async def _agrees(self, source_id: int, page: Page) -> bool:
        started = monotonic()
        try:
            return await differences(self._pages, source_id, page.body) == []
        finally:
            self._rests_until = monotonic() + (monotonic() - started) * (1 / _LARGEST_SHARE - 1)
