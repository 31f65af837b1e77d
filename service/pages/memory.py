"""The process cache: finished pages, bounded in bytes, the longest unused leaving first."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from time import monotonic
from typing import Any


@dataclass(slots=True, eq=False)
class Page:
    """A finished body. `expires` is on this process's monotonic clock; `ttl_s` is the whole life it was given.

    `encoded` has its compressed forms (see compression), `heads` the headers of this second (see caching_headers).
    """

    body: bytes
    expires: float
    ttl_s: float
    encoded: dict[str, asyncio.Task[bytes]] = field(default_factory=dict)
    heads: dict[str, Any] = field(default_factory=dict)
    _digest: str = ""

    @property
    def ttl(self) -> int:
        """Whole seconds for which the page is still fresh; negative where it is no longer."""
        return round(self.expires - monotonic())

    @property
    def age(self) -> int:
        """Whole seconds since it was read."""
        return max(0, int(self.ttl_s - (self.expires - monotonic())))

    @property
    def digest(self) -> str:
        """The same bytes have the same one in every process."""
        if not self._digest:
            self._digest = blake2b(self.body, digest_size=16).hexdigest()
        return self._digest

    @property
    def bytes(self) -> int:
        """What it takes in memory, its compressed forms included."""
        return len(self.body) + sum(len(form.result()) for form in self.encoded.values() if form.done())


class Memory:
    """Pages by source id. A page may be served while it is current and fresh.

    One that is not stays for `grace_s` after its life as the last known, for a time when there is no better one.
    """

    def __init__(self, limit_bytes: int, grace_s: float) -> None:
        self._limit = limit_bytes
        self._grace = grace_s
        self._pages: OrderedDict[int, Page] = OrderedDict()
        self._current: set[int] = set()
        self._weights: dict[int, int] = {}
        self.bytes = 0

    def get(self, source_id: int) -> Page | None:
        """The page, if it is there, current and fresh."""
        if source_id not in self._current:
            return None
        page = self._pages[source_id]
        if page.expires <= monotonic():
            return None
        self._pages.move_to_end(source_id)
        return page

    def last_known(self, source_id: int) -> Page | None:
        """The page as it was last known; never one that was dropped since."""
        page = self._pages.get(source_id)
        if page is not None and page.expires + self._grace <= monotonic():
            self._remove(source_id)
            return None
        return page

    def put(self, source_id: int, page: Page, *, is_current: bool) -> None:
        """Keeps the page, at the cost of others where it does not fit; not at all where it alone would not."""
        self._remove(source_id)
        if len(page.body) > self._limit:
            return
        self._pages[source_id] = page
        if is_current:
            self._current.add(source_id)
        self._weigh(source_id, page)

    def weigh(self, source_id: int, page: Page) -> None:
        """Counts what a page takes now that it has another compressed form; at the cost of others, or of itself."""
        if self._pages.get(source_id) is page:
            self._weigh(source_id, page)

    def _weigh(self, source_id: int, page: Page) -> None:
        weight = page.bytes
        self.bytes += weight - self._weights.get(source_id, 0)
        self._weights[source_id] = weight
        while self.bytes > self._limit:
            self._remove(next(iter(self._pages)))

    def doubt(self, source_ids: Iterable[int] | None) -> None:
        """These pages are no longer current, though they may be right; all of them for None."""
        if source_ids is None:
            self._current.clear()
        else:
            self._current.difference_update(source_ids)

    def drop(self, source_ids: Iterable[int] | None) -> None:
        """Forgets these pages, which are known to be old; all of them for None."""
        if source_ids is None:
            self._pages.clear()
            self._current.clear()
            self._weights.clear()
            self.bytes = 0
        else:
            for source_id in source_ids:
                self._remove(source_id)

    def _remove(self, source_id: int) -> None:
        self._pages.pop(source_id, None)
        self._current.discard(source_id)
        self.bytes -= self._weights.pop(source_id, 0)
