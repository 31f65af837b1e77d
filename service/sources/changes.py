"""The latest changes of a source's tables, each with what it changed and the verdict on it."""

from collections.abc import Mapping
from typing import Any

from service.database.pool import ConfigDatabase
from service.sources.schema_diff import version_difference
from service.sources.verdicts import retyped


async def latest_changes(database: ConfigDatabase, source_id: int, count: int) -> list[dict[str, Any]]:
    """At most `count` changes, the latest first: rows of `latest_changes`, with `diff` as of `version_difference`.

    ConfigDatabaseUnavailableError.
    """
    changes = await database.fetch_all("latest_changes", id=source_id, count=count)
    for change in changes:
        change["diff"] = await change_at(database, change["table_id"], change["version"])
    return changes


async def change_at(database: ConfigDatabase, table_id: int, version: int) -> dict[str, Any] | None:
    """What a version of a table changed, as of `version_difference`; None if that is not known any more.

    ConfigDatabaseUnavailableError.
    """
    row = await database.fetch_one("table_versions", id=table_id, highest=version, count=2)
    versions = row["versions"] if row else []
    # A table that was recorded anew has no such version.
    is_there = len(versions) > 1 and versions[0]["version"] == version
    return version_difference(versions[1], versions[0]) if is_there else None


def sentences(diff: Mapping[str, Any] | None) -> list[str]:
    """Everything that a difference says, a sentence each: first what breaks whom."""
    if diff is None:
        return []
    more = diff["more"]
    breaking = list(more["breaking"])
    renamed = {change["column"] for change in more["changes"] if change["what"] == "column_name"}
    added = [f"{name} is added" for name in diff["new_columns"] if name not in renamed]
    types = [retyped(name, change) for name, change in diff["type_changes"].items()]
    others = [change["says"] for change in more["changes"] if not change["breaks"]]
    return breaking + added + [says for says in types if not any(told.startswith(says) for told in breaking)] + others
