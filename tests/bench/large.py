"""Large sources: one table of many changes. What it takes until a reader has it, beside a small source."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from statistics import median

import httpx

from tests.bench import costs, watching
from tests.bench.changed import until_changed
from tests.bench.rig import Rig, asynchronous, fill
from tests.bench.rows import Row, at_most, in_turn
from tests.fixtures.databases import Sql

_SMALL = 50
_MIDDLE = 1_000
# How many times that of the small source it may take.
_WANTED = {_MIDDLE: 3, 10_000: 10}


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Each size in turn with the small one; then what a change costs besides time."""
    sizes = [tables for tables in _WANTED if tables <= _MIDDLE or not rig.is_quick]
    for tables in sizes:
        with rig.database() as config:
            (small,) = fill(config, 1, _SMALL)
            (large,) = fill(config, 1, tables)
            with rig.served(config) as url:
                yield await _new_etag(rig, config, url, (small, large), tables)
                async for row in _event(rig, config, url, (small, large), tables):
                    yield row
    for tables in (_SMALL, *sizes):
        with rig.database() as config:
            (source,) = fill(config, 1, tables)
            async for row in costs.rows(rig, config, source, tables):
                yield row


async def _new_etag(rig: Rig, config: Sql, url: str, sources: tuple[int, int], tables: int) -> Row:
    async with await asynchronous(config) as writer, httpx.AsyncClient(base_url=url, timeout=60) as client:
        values = count()

        async def changed(source: int) -> float:
            return await until_changed(writer, client, source, str(next(values)))

        small, large = (partial(changed, source) for source in sources)
        # The process keeps what its first page was made of.
        ours, theirs = await in_turn(4 * rig.rounds, large, small, warm_up=1)
    rig.curves.setdefault("commit to the new ETag, ms", []).append((tables, median(ours) * 1000))
    return at_most(f"commit to the new ETag, {tables:,} tables", f"{_SMALL} tables", _WANTED[tables], ours, theirs)


async def _event(rig: Rig, config: Sql, url: str, sources: tuple[int, int], tables: int) -> AsyncIterator[Row]:
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(await asynchronous(config))
        small, large = [
            partial(watching.told, await stack.enter_async_context(watching.open_page(config, url, source)), writer)
            for source in sources
        ]
        ours, theirs = await in_turn(2 * rig.rounds, large, small, warm_up=2)
    rig.curves.setdefault("commit to the event on an open page, ms", []).append((tables, median(ours) * 1000))
    name = "commit to the event on an open page, {:,} tables"
    if tables == _MIDDLE:
        yield at_most(
            name.format(_SMALL), "a tenth of a second", 1, theirs, [0.1] * len(theirs),
            figures=f"{median(theirs) * 1000:,.1f} ms",
        )  # fmt: skip
    yield at_most(name.format(tables), f"{_SMALL} tables", _WANTED[tables], ours, theirs)
