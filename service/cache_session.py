"""The session with Redis: decides when the cache is trusted, and hears what others do to its keys.

One connection stays subscribed to the invalidation of our keys (client-side caching in broadcast mode, redirected to
the connection itself, which works with RESP2: https://redis.io/docs/latest/develop/reference/client-side-caching/).
So a `DEL` by anybody reaches the process caches as well. While that connection lives, Redis is the Redis that it was;
when it ends (restart, failover, network) an eviction may have been lost, or undone by an older snapshot of the data:
then nothing is read from Redis until a new session has evicted everything.
"""

import asyncio
import random
import re
from collections.abc import Callable
from time import monotonic
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from service.cache import PREFIX, Cache, CacheUnavailableError
from service.observation import CacheDown, CacheUp, Observer

_CHANNEL = b"__redis__:invalidate"
_PAGE = re.compile(rb"source_details:([0-9]{1,10})")
_SILENCE_S = 1.0
# A session that lasted this long was no accident; the next one is tried soon.
_STEADY_S = 10.0
_LONGEST_PAUSE_S = 5.0


class CacheSession:
    """Runs forever. `on_invalid` is called with a source id, or None for all, whenever a page's key changed."""

    def __init__(self, cache: Cache, observer: Observer, on_invalid: Callable[[int | None], None]) -> None:
        self._cache = cache
        self._observe = observer
        self._on_invalid = on_invalid
        self.is_tracking = False
        self.tried = asyncio.Event()

    async def run(self) -> None:
        """Begins sessions until it is cancelled; with a growing pause while they do not last."""
        failures = 0
        was_up: bool | None = None
        while True:
            began = monotonic()
            try:
                connection = self._cache.client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # bare
                try:
                    await self._begin(connection)
                    was_up = True
                    self._observe(CacheUp(tracking=self.is_tracking))
                    self.tried.set()
                    await self._listen(connection)
                    reason = self._cache.failure
                finally:
                    await connection.disconnect(nowait=True)
            except (RedisError, OSError, TimeoutError, CacheUnavailableError) as error:
                reason = self._cache.failure if self._cache.failed.is_set() else str(error) or type(error).__name__
            finally:
                self._cache.is_heard = self._cache.is_trusted = self.is_tracking = False
                # What the process holds could no longer be invalidated from outside.
                self._on_invalid(None)
            self._cache.failure = reason
            if was_up is not False:
                self._observe(CacheDown(reason=reason))
            was_up = False
            self.tried.set()
            failures = 1 if monotonic() - began > _STEADY_S else failures + 1
            await asyncio.sleep(min(0.05 * 2**failures, _LONGEST_PAUSE_S) * random.uniform(0.5, 1))

    async def _begin(self, connection: AbstractConnection) -> None:
        self._cache.failed.clear()
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        try:
            own_id = await _ask(connection, "CLIENT", "ID")
            await _ask(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", "PREFIX", PREFIX)
            # The answer is awaited: whether it is heard has to be known before anything is read.
            await _ask(connection, "SUBSCRIBE", _CHANNEL.decode())
            self.is_tracking = True
        except ResponseError:
            # Not allowed, or a proxy in between: pages are then kept in Redis only.
            self.is_tracking = False
        # Evictions go to Redis from here on, and so does the one of everything before: then nothing old is left.
        self._cache.is_heard = True
        await self._cache.evict_all()
        if self._cache.failed.is_set():
            # One that came meanwhile, over another connection, did not arrive.
            raise CacheUnavailableError
        # Pages of the time without Redis are not in it: a DEL of them would be heard by nobody.
        self._on_invalid(None)
        self._cache.is_trusted = True

    async def _listen(self, connection: AbstractConnection) -> None:
        failed = asyncio.ensure_future(self._cache.failed.wait())
        reading: asyncio.Task[Any] | None = None
        is_asked = False
        try:
            while True:
                reading = asyncio.ensure_future(connection.read_response(timeout=_SILENCE_S))
                await asyncio.wait({reading, failed}, return_when=asyncio.FIRST_COMPLETED)
                if failed.done():
                    return
                answer = reading.result()
                if answer is not None:
                    is_asked = False
                    if isinstance(answer, list) and answer[:2] == [b"message", _CHANNEL]:
                        self._hear(answer[2])
                elif is_asked:
                    raise TimeoutError("no answer to PING")
                else:
                    await connection.send_command("PING")
                    is_asked = True
        finally:
            failed.cancel()
            if reading is not None:
                # Before the connection is closed: it must not be read by two.
                reading.cancel()
                await asyncio.wait({reading})

    def _hear(self, names: list[bytes] | None) -> None:
        """`names` are keys; None after FLUSHALL."""
        for name in names or (None,):
            if name is None:
                self._on_invalid(None)
            elif found := _PAGE.fullmatch(name):
                self._on_invalid(int(found[1]))


async def _ask(connection: AbstractConnection, *command: str | int) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
