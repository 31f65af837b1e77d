"""Large sources: one table of many changes. What it takes until a reader gets the new page, beside a small source."""

from collections.abc import AsyncIterator
from functools import partial
from statistics import median
from time import perf_counter

import httpx
import psycopg

from tests.bench.rig import Rig, asynchronous, fill
from tests.bench.rows import Row, at_most

_SMALL = 50
# How many times that of the small source it may take.
_WANTED = {1_000: 3, 10_000: 10}
_CHANGE = """
    UPDATE table_metadata_list
    SET schema_table = jsonb_set(schema_table, '{column_1,default_value}', to_jsonb(%s::text))
    WHERE source_id = %s AND table_name = 'table_1'
"""


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Each size in turn with the small one."""
    for tables, wanted in _WANTED.items():
        if rig.is_quick and tables > 1_000:
            continue
        with rig.database() as config:
            (small,) = fill(config, 1, _SMALL)
            (large,) = fill(config, 1, tables)
            with rig.served(config) as url:
                async with await asynchronous(config) as writer, httpx.AsyncClient(base_url=url, timeout=60) as client:
                    changed = {source: partial(_changed, writer, client, source) for source in (small, large)}
                    for measure in changed.values():
                        # The process keeps what its first page was made of.
                        await measure(-1)
                    ours, theirs = [], []
                    for number in range(4 * rig.rounds):
                        ours.append(await changed[large](number))
                        theirs.append(await changed[small](number))
            yield at_most(f"commit to the new ETag, {tables:,} tables", f"{_SMALL} tables", wanted, ours, theirs)
            rig.curves.setdefault("commit to the new ETag, ms", []).append((tables, median(ours) * 1000))


async def _changed(
    writer: "psycopg.AsyncConnection[object]", client: httpx.AsyncClient, source: int, number: int
) -> float:
    """Seconds from the commit of a change until a HEAD has another ETag."""
    path = f"/api/v1/sources/{source}/details"

    async def etag() -> str:
        answer = await client.head(path, headers={"accept-encoding": "zstd"})
        return answer.raise_for_status().headers["etag"]

    before = await etag()
    await writer.execute(_CHANGE, (str(number), source))
    started = perf_counter()
    while True:
        if await etag() != before:
            break
    return perf_counter() - started
