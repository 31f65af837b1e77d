"""The session with Redis: decides when the cache is trusted, and notices when others change its keys.

One connection to each primary (see `link`) hears whose keys change, so that a `DEL` by anyone reaches the process
caches as well. While these connections live, Redis has kept every eviction. When one ends (restart, failover, network),
an eviction may have been lost, or undone by an older snapshot of the data: nothing is read from Redis until a new
session has found the primaries and evicted everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from service.cache.deployment import Deployment, pool_of
from service.cache.link import Link, close
from service.cache.primaries import Primaries
from service.cache.store import MARK_AGAIN_S, Cache
from service.cache.values import FAILURES, CacheUnavailableError, ForeignMarkError
from service.concurrency import Backoff, end
from service.errors import ServiceError
from service.telemetry.events import CacheDown, CacheUp, Observer

# After a session that lasted this long, the next one is tried soon.
_STEADY_S = 10.0
_LONGEST_PAUSE_S = 5.0


class CacheSession:
    """Runs forever. `on_invalid` is called with a source id, or None for all, whenever a page's key changed.

    `identity` names the config database; it may raise ServiceError.
    """

    def __init__(
        self,
        deployment: Deployment,
        cache: Cache,
        observer: Observer,
        on_invalid: Callable[[int | None], None],
        identity: Callable[[], Awaitable[str]],
    ) -> None:
        self._deployment = deployment
        self._cache = cache
        self._observe = observer
        self._on_invalid = on_invalid
        self._identity = identity
        self.tried = asyncio.Event()

    async def run(self) -> None:
        """Begins sessions until it is cancelled, with growing pauses while they do not last."""
        backoff = Backoff(_LONGEST_PAUSE_S)
        was_up: bool | None = None
        while True:
            began = monotonic()
            has_begun = False
            reason = "the session was cancelled"
            links: list[Link] = []
            try:
                primaries = await self._deployment.find()
                links = primaries.links
                await self._begin(primaries)
                has_begun = was_up = True
                self._observe(CacheUp(tracking=self._cache.is_tracked))
                self.tried.set()
                await self._listen(links)
                reason = self._cache.failure
            except ForeignMarkError as error:
                reason = str(error)
            except ServiceError as error:
                reason = error.message
            except (*FAILURES, CacheUnavailableError) as error:
                reason = self._cache.failure if self._cache.failed.is_set() else str(error) or type(error).__name__
            finally:
                self._cache.end(reason)
                if has_begun:
                    # Pages in the process can no longer be invalidated from outside.
                    self._on_invalid(None)
                await close(links)
            if was_up is not False:
                self._observe(CacheDown(reason=reason))
            was_up = False
            self.tried.set()
            if monotonic() - began > _STEADY_S:
                backoff.reset()
            await backoff.pause()

    async def _begin(self, primaries: Primaries) -> None:
        # Whatever ended the last session may also have broken idle connections unnoticed (a firewall that forgot
        # them): each of them would end this session.
        for client in primaries.clients:
            await client.connection_pool.disconnect(inuse_connections=False)
        # All or none: if one server sends no invalidations, the process may keep no page.
        is_tracked = all([await link.open(self._cache.keys.prefix, self._hear) for link in primaries.links])
        for client, link in zip(primaries.clients, primaries.links, strict=True):
            pool_of(client).follow(link.connection)
        identity = await self._identity()
        # From here on evictions go to Redis. Everything older is evicted after that, so that nothing old is left.
        self._cache.begin(primaries, identity)
        await self._cache.mark()
        await self._cache.evict_all()
        if self._cache.failed.is_set():
            # A concurrent eviction over another connection did not arrive.
            raise CacheUnavailableError
        # Pages from the time without Redis are not in it: a DEL of such a page would invalidate nothing.
        self._on_invalid(None)
        self._cache.trust(is_tracked=is_tracked)

    async def _listen(self, links: list[Link]) -> None:
        """Returns when a command has failed; raises the error that ends one of the connections."""
        own = [asyncio.ensure_future(self._cache.failed.wait()), asyncio.ensure_future(self._keep_mark())]
        hearing = [link.hearing for link in links if link.hearing is not None]
        try:
            done, _ = await asyncio.wait([*own, *hearing], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(own)

    async def _keep_mark(self) -> None:
        while True:
            await asyncio.sleep(MARK_AGAIN_S)
            await self._cache.mark()

    def _hear(self, names: list[bytes] | None) -> None:
        """`names` are keys; None after FLUSHALL."""
        for name in names or (None,):
            if name is None:
                self._on_invalid(None)
            elif (source_id := self._cache.keys.page_of(name)) is not None:
                self._on_invalid(source_id)
