"""What of a published table will not arrive, or arrives at a price: sentences about one table of a page."""

from collections.abc import Iterator, Mapping
from typing import Any

_MOST_NAMES = 5
# https://www.postgresql.org/docs/current/sql-createpublication.html, publish_via_partition_root
_PARTITIONS = {
    "root": "its partitions arrive under its name: that one was truncated, detached or dropped does not",
    "leaf": "it is a partition: its rows arrive under its own name, not its parent's",
}


def traps(table: Mapping[str, Any]) -> list[str]:
    """The traps of a table as a page has it (`schema_table`, `replication`); empty if all of it arrives.

    What fails at the source is in `replication.fails`. None of a table that no sync has seen: nothing is known of it.
    """
    return list(_traps(table)) if table.get("replication") else []


def _traps(table: Mapping[str, Any]) -> Iterator[str]:
    replication, columns = table["replication"], table["schema_table"]
    if replication["row_filter"]:
        yield f"only rows where {replication['row_filter']} arrive"
    missing = [column for column in columns if column.get("is_published") is False]
    for names, why in (
        ([column["column_name"] for column in missing if not column.get("generated")], "not in the publication's list"),
        ([column["column_name"] for column in missing if column.get("generated")], "generated"),
    ):
        if names:
            listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
            yield f"{listed} {'does' if len(names) == 1 else 'do'} not arrive ({why})"
    if part := replication.get("partition"):
        yield _PARTITIONS[part]
    has_key = any(column["is_primary_key"] for column in columns)
    if replication["replica_identity"] == "full" and not has_key:
        yield "it has no key: UPDATE and DELETE name a row by all of its old values"
