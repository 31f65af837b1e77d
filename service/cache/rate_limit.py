"""The limit on syncs per caller, counted in Redis for all processes together.

Clock minutes are counted: simple, and at worst twice the limit within 60 s. Nothing is counted while Redis is not used;
callers share the syncs of one source in any case.
"""

from time import time

from service.cache.store import Cache
from service.cache.values import CacheUnavailableError
from service.errors import TooManyRequestsError

_MINUTE_S = 60


class RateLimit:
    """`spend` raises TooManyRequestsError, with the seconds until the next minute."""

    def __init__(self, cache: Cache, *, per_minute: int) -> None:
        self._limit = per_minute
        self._cache = cache

    async def spend(self, caller: str) -> None:
        """Counts one sync for that caller."""
        if not self._limit:
            return
        minute, passed = divmod(int(time()), _MINUTE_S)
        try:
            count = await self._cache.count(f"{caller}:{minute}", 2 * _MINUTE_S * 1000)
        except CacheUnavailableError:
            return
        if count > self._limit:
            raise TooManyRequestsError(self._limit, _MINUTE_S - passed)
