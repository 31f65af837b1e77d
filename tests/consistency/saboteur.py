"""`python -m tests.consistency.saboteur NAME`: `rosetta serve` with one guard removed, or none (`none`).

In every case fills are held for a random moment between reading and storing, and evictions before they reach Redis, so
that interleavings which take hours to come by come in seconds. And the process writes a line for each notification that
it receives: from then on it has been told.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterable
from typing import Any

from service.cache import scripts
from service.cache.deployment import Deployment
from service.cache.primaries import Client, Cluster, Script, SinglePrimary
from service.cache.store import Cache
from service.cli import main as cli
from service.config.redis_url import Address
from service.pages.details import Pages
from service.pages.listener import Listener

# Such a line goes on with the payload and the epoch seconds.
TOLD = b"TOLD "
IN_PROCESS = ("no lease check", "no eviction on reconnect", "no wait for evictions", "silent failover")
_LONGEST_S = 0.02


def _hold(owner: type[Any], name: str) -> None:
    method = getattr(owner, name)

    async def held(self: Any, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(random.random() ** 3 * _LONGEST_S)
        return await method(self, *arguments, **options)

    setattr(owner, name, held)


def _report_notifications() -> None:
    hear = Listener._hear

    def reported(self: Listener, payload: bytes) -> None:
        if payload.isdigit():
            sys.stderr.write(f"{(TOLD + payload).decode()} {time.time()!r}\n")
        hear(self, payload)

    Listener._hear = reported  # type: ignore[method-assign]


class _Nothing(dict[Any, Any]):
    """No eviction is on its way, whoever asks."""

    def get(self, *_: object) -> Any:
        return None


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
        scripts.STORE = Script(
            "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) "
            "redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3]) return 1"
        )
    elif name == "no eviction on reconnect":
        evict = Pages.evict

        async def evict_unless_reconnected(self: Pages, source_ids: Iterable[int] | None, cause: Any) -> None:
            if cause != "reconnect":
                await evict(self, source_ids, cause)

        Pages.evict = evict_unless_reconnected  # type: ignore[method-assign]
    elif name == "no wait for evictions":
        prepare = Cache.__init__

        def forget(self: Cache, *arguments: Any, **options: Any) -> None:
            prepare(self, *arguments, **options)
            self._evicting = _Nothing()

        Cache.__init__ = forget  # type: ignore[method-assign]
    elif name == "silent failover":
        Deployment.find = _remembered(Deployment.find)  # type: ignore[method-assign]
        Cluster._known = _any_server  # type: ignore[method-assign]
    elif name != "none":
        raise SystemExit(f"unknown sabotage: {name}")


if __name__ == "__main__":
    _hold(Cache, "store")
    _hold(SinglePrimary, "delete")
    _report_notifications()
    _sabotage(sys.argv[1])
    sys.argv[1:] = ["serve"]
    sys.exit(cli.main())
