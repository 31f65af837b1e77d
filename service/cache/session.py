"""The session with Redis: decides when the cache is trusted, and notices when others change its keys.

One connection to each primary stays subscribed to the invalidation of our keys (client-side caching in broadcast mode,
redirected to the connection itself, which works with RESP2:
https://redis.io/docs/latest/develop/reference/client-side-caching/). So a `DEL` by anyone reaches the process caches
as well. While these connections live, Redis has kept every eviction. When one ends (restart, failover, network), an
eviction may have been lost, or undone by an older snapshot of the data: nothing is read from Redis until a new session
has found the primaries and evicted everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from service.cache.deployment import Deployment, pool_of
from service.cache.keys import Keys
from service.cache.primaries import Primaries
from service.cache.store import MARK_AGAIN_S, Cache
from service.cache.values import CacheUnavailableError, ForeignMarkError
from service.concurrency import Backoff, end
from service.errors import ServiceError
from service.telemetry.events import CacheDown, CacheUp, Observer

_CHANNEL = b"__redis__:invalidate"
_SILENCE_S = 1.0
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
            connections: list[AbstractConnection] = []
            try:
                primaries = await self._deployment.find()
                connections += _connections(primaries)
                await self._begin(primaries, connections)
                has_begun = was_up = True
                self._observe(CacheUp(tracking=self._cache.is_tracked))
                self.tried.set()
                await self._listen(connections)
                reason = self._cache.failure
            except ForeignMarkError as error:
                reason = str(error)
            except ServiceError as error:
                reason = error.message
            except (RedisError, OSError, TimeoutError, CacheUnavailableError) as error:
                reason = self._cache.failure if self._cache.failed.is_set() else str(error) or type(error).__name__
            finally:
                self._cache.end(reason)
                if has_begun:
                    # Pages in the process can no longer be invalidated from outside.
                    self._on_invalid(None)
                for connection in connections:
                    await connection.disconnect(nowait=True)
            if was_up is not False:
                self._observe(CacheDown(reason=reason))
            was_up = False
            self.tried.set()
            if monotonic() - began > _STEADY_S:
                backoff.reset()
            await backoff.pause()

    async def _begin(self, primaries: Primaries, connections: list[AbstractConnection]) -> None:
        # Whatever ended the last session may also have broken idle connections unnoticed (a firewall that forgot
        # them): each of them would end this session.
        for client in primaries.clients:
            await client.connection_pool.disconnect(inuse_connections=False)
        # All or none: if one server sends no invalidations, the process may keep no page.
        is_tracked = all([await _subscribe(connection, self._cache.keys) for connection in connections])
        for client, connection in zip(primaries.clients, connections, strict=True):
            pool_of(client).follow(connection)
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

    async def _listen(self, connections: list[AbstractConnection]) -> None:
        """Returns when a command has failed; raises the error that ends one of the connections."""
        hearing = [asyncio.ensure_future(self._hear_all(connection)) for connection in connections]
        marking = asyncio.ensure_future(self._keep_mark())
        tasks = [asyncio.ensure_future(self._cache.failed.wait()), marking, *hearing]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Before the connections are closed: two readers must not share one.
            await end(tasks)

    async def _keep_mark(self) -> None:
        while True:
            await asyncio.sleep(MARK_AGAIN_S)
            await self._cache.mark()

    async def _hear_all(self, connection: AbstractConnection) -> None:
        is_asked = False
        while True:
            answer = await connection.read_response(timeout=_SILENCE_S)
            if answer is not None:
                is_asked = False
                if isinstance(answer, list) and answer[:2] == [b"message", _CHANNEL]:
                    self._hear(answer[2])
            elif is_asked:
                raise TimeoutError("no answer to PING")
            else:
                await connection.send_command("PING")
                is_asked = True

    def _hear(self, names: list[bytes] | None) -> None:
        """`names` are keys; None after FLUSHALL."""
        for name in names or (None,):
            if name is None:
                self._on_invalid(None)
            elif (source_id := self._cache.keys.page_of(name)) is not None:
                self._on_invalid(source_id)


async def can_track(primaries: Primaries, keys: Keys) -> bool:
    """Whether these servers report changes of our keys. Raises redis-py's errors, or OSError."""
    connections = _connections(primaries)
    try:
        return all([await _subscribe(connection, keys) for connection in connections])
    finally:
        for connection in connections:
            await connection.disconnect(nowait=True)


def _connections(primaries: Primaries) -> list[AbstractConnection]:
    return [
        pool_of(client).make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        for client in primaries.clients
    ]


async def _subscribe(connection: AbstractConnection, keys: Keys) -> bool:
    """Connects, and returns whether this connection will receive every change of a page's key."""
    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
    try:
        own_id = await _ask(connection, "CLIENT", "ID")
        await _ask(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", "PREFIX", keys.prefix)
        # Awaits the answer: whether changes are reported must be known before anything is read.
        await _ask(connection, "SUBSCRIBE", _CHANNEL.decode())
    except ResponseError:
        # Not allowed, or a proxy in between: pages are then kept in Redis only.
        return False
    return True


async def _ask(connection: AbstractConnection, *command: str | int) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
