"""The process cache: finished pages, bounded in bytes; the least recently used are evicted first."""

from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic

from service.pages.page import Page


class Memory:
    """Pages by source id. A page may be served while it is current and fresh.

    Any other page stays as the last known one, up to `grace_s` past its life, in case nothing better can be served.
    """

    def __init__(self, limit_bytes: int, grace_s: float) -> None:
        self._limit = limit_bytes
        self._grace = grace_s
        self._pages: OrderedDict[int, Page] = OrderedDict()
        self._current: set[int] = set()
        self._weights: dict[int, int] = {}
        self.bytes = 0

    def get(self, source_id: int) -> Page | None:
        """The page, if it is cached, current and fresh."""
        if source_id not in self._current:
            return None
        page = self._pages[source_id]
        if page.expires <= monotonic():
            return None
        self._pages.move_to_end(source_id)
        return page

    def last_known(self, source_id: int) -> Page | None:
        """The page as it was last known; never one that this process has dropped."""
        page = self._pages.get(source_id)
        if page is not None and page.expires + self._grace <= monotonic():
            self._remove(source_id)
            return None
        return page

    def put(self, source_id: int, page: Page, *, is_current: bool) -> None:
        """Keeps the page and evicts others to make room. A page above the limit is not kept."""
        self._remove(source_id)
        if len(page.body) > self._limit:
            return
        self._pages[source_id] = page
        if is_current:
            self._current.add(source_id)
        self._weigh(source_id, page)

    def weigh(self, source_id: int, page: Page) -> None:
        """Counts the bytes of a page that has a new compressed form; evicts others to make room, or the page itself."""
        if self._pages.get(source_id) is page:
            self._weigh(source_id, page)

    def _weigh(self, source_id: int, page: Page) -> None:
        weight = page.weight
        self.bytes += weight - self._weights.get(source_id, 0)
        self._weights[source_id] = weight
        while self.bytes > self._limit:
            self._remove(next(iter(self._pages)))

    def doubt(self, source_ids: Iterable[int] | None) -> None:
        """Marks these pages as no longer current, though they may be right; all of them for None."""
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
