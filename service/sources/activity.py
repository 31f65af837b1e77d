"""The activity of published tables: size, rows, writes a minute, last write, from the statistics of their source."""

from typing import Any

from service.database.pool import ConfigDatabase
from service.errors import EntityNotFoundError

MOST = 1000
_SHOWN = ("table_id", "table_name", "bytes", "rows", "writes_a_minute", "last_write_at")


async def activity(
    database: ConfigDatabase, source_id: int, *, count: int = MOST, table_id: int | None = None
) -> tuple[str, str | None, list[dict[str, Any]]]:
    """The source's name, as of when, and at most `count` of its published tables, the busiest first, or one of them.

    None are known unless the service's own WAL monitor runs. EntityNotFoundError, ConfigDatabaseUnavailableError.
    """
    rows = await database.fetch_all("activity", id=source_id, count=count, table_id=table_id)
    if not rows:
        raise EntityNotFoundError("Source", str(source_id))
    known = [{name: row[name] for name in _SHOWN} for row in rows if row["table_id"] is not None]
    return rows[0]["source_name"], rows[0]["as_of"] if known else None, known
