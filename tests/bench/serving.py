"""Cached pages over HTTP, beside servers that do nothing but answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from math import ceil

import httpx

from tests.bench.load import PLAIN, load
from tests.bench.rig import Rig, fill
from tests.bench.rows import Row, at_least, at_most, in_turn

_SLOW_CONNECTIONS = 32


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Throughput of 200 and 304, and the latency at half the maximal rate."""
    with ExitStack() as stack:
        config = stack.enter_context(rig.database())
        (source,) = fill(config, 1, 50)
        served = stack.enter_context(rig.served(config))
        page = f"{served}/api/v1/sources/{source}/details"
        body = await asyncio.to_thread(httpx.get, page, headers=PLAIN)
        size = len(body.content)
        rig.say(f"a page of 50 tables has {size:,} bytes")
        framework = stack.enter_context(rig.beside("framework", size))
        bare = stack.enter_context(rig.beside("bare", size))
        unchanged = stack.enter_context(rig.beside("unchanged", size))

        async def rate(url: str, **options: dict[str, str]) -> float:
            return (await load(url, rig.seconds, **options)).rate  # type: ignore[arg-type]  # headers alone

        ours, theirs = await in_turn(rig.rounds, lambda: rate(page), lambda: rate(framework))
        yield at_least("cached page, requests/s", "Litestar with constant bytes", 0.9, ours, theirs, "/s")
        ours, theirs = await in_turn(rig.rounds, lambda: rate(page), lambda: rate(bare))
        yield at_least("cached page, requests/s (bare)", "bare ASGI with the same bytes", 0.6, ours, theirs, "/s")
        maximal = sorted(ours)[len(ours) // 2]

        async def unchanged_rate(url: str) -> float:
            # A page that was computed anew has another tag: it says as of when it is.
            known = (await asyncio.to_thread(httpx.get, page, headers=PLAIN)).headers["etag"]
            return await rate(url, headers={"If-None-Match": known})

        ours, theirs = await in_turn(rig.rounds, lambda: unchanged_rate(page), lambda: unchanged_rate(unchanged))
        yield at_least("304, requests/s", "bare ASGI that answers 304", 0.6, ours, theirs, "/s")

        # Half of what is possible: each connection pauses as long as that takes with all of them.
        pause_ms = ceil(_SLOW_CONNECTIONS / (maximal / 2) * 1000)

        async def p99(url: str) -> float:
            return (await load(url, rig.seconds, pause_ms=pause_ms, connections=_SLOW_CONNECTIONS)).p99_s

        ours, theirs = await in_turn(rig.rounds, lambda: p99(page), lambda: p99(bare))
        yield at_most("cached page, p99 at half the rate", "bare ASGI with the same bytes", 1.5, ours, theirs)
