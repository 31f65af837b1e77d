"""How often one caller may have sources asked: counted in Redis, for all processes together.

Whole minutes are counted: simple, and at worst twice the limit within one minute. Where Redis is not used nothing is
counted; syncs of one source are shared among all who ask for them in any case.
"""

from time import time

from service.cache.store import Cache, CacheUnavailableError
from service.errors import TooManyRequestsError

_MINUTE_S = 60


class RateLimit:
    """`spend` raises TooManyRequestsError, with the seconds until it is worth another try."""

    def __init__(self, cache: Cache, *, per_minute: int) -> None:
        self._limit = per_minute
        self._cache = cache

    async def spend(self, caller: str) -> None:
        """Counts one for that caller."""
        if not self._limit:
            return
        minute, passed = divmod(int(time()), _MINUTE_S)
        try:
            count = await self._cache.count(f"{caller}:{minute}", 2 * _MINUTE_S * 1000)
        except CacheUnavailableError:
            return
        if count > self._limit:
            raise TooManyRequestsError(self._limit, _MINUTE_S - passed)
