"""`python -m tests.consistency.saboteur NAME`: `rosetta serve` with one guard removed, or none (`none`).

In every case fills are held for a random moment between reading and storing, and evictions before they reach Redis, so
that interleavings which take hours to come by come in seconds.
"""

import asyncio
import random
import sys
from collections.abc import Iterable
from typing import Any

from service.cache import scripts
from service.cache.deployment import Deployment
from service.cache.primaries import Client, Cluster, Script, SinglePrimary
from service.cache.store import Cache
from service.cli import main as cli
from service.config.redis_url import Address
from service.pages.details import Pages

_LONGEST_S = 0.02


def _hold(owner: type[Any], name: str) -> None:
    method = getattr(owner, name)

    async def held(self: Any, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(random.random() ** 3 * _LONGEST_S)
        return await method(self, *arguments, **options)

    setattr(owner, name, held)


_deployments: list[Deployment] = []


def _remembered(find: Any) -> Any:
    async def remember(self: Deployment) -> Any:
        _deployments[:] = [self]
        return await find(self)

    return remember


def _any_server(self: Cluster, address: Address) -> Client:
    return self._clients.setdefault(address, _deployments[0]._client(address))


def _sabotage(name: str) -> None:
    if name == "no lease check":
        scripts.STORE = Script("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1")
    elif name == "no eviction on reconnect":
        evict = Pages.evict

        async def evict_unless_reconnected(self: Pages, source_ids: Iterable[int] | None, cause: Any) -> None:
            if cause != "reconnect":
                await evict(self, source_ids, cause)

        Pages.evict = evict_unless_reconnected  # type: ignore[method-assign]
    elif name == "silent failover":
        Deployment.find = _remembered(Deployment.find)  # type: ignore[method-assign]
        Cluster._known = _any_server  # type: ignore[method-assign]
    elif name != "none":
        raise SystemExit(f"unknown sabotage: {name}")


if __name__ == "__main__":
    _hold(Cache, "store")
    _hold(SinglePrimary, "delete")
    _sabotage(sys.argv[1])
    sys.argv[1:] = ["serve"]
    sys.exit(cli.main())
