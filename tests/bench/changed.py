"""A change of one table, and how soon a reader has the new page."""

from time import perf_counter

import httpx
import psycopg

_CHANGE = """
    UPDATE table_metadata_list
    SET schema_table = jsonb_set(schema_table, '{column_1,default_value}', to_jsonb(%s::text))
    WHERE source_id = %s AND table_name = 'table_1'
"""


async def until_changed(
    writer: "psycopg.AsyncConnection[object]", client: httpx.AsyncClient, source: int, value: str
) -> float:
    """Seconds from the commit of a change until a HEAD has another ETag."""
    path = f"/api/v1/sources/{source}/details"

    async def etag() -> str:
        answer = await client.head(path, headers={"accept-encoding": "zstd"})
        return answer.raise_for_status().headers["etag"]

    before = await etag()
    await writer.execute(_CHANGE, (value, source))
    started = perf_counter()
    while True:
        if await etag() != before:
            break
    return perf_counter() - started
