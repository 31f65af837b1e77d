"""A fill: how one page is computed and stored. The page that Redis holds, or the lease to compute it; one round trip to
PostgreSQL; the publication; then Redis again.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any, Literal

import psycopg

from service.cache.digests import LARGE, long_digest
from service.cache.store import Cache
from service.cache.values import CacheUnavailableError, Claim
from service.concurrency import keep
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError, EntityNotFoundError, MissingObjectsError
from service.pages.fragments import NONE, Fragments, KeptFragments
from service.pages.memory import Memory
from service.pages.page import Answer, Computed, Page, computed, head, row_of
from service.sources.address import SourceAddress
from service.sources.publication import Publications
from service.telemetry.events import Filled, Observer, TaskFailed

# How often to check for the page that another process computes. An event from Redis usually comes first, but the
# session with Redis may have ended.
_LOOK_AGAIN_S = 0.1
# How long a large page waits before it is stored: about as long as its answer takes from here to the reader's socket.
_READERS_FIRST_S = 0.002


class Filling:
    """Computes pages. Times are in seconds. `evict` is called with a source and a cause if its page turns out wrong."""

    def __init__(
        self,
        database: ConfigDatabase,
        cache: Cache,
        memory: Memory,
        fragments: KeptFragments,
        publications: Publications,
        observer: Observer,
        evict: Callable[[list[int], str], Awaitable[None]],
        *,
        ttl_s: float,
        fill_wait_s: float,
    ) -> None:
        self._database = database
        self._cache = cache
        self._memory = memory
        self._fragments = fragments
        self._publications = publications
        self._observe = observer
        self._evict = evict
        self._ttl = float(ttl_s)
        self._fill_wait = fill_wait_s
        self._changed: dict[int, asyncio.Event] = {}

    def wake(self, source_ids: Iterable[int] | None) -> None:
        """Lets fills that wait for another process's page look at once; all of them for None."""
        events = self._changed.values() if source_ids is None else map(self._changed.get, source_ids)
        for event in events:
            if event is not None:
                event.set()

    async def read_head(self, source_id: int, names: list[str] | None) -> bytes | None:
        """The page up to its `meta`, all of it from the database, with these tables; None for an unknown id."""
        row = await self._read_row(source_id, names, NONE)
        return None if row is None else head(row)

    async def fill(self, source_id: int, *, force: bool) -> Answer:
        """The page; with `force` not the one that Redis holds. It is stored if it may be and the lease still stands.

        A large page is answered before Redis has taken it: `Answer.storing` ends then.
        """
        token = secrets.token_hex(8)
        claim, known = await self._claim(source_id, token, force=force)
        expires = monotonic() + claim.ttl_ms / 1000
        if known is not None:
            return Answer(known.renewed(expires), "redis")
        if claim.page is not None:
            return Answer(Page(claim.page, expires, self._ttl, claim.digest), "redis")
        started = monotonic()
        generation = self._fragments.generation
        try:
            parts = await self.compute(source_id, claim)
            body = parts.body()
            page = Page(body, started + self._ttl, self._ttl, await long_digest(body))
            self._fragments.keep(source_id, parts.tables.inside(body), generation)
        except BaseException:
            # Whatever ended it, a cancellation too: others would wait for a page that nobody computes.
            if claim.is_granted:
                await self._release(source_id, token)
            raise
        storing = self._finish(source_id, token, claim, page, parts, started)
        if len(body) < LARGE:
            return Answer(page, "computed", await storing, computed=parts)
        task = asyncio.ensure_future(self._aside(storing))
        keep(task)
        return Answer(page, "computed", computed=parts, storing=task)

    async def _aside(self, storing: Awaitable[bool]) -> bool:
        try:
            return await storing
        except Exception as error:
            self._observe(TaskFailed(task="storing a page", reason=f"{type(error).__name__}: {error}"))
            return False

    async def _finish(
        self, source_id: int, token: str, claim: Claim, page: Page, parts: Computed, started: float
    ) -> bool:
        """Stores a page that was computed; whether Redis has taken it."""
        outcome: Literal["stored", "refused", "aside"] = "aside"
        try:
            if claim.is_granted and parts.is_settled:
                if len(page.body) >= LARGE:
                    # The first step of storing sends what the socket takes, some milliseconds of the loop.
                    await asyncio.sleep(_READERS_FIRST_S)
                outcome = await self._store(source_id, token, page)
        finally:
            if claim.is_granted and outcome != "stored":
                await self._release(source_id, token)
        self._observe(
            Filled(
                source_id=source_id,
                outcome=outcome,
                view_is_current=parts.meta["read_from"] == "view",
                took_ms=round((monotonic() - started) * 1000, 3),
            )
        )
        return outcome == "stored"

    async def _claim(self, source_id: int, token: str, *, force: bool) -> tuple[Claim, Page | None]:
        """The page, the lease, or neither if Redis is unavailable or another process's fill takes too long.

        A page that this process knows and that Redis still holds comes from this process.
        """
        deadline = monotonic() + self._fill_wait
        changed = asyncio.Event()
        while True:
            held = None if force else self._memory.last_known(source_id)
            if held is not None and held.expires <= monotonic():
                held = None
            known = (held.digest, len(held.body)) if held is not None else None
            try:
                claim = await self._cache.claim(source_id, token, force=force, known=known)
            except CacheUnavailableError:
                return Claim(), None
            if claim.is_known:
                return claim, held
            remaining = deadline - monotonic()
            if claim.page is not None or claim.is_granted or remaining <= 0:
                return claim, None
            # Another process computes the page. An event from Redis announces the stored page, a notification to the
            # listener its eviction.
            self._changed[source_id] = changed
            changed.clear()
            try:
                await asyncio.wait_for(changed.wait(), min(remaining, _LOOK_AGAIN_S))
            except TimeoutError:
                continue
            finally:
                self._changed.pop(source_id, None)

    async def _store(self, source_id: int, token: str, page: Page) -> Literal["stored", "refused", "aside"]:
        ttl_ms = int((page.expires - monotonic()) * 1000)
        try:
            return "stored" if await self._cache.store(source_id, token, page.body, page.digest, ttl_ms) else "refused"
        except CacheUnavailableError:
            return "aside"

    async def _release(self, source_id: int, token: str) -> None:
        try:
            await self._cache.release(source_id, token)
        except CacheUnavailableError:
            return

    async def compute(self, source_id: int, claim: Claim) -> Computed:
        """The parts of the page, read past every cache; `claim` has the publication that Redis remembers."""
        if self._database.is_down and self._memory.last_known(source_id):
            raise ConfigDatabaseUnavailableError("it did not answer a moment ago")
        kept = self._fragments.of(source_id)
        row = await self._read_row(source_id, None, kept)
        if row is None:
            raise EntityNotFoundError("Source", str(source_id))
        recorded = frozenset(row["published_names"])
        publication = await self._publications.of(SourceAddress.of(row), claim.publication, recorded, self._hear_late)
        names = publication.names
        # Usually the source publishes the tables that the last sync recorded, and the row above is right.
        if names is not None and names != recorded:
            row = await self._read_row(source_id, sorted(names), kept)
            if row is None:
                raise EntityNotFoundError("Source", str(source_id))
        return computed(row, kept, names, publication.check)

    async def _read_row(self, source_id: int, names: list[str] | None, kept: Fragments) -> dict[str, Any] | None:
        parameters = {"id": source_id, "names": names} | kept.parameters
        try:
            return row_of(await self._database.fetch_tuples_nowait("details", **parameters))
        except (
            psycopg.errors.LockNotAvailable, psycopg.errors.ObjectNotInPrerequisiteState, MissingObjectsError,
        ):  # fmt: skip
            # A plain REFRESH locks the view, one WITH NO DATA empties it, or it was dropped; or another program holds a
            # lock.
            rows = await self._database.fetch_all("details_live", **parameters)
            return row_of([tuple(row.values()) for row in rows])

    def _hear_late(self, source_id: int, names: frozenset[str]) -> None:
        # The page was served with the tables recorded as published. It is evicted only if the late answer differs.
        async def evict_if_different() -> None:
            try:
                row = await self._read_row(source_id, None, self._fragments.of(source_id))
            except ConfigDatabaseUnavailableError:
                # The page stays as recorded, until its life ends.
                return
            if row is not None and frozenset(row["published_names"]) != names:
                await self._evict([source_id], "late publication")

        self._observe.watch("late publication", evict_if_different())
