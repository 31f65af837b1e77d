"""Why a source's page is as it is: what the caches hold, whether the database agrees, and what happened last."""

import os
import socket
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.cache.deployment import Deployment
from service.cache.inspection import Holding, held
from service.cache.keys import Keys
from service.cache.store import Cache
from service.cache.values import CacheUnavailableError
from service.pages.comparison import differences
from service.pages.details import Pages
from service.pages.listener import Listener
from service.telemetry.events import Event, Evicted, Observer

_MOST_REMEMBERED = 1000
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class _Eviction:
    at: datetime
    cause: str
    sources: frozenset[int] | None


class Evictions:
    """The last evictions of this process, with their causes. Canaries are none."""

    def __init__(self, observer: Observer) -> None:
        self._last: deque[_Eviction] = deque(maxlen=_MOST_REMEMBERED)
        observer.subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Evicted) and event.cause != "canary":
            ids = None if event.sources is None else frozenset(event.sources)
            self._last.append(_Eviction(datetime.now(UTC), event.cause, ids))

    def of(self, source_id: int) -> list[dict[str, Any]]:
        """Those that dropped a source's page, the newest first: `at`, `cause`, and whether it was `of_all` pages."""
        found = [
            {"at": each.at.isoformat(), "cause": each.cause, "of_all": each.sources is None}
            for each in reversed(self._last)
            if each.sources is None or source_id in each.sources
        ]
        return found[:_MOST_TOLD]


async def in_redis(deployment: Deployment, keys: Keys, pages: Pages, source_id: int) -> dict[str, Any]:
    """What Redis holds of a source. `error` if it cannot be asked, `page` None if it has none."""
    try:
        holding = await held(deployment, keys, source_id)
    except CacheUnavailableError as error:
        return {"error": str(error)}
    names = len(msgspec.json.decode(holding.publication)["names"]) if holding.publication else None
    return {
        "page": await _in_redis(holding, pages, source_id),
        "is_being_computed": holding.is_being_computed,
        "publication_tables": names,
        "publication_ttl_s": None if names is None else holding.publication_ttl_ms / 1000,
    }


async def _in_redis(holding: Holding, pages: Pages, source_id: int) -> dict[str, Any] | None:
    if holding.page is None:
        return None
    return await _described(pages, source_id, holding.page, holding.page_ttl_ms / 1000)


async def _described(pages: Pages, source_id: int, body: bytes, ttl_s: float) -> dict[str, Any]:
    """`differs` names the parts that the database says otherwise; None if this is no page of ours."""
    differs = await differences(pages, source_id, body)
    as_of = None if differs is None else msgspec.json.decode(body)["meta"]["as_of"]
    return {"bytes": len(body), "as_of": as_of, "ttl_s": ttl_s, "differs": differs}


class Explainer:
    """What one process knows of a source's page."""

    def __init__(self, pages: Pages, cache: Cache, redis: Deployment, listener: Listener, observer: Observer) -> None:
        self._pages = pages
        self._cache = cache
        self._redis = redis
        self._listener = listener
        self._evictions = Evictions(observer)
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    async def explain(self, source_id: int) -> dict[str, Any]:
        """`process` (its name and page), `redis`, and `evictions`. ConfigDatabaseUnavailableError."""
        memory = self._pages.memory
        page = memory.get(source_id)
        last_known = memory.last_known(source_id)
        return {
            "process": {
                "name": self._name,
                "page": page and await _described(self._pages, source_id, page.body, page.ttl),
                "last_known_age_s": last_known.age if last_known else None,
                "uses_redis": self._cache.is_trusted,
                "hears_notifications": self._listener.is_listening,
            },
            "redis": await in_redis(self._redis, self._cache.keys, self._pages, source_id),
            "evictions": self._evictions.of(source_id),
        }
