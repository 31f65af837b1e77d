"""What keeping hot pages warm does to readers: a Zipf load with changes, with it and without."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import accumulate
from statistics import median
from time import monotonic, perf_counter

from tests.bench.interval import FEWEST
from tests.bench.rig import Rig, asynchronous, fill
from tests.bench.rows import Row, at_least, at_most, in_turn, percentile

_SOURCES = 500
_READERS = 8
_CHANGES_A_SECOND = 20
# Short, so that many lives end within the run.
_TTL_S = 4


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """The share of readers who did not wait for a computation, and how long the slowest hundredth took."""
    seconds = 3.0 if rig.is_quick else 12.0
    with rig.database() as config:
        rig.say(f"{_SOURCES} sources with 20 tables, {_CHANGES_A_SECOND} changes a second, both by Zipf")
        ids = fill(config, _SOURCES, 20)
        weights = list(accumulate(1 / (rank + 1) ** 1.1 for rank in range(_SOURCES)))
        hits: dict[int, list[float]] = {0: [], _SOURCES: []}

        async def load(pages: int) -> float:
            """The p99 of a read (seconds)."""
            chance = random.Random(7)
            took: list[float] = []
            computed = 0
            async with (
                rig.runtime(config, warm_pages=pages, cache_ttl_s=_TTL_S) as service,
                await asynchronous(config) as writer,
            ):
                read_page, warming = service.runtime.pages.read, service.runtime.warming
                # The first lives are those of a cold start, which both have.
                begin = monotonic() + _TTL_S / 2
                end = begin + seconds

                async def read() -> None:
                    nonlocal computed
                    while monotonic() < end:
                        (source,) = chance.choices(ids, cum_weights=weights)
                        warming.touch(source)
                        started = perf_counter()
                        answer = await read_page(source)
                        if monotonic() > begin:
                            took.append(perf_counter() - started)
                            computed += answer.found == "computed"
                        await asyncio.sleep(0.002)

                async def change() -> None:
                    number = 0
                    while monotonic() < end:
                        number += 1
                        (source,) = chance.choices(ids, cum_weights=weights)
                        await writer.execute("UPDATE sources SET total_tables = %s WHERE id = %s", (number, source))
                        await asyncio.sleep(1 / _CHANGES_A_SECOND)

                await asyncio.gather(change(), *(read() for _ in range(_READERS)))
            hits[pages].append(1 - computed / len(took))
            return percentile(took, 0.99)

        ours, theirs = await in_turn(FEWEST, lambda: load(_SOURCES), lambda: load(0))
        yield at_least(
            "readers who met a cached page, hot ones kept warm", "all readers", 0.99, hits[_SOURCES], [1.0] * FEWEST,
            figures=f"{median(hits[_SOURCES]):.2%}; without {median(hits[0]):.2%}",
        )  # fmt: skip
        yield at_most("p99 of a read, hot pages kept warm", "none kept warm", 1, ours, theirs)
