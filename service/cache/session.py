"""The session with Redis: decides when the cache is trusted, and hears what others do to its keys.

One connection to each primary stays subscribed to the invalidation of our keys (client-side caching in broadcast mode,
redirected to the connection itself, which works with RESP2:
https://redis.io/docs/latest/develop/reference/client-side-caching/). So a `DEL` by anybody reaches the process caches
as well. While these connections live, Redis is the Redis that it was. When one ends (restart, failover, network) an
eviction may have been lost, or undone by an older snapshot of the data: then nothing is read from Redis until a new
session has found the primaries and evicted everything.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from service.cache.deployment import Deployment
from service.cache.primaries import Primaries
from service.cache.store import PREFIX, Cache, CacheUnavailableError, page_of
from service.concurrency import Backoff
from service.telemetry.events import CacheDown, CacheUp, Observer

_CHANNEL = b"__redis__:invalidate"
_SILENCE_S = 1.0
# A session that lasted this long was no accident; the next one is tried soon.
_STEADY_S = 10.0
_LONGEST_PAUSE_S = 5.0


class CacheSession:
    """Runs forever. `on_invalid` is called with a source id, or None for all, whenever a page's key changed."""

    def __init__(
        self, deployment: Deployment, cache: Cache, observer: Observer, on_invalid: Callable[[int | None], None]
    ) -> None:
        self._deployment = deployment
        self._cache = cache
        self._observe = observer
        self._on_invalid = on_invalid
        self.tried = asyncio.Event()

    async def run(self) -> None:
        """Begins sessions until it is cancelled; with a growing pause while they do not last."""
        backoff = Backoff(_LONGEST_PAUSE_S)
        was_up: bool | None = None
        while True:
            began = monotonic()
            reason = "the session was cancelled"
            connections: list[AbstractConnection] = []
            try:
                primaries = await self._deployment.find()
                connections += _connections(primaries)
                await self._begin(primaries, connections)
                was_up = True
                self._observe(CacheUp(tracking=self._cache.is_tracked))
                self.tried.set()
                await self._listen(connections)
                reason = self._cache.failure
            except (RedisError, OSError, TimeoutError, CacheUnavailableError) as error:
                reason = self._cache.failure if self._cache.failed.is_set() else str(error) or type(error).__name__
            finally:
                self._cache.end(reason)
                # What the process holds could no longer be invalidated from outside.
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
        # What ended the session before may have ended idle connections too, without their noticing (a firewall that
        # forgot them): each would be another loss.
        for client in primaries.clients:
            await client.connection_pool.disconnect(inuse_connections=False)
        # All or none: where one is not heard, no page may stay in the process.
        is_tracked = all([await _subscribe(connection) for connection in connections])
        # Evictions go to Redis from here on, and so does the one of everything before: then nothing old is left.
        self._cache.begin(primaries)
        await self._cache.evict_all()
        if self._cache.failed.is_set():
            # One that came meanwhile, over another connection, did not arrive.
            raise CacheUnavailableError
        # Pages of the time without Redis are not in it: a DEL of them would be heard by nobody.
        self._on_invalid(None)
        self._cache.trust(is_tracked=is_tracked)

    async def _listen(self, connections: list[AbstractConnection]) -> None:
        """Returns when a command failed; raises what ends the first of the connections."""
        hearing = [asyncio.ensure_future(self._hear_all(connection)) for connection in connections]
        tasks = [asyncio.ensure_future(self._cache.failed.wait()), *hearing]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            # Before the connections are closed: none must be read by two.
            await asyncio.gather(*tasks, return_exceptions=True)

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
            elif (source_id := page_of(name)) is not None:
                self._on_invalid(source_id)


async def can_track(primaries: Primaries) -> bool:
    """Whether these servers tell of changes to our keys. Errors are redis-py's, or OSError."""
    connections = _connections(primaries)
    try:
        return all([await _subscribe(connection) for connection in connections])
    finally:
        for connection in connections:
            await connection.disconnect(nowait=True)


def _connections(primaries: Primaries) -> list[AbstractConnection]:
    return [
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        for client in primaries.clients
    ]


async def _subscribe(connection: AbstractConnection) -> bool:
    """Whether this connection will hear of every change of a page's key; it is connected in any case."""
    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
    try:
        own_id = await _ask(connection, "CLIENT", "ID")
        await _ask(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", "PREFIX", PREFIX)
        # The answer is awaited: whether it is heard has to be known before anything is read.
        await _ask(connection, "SUBSCRIBE", _CHANNEL.decode())
    except ResponseError:
        # Not allowed, or a proxy in between: pages are then kept in Redis only.
        return False
    return True


async def _ask(connection: AbstractConnection, *command: str | int) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
