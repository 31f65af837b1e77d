"""What changed from one version of a table's schema to the next.

Columns are as pages show them: objects with `column_name`, `real_data_type` and so on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from service.sources.column_types import Column, is_wider, type_name, type_names

# What only a sync knows of a column: a version that no sync has seen says nothing about it.
_SEEN = ("key_position", "identity", "generated", "generation_expression", "is_published")
# The platform writes these as the source's role sees them. They compare only with their like.
_AS_THE_ROLE_SEES = ("is_primary_key", "default_value")


def difference(
    older: Sequence[Column] | None,
    newer: Sequence[Column],
    filters: tuple[str | None, str | None] | None = None,
) -> dict[str, Any] | None:
    """What `newer` changed; None without `older`. `filters`: the row filters of both, if both are known.

    `new_columns` (names), `dropped_columns` (as they were) and `type_changes` by name; and `more`: `changes`, each with
    its `column` (None: the table), `what`, `old`, `new` and a sentence; `breaking`: sentences about what a consumer
    may not survive; `summary`: counts of added, dropped and changed columns, as "+1 -1 ~2".
    """
    if older is None:
        return None
    before = {column["column_name"]: column for column in older}
    after = {column["column_name"]: column for column in newer}
    kept = [name for name in after if name in before]
    types = {
        name: {"old_type": old, "new_type": new}
        for name, (old, new) in ((name, type_names(before[name], after[name])) for name in kept)
        if old != new
    }
    new_columns = [name for name in after if name not in before]
    dropped = [column for name, column in before.items() if name not in after]
    changes = [change for name in kept for change in _column_changes(before[name], after[name])]
    changed = set(types) | {change["column"] for change in changes}
    # The platform records no order.
    order = [name for name in before if name in after] if _are_seen([*older, *newer]) else kept
    changes += _table_changes(order, kept, filters)
    counts = (("+", len(new_columns)), ("-", len(dropped)), ("~", len(changed)))
    return {
        "new_columns": new_columns,
        "dropped_columns": dropped,
        "type_changes": types,
        "more": {
            "summary": " ".join(f"{sign}{count}" for sign, count in counts if count),
            "changes": changes,
            "breaking": [*_breaking(dropped, types, before, after), *_lost(changes)],
        },
    }


def version_difference(older: dict[str, Any] | None, newer: dict[str, Any]) -> dict[str, Any] | None:
    """The difference of two rows of `table_versions`; None without `older`."""
    if older is None:
        return None
    filters = None
    if older["replication"] and newer["replication"]:
        filters = older["replication"]["row_filter"], newer["replication"]["row_filter"]
    return difference(older["columns"], newer["columns"], filters)


def _are_seen(columns: Sequence[Column]) -> bool:
    return all(column.get("data_type") for column in columns)


def _column_changes(old: Column, new: Column) -> Iterator[dict[str, Any]]:
    name = new["column_name"]
    attributes = ["is_nullable"]
    if bool(old.get("data_type")) == bool(new.get("data_type")):
        attributes += _AS_THE_ROLE_SEES
    if old.get("data_type") and new.get("data_type"):
        attributes += _SEEN
    for what in attributes:
        if old.get(what) == new.get(what):
            continue
        if what == "key_position" and old.get("is_primary_key") != new.get("is_primary_key"):
            continue
        change = {"column": name, "what": what, "old": old.get(what), "new": new.get(what)}
        yield change | {"says": _says(**change)}


def _says(column: str, what: str, old: Any, new: Any) -> str:
    words: dict[str, str] = {
        "is_nullable": f"{column} is no longer nullable" if new == "NO" else f"{column} may be null now",
        "is_primary_key": f"{column} is {'now in the primary key' if new else 'no longer in the primary key'}",
        "key_position": f"{column} is column {new} of the key, and was column {old}",
        "identity": f"{column} is generated as identity {new}" if new else f"{column} is no longer an identity",
        "generated": f"{column} is a {new} generated column now" if new else f"{column} is no longer generated",
        "generation_expression": f"{column} is generated as {new}" if new else f"{column} is no longer computed",
        "is_published": f"{column} no longer arrives" if new is False else f"{column} arrives now",
        "default_value": f"{column} has no default any more; it was {old}",
    }
    if what == "default_value" and new is not None:
        return f"{column} has the default {new}" + ("" if old is None else f" now; it was {old}")
    return words[what]


def _table_changes(
    order_before: list[str], order_after: list[str], filters: tuple[str | None, str | None] | None
) -> Iterator[dict[str, Any]]:
    if order_before != order_after:
        change = {"column": None, "what": "order", "old": order_before, "new": order_after}
        yield change | {"says": "the order of the columns is another"}
    if filters is not None and filters[0] != filters[1]:
        old, new = filters
        says = f"only rows where {new} arrive" if new else "all rows arrive"
        yield {"column": None, "what": "row_filter", "old": old, "new": new, "says": says}


def _breaking(
    dropped: list[Column], types: dict[str, dict[str, str]], before: dict[str, Column], after: dict[str, Column]
) -> Iterator[str]:
    for column in dropped:
        yield f"{column['column_name']} is dropped"
    for name, change in types.items():
        if not is_wider(_base(before[name]), _base(after[name])):
            yield f"{name} changes from {change['old_type']} to {change['new_type']}, which may not hold its values"


def _base(column: Column) -> str:
    return str(column.get("base_type") or column.get("data_type") or type_name(column).lower())


def _lost(changes: list[dict[str, Any]]) -> Iterator[str]:
    for change in changes:
        if (change["what"], change["new"]) in (("is_primary_key", False), ("is_published", False)):
            yield change["says"]
