"""The session with Redis: decides when the cache is trusted, and hears what others do to its keys.

One connection stays subscribed to the invalidation of our keys (client-side caching in broadcast mode, redirected to
the connection itself, which works with RESP2: https://redis.io/docs/latest/develop/reference/client-side-caching/).
So a `DEL` by anybody reaches the process caches as well. While that connection lives, Redis is the Redis that it was;
when it ends (restart, failover, network) an eviction may have been lost, or undone by an older snapshot of the data:
then nothing is read from Redis until a new session has evicted everything.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, ResponseError

from service.cache import PREFIX, Cache, CacheUnavailableError
from service.observation import CacheDown, CacheUp, Observer

_CHANNEL = "__redis__:invalidate"
_SILENCE_S = 1.0
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
        """Begins sessions until it is cancelled; with a growing pause while Redis does not answer."""
        failures = 0
        was_up: bool | None = None
        while True:
            try:
                async with contextlib.aclosing(self._cache.client.pubsub()) as subscription:
                    await self._begin(subscription)
                    failures, was_up = 0, True
                    self._observe(CacheUp(tracking=self.is_tracking))
                    self.tried.set()
                    await self._listen(subscription)
                    reason = self._cache.failure
            except (RedisError, OSError, TimeoutError, CacheUnavailableError) as error:
                reason = self._cache.failure if self._cache.failed.is_set() else str(error) or type(error).__name__
            finally:
                self._cache.is_heard = self._cache.is_trusted = self.is_tracking = False
                # What the process holds could no longer be invalidated from outside.
                self._on_invalid(None)
            if was_up is not False:
                self._observe(CacheDown(reason=reason))
            was_up = False
            self.tried.set()
            failures += 1
            await asyncio.sleep(min(0.05 * 2**failures, _LONGEST_PAUSE_S) * random.uniform(0.5, 1))

    async def _begin(self, subscription: PubSub) -> None:
        self._cache.failed.clear()
        await subscription.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        connection = subscription.connection
        assert connection is not None
        await connection.send_command("CLIENT", "ID")
        own_id = await connection.read_response()
        await connection.send_command("CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", "PREFIX", PREFIX)
        try:
            await connection.read_response()
            self.is_tracking = True
        except ResponseError:
            # Not allowed, or a proxy in between: pages are then kept in Redis only.
            self.is_tracking = False
        await subscription.subscribe(_CHANNEL)
        # Evictions go to Redis from here on, and so does the one of everything before: then nothing old is left.
        self._cache.is_heard = True
        await self._cache.evict_all()
        # Pages of the time without Redis are not in it: a DEL of them would be heard by nobody.
        self._on_invalid(None)
        self._cache.is_trusted = True

    async def _listen(self, subscription: PubSub) -> None:
        failed = asyncio.ensure_future(self._cache.failed.wait())
        reading: asyncio.Task[Any] | None = None
        is_asked = False
        try:
            while True:
                reading = asyncio.ensure_future(subscription.get_message(timeout=_SILENCE_S))
                await asyncio.wait({reading, failed}, return_when=asyncio.FIRST_COMPLETED)
                if failed.done():
                    return
                message = reading.result()
                if message is not None:
                    is_asked = False
                    if message["type"] == "message":
                        self._hear(message["data"])
                elif is_asked:
                    raise TimeoutError("no answer to PING")
                else:
                    await subscription.ping()
                    is_asked = True
        finally:
            failed.cancel()
            if reading is not None:
                # Before the connection is closed: it must not be read by two.
                reading.cancel()
                await asyncio.wait({reading})

    def _hear(self, names: list[bytes] | None) -> None:
        for name in names or (None,):
            if name is None:
                self._on_invalid(None)
            elif (number := name.decode(errors="replace").removeprefix(PREFIX)).isdecimal():
                self._on_invalid(int(number))
