"""The read path of a page: process cache, Redis, one round trip to PostgreSQL; and its eviction.

A page is computed by a fill. Per process one fill per source is the current one; whoever comes meanwhile waits for
it. An eviction takes the current fill away: it still answers those who were waiting, but what it read is stored
nowhere (its lease in Redis is deleted, its place in this process is lost), and whoever comes later starts a new one.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterable
from time import monotonic
from typing import Any, Literal

import psycopg

from service.cache.deployment import Deployment
from service.cache.session import CacheSession
from service.cache.store import Cache, CacheUnavailableError, Claim
from service.concurrency import Turnstile, keep
from service.config.settings import Settings
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError, EntityNotFoundError
from service.pages.memory import Memory, Page
from service.pages.page import Answer, Computed, computed
from service.sources.connections import Source, Sources
from service.sources.publication import Publications
from service.telemetry.events import Evicted, Filled, Observer

# Without an event from Redis (its session may have ended) another process's fill is looked for this often.
_LOOK_AGAIN_S = 0.1


class Details:
    """Pages of sources."""

    def __init__(self, settings: Settings, database: ConfigDatabase, cache: Cache, observer: Observer) -> None:
        self._database = database
        self._cache = cache
        self._observe = observer
        self._ttl = float(settings.cache_ttl_s)
        self._fill_wait = settings.fill_wait_ms / 1000
        self.memory = Memory(settings.memory_cache_mb * 1024 * 1024, settings.stale_if_error_s)
        deployment = Deployment(settings.redis_url.get_secret_value(), settings.redis_timeout_ms / 1000)
        self.session = CacheSession(deployment, cache, observer, self._hear_invalid)
        self.sources = Sources(settings, observer)
        self.publications = Publications(settings, self.sources, cache, self._hear_late)
        self._fills: dict[int, asyncio.Task[Answer]] = {}
        self._doubted: dict[int, asyncio.Task[Answer]] = {}
        self._fresh: Turnstile[int, Answer] = Turnstile()
        self._changed: dict[int, asyncio.Event] = {}

    async def read(self, source_id: int) -> Answer:
        """The page. EntityNotFoundError, or ConfigDatabaseUnavailableError where no cache has it."""
        page = self.memory.get(source_id)
        if page is not None:
            return Answer(page, "memory")
        fill = self._fills.get(source_id)
        is_collapsed = fill is not None
        if fill is None:
            fill = self._start(source_id, force=False)
        try:
            answer = await asyncio.shield(fill)
        except ConfigDatabaseUnavailableError:
            # Looked up now and not before the wait: it may have been evicted meanwhile.
            if page := self.memory.last_known(source_id):
                return Answer(page, "last known")
            raise
        return Answer(answer.page, answer.found, answer.is_stored, is_collapsed, answer.computed)

    async def read_fresh(self, source_id: int) -> Answer:
        """The page from the database, by a fill that starts after this call; it replaces what the caches hold."""

        async def fill() -> Answer:
            return await asyncio.shield(self._start(source_id, force=True))

        return await self._fresh.pass_through(source_id, fill)

    async def read_head(self, source_id: int, names: list[str] | None) -> bytes | None:
        """The page up to its `meta`, straight from the database, with these tables; None for an unknown id."""
        row = await self._read_row(source_id, names)
        return None if row is None else bytes(row["body"])

    async def evict(self, source_ids: Iterable[int] | None, cause: Any) -> None:
        """Drops pages everywhere; all of them for None. When it returns no reader gets what was read before it.

        The process is done in the same step as the call, before anything is awaited; Redis follows, and readers of
        this process wait for that.
        """
        started = monotonic()
        ids = None if source_ids is None else tuple(source_ids)
        self.memory.drop(ids)
        self._lose_fills(ids)
        # Without Redis: it is not trusted from here on, and before it is again everything in it is evicted.
        with contextlib.suppress(CacheUnavailableError):
            await self._cache.evict(ids)
        self._observe(Evicted(cause=cause, sources=ids, took_ms=round((monotonic() - started) * 1000, 3)))

    def _lose_fills(self, source_ids: tuple[int, ...] | None) -> None:
        if source_ids is None:
            self._fills.clear()
            self._doubted.clear()
            for event in self._changed.values():
                event.set()
            return
        for source_id in source_ids:
            self._fills.pop(source_id, None)
            self._doubted.pop(source_id, None)
            if changed := self._changed.get(source_id):
                changed.set()

    def _hear_invalid(self, source_id: int | None) -> None:
        # Somebody wrote or deleted the key in Redis, we ourselves perhaps. Whoever comes now asks Redis; but a page
        # that is being read is not known to be old by that, and may stay as the last known.
        ids = None if source_id is None else (source_id,)
        self.memory.doubt(ids)
        doubted = dict(self._fills) if source_id is None else {source_id: self._fills.get(source_id)}
        self._lose_fills(ids)
        self._doubted.update({number: fill for number, fill in doubted.items() if fill is not None})

    def _hear_late(self, source_id: int, names: frozenset[str]) -> None:
        # The page went out with the tables last known to be published; only if they differ is it worth evicting.
        async def evict_if_different() -> None:
            row = await self._read_row(source_id, None)
            if row is not None and frozenset(row["published_names"]) != names:
                await self.evict([source_id], "late publication")

        self._observe.watch("late publication", evict_if_different())

    def _start(self, source_id: int, *, force: bool) -> asyncio.Task[Answer]:
        fill = asyncio.ensure_future(self._fill(source_id, force=force))
        self._fills[source_id] = fill
        keep(fill)
        fill.add_done_callback(lambda done: self._end(source_id, done))
        return fill

    def _end(self, source_id: int, fill: asyncio.Task[Answer]) -> None:
        # Only the current fill may leave its page in this process: another one took its place after an eviction.
        is_doubted = self._doubted.get(source_id) is fill
        if is_doubted:
            del self._doubted[source_id]
        elif self._fills.get(source_id) is fill:
            del self._fills[source_id]
        else:
            return
        if fill.cancelled() or fill.exception() is not None:
            return
        answer = fill.result()
        if is_doubted:
            if self.memory.last_known(source_id) is None:
                self.memory.put(source_id, answer.page, is_current=False)
            return
        # Beside Redis the process serves only what is in Redis too: a DEL of anything else would be heard by nobody.
        is_in_redis = answer.found == "redis" or answer.is_stored
        is_alone = not self._cache.is_heard or self._cache.refusal is not None
        is_current = is_alone or (is_in_redis and self.session.is_tracking)
        self.memory.put(source_id, answer.page, is_current=is_current)

    async def _fill(self, source_id: int, *, force: bool) -> Answer:
        token = secrets.token_hex(8)
        claim = await self._claim(source_id, token, force=force)
        if claim.page is not None:
            life = claim.ttl_ms / 1000
            return Answer(Page(claim.page, monotonic() + life, self._ttl), "redis")
        started = monotonic()
        outcome: Literal["stored", "refused", "aside"] = "aside"
        try:
            parts = await self._compute(source_id, claim)
            page = Page(parts.body(), started + self._ttl, self._ttl)
            if claim.is_granted:
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
        return Answer(page, "computed", outcome == "stored", computed=parts)

    async def _claim(self, source_id: int, token: str, *, force: bool) -> Claim:
        """The page, the lease, or neither where Redis is away or another process's fill takes too long."""
        deadline = monotonic() + self._fill_wait
        changed = asyncio.Event()
        while True:
            try:
                claim = await self._cache.claim(source_id, token, force=force)
            except CacheUnavailableError:
                return Claim()
            remaining = deadline - monotonic()
            if claim.page is not None or claim.is_granted or remaining <= 0:
                return claim
            # Another process computes it. Redis tells when the page is there, the listener when it was evicted.
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
            return "stored" if await self._cache.store(source_id, token, page.body, ttl_ms) else "refused"
        except CacheUnavailableError:
            return "aside"

    async def _release(self, source_id: int, token: str) -> None:
        try:
            await self._cache.release(source_id, token)
        except CacheUnavailableError:
            return

    async def _compute(self, source_id: int, claim: Claim) -> Computed:
        if self._database.is_down and self.memory.last_known(source_id):
            raise ConfigDatabaseUnavailableError("it did not answer a moment ago")
        row = await self._read_row(source_id, None)
        if row is None:
            raise EntityNotFoundError("Source", str(source_id))
        publication = await self.publications.of(Source.of(row), claim.publication, frozenset(row["published_names"]))
        names = publication.names
        # Mostly the source says what the last sync recorded, and the page that was read already stands.
        if names is not None and names != frozenset(row["published_names"]):
            row = await self._read_row(source_id, sorted(names))
            if row is None:
                raise EntityNotFoundError("Source", str(source_id))
        return computed(row, names, publication.check)

    async def _read_row(self, source_id: int, names: list[str] | None) -> dict[str, Any] | None:
        try:
            return await self._database.fetch("details", id=source_id, names=names)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.ObjectNotInPrerequisiteState):
            # The view is locked by a plain REFRESH, or empty after one WITH NO DATA; or another program has a lock.
            return await self._database.fetch_patiently("details_live", id=source_id, names=names)
