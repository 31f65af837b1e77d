"""What changed from one version of a table's schema to the next.

Columns are as pages show them: objects with `column_name`, `real_data_type` and so on.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from service.sources.column_types import Column, type_names
from service.sources.verdicts import breaking_drop, breaking_types, broken_by, verdict

# What only a sync knows of a column: a version that no sync has seen says nothing about it.
_SEEN = ("key_position", "identity", "generated", "generation_expression", "is_published")
# The platform writes these as the source's role sees them. They compare only with their like.
_AS_THE_ROLE_SEES = ("is_primary_key", "default_value")


def difference(
    older: Sequence[Column] | None,
    newer: Sequence[Column],
    *,
    replication: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
    renamed: Mapping[str, str] | None = None,
    remade: Collection[str] = (),
) -> dict[str, Any] | None:
    """What `newer` changed; None without `older`.

    `replication`: that of both, if both are known. `renamed`: the earlier name of each column that has another one.
    `remade`: columns that were dropped and added anew.

    `new_columns` (names), `dropped_columns` (as they were) and `type_changes` by name; the first two are as the
    platform has them, with a renamed column in both. And `more`: `changes`, each with its `column` (None: the table),
    `what`, `old`, `new`, a sentence and whom it `breaks`; `breaking`: sentences about what breaks whom; `verdict`:
    breaking, compatible, unknown, or None if nothing changed; `summary`: counts of added, dropped and changed columns,
    as "+1 -1 ~2".
    """
    if older is None:
        return None
    before = {column["column_name"]: column for column in older}
    after = {column["column_name"]: column for column in newer}
    earlier = {name: old for name, old in (renamed or {}).items() if name in after and old in before}
    taken = set(earlier.values())
    pairs = [
        (before[earlier.get(name, name)], column)
        for name, column in after.items()
        if name in earlier or (name in before and name not in taken)
    ]
    types = {
        new["column_name"]: {"old_type": was, "new_type": becomes}
        for old, new, was, becomes in ((old, new, *type_names(old, new)) for old, new in pairs)
        if was != becomes
    }
    changes = [change for old, new in pairs for change in _column_changes(old, new)]
    changes += [_remade(name) for name in after if name in remade]
    changed = set(types) | {change["column"] for change in changes}
    # The platform records no order.
    order_after = [old["column_name"] for old, _ in pairs]
    kept = set(order_after)
    is_seen = _are_seen([*older, *newer])
    changes += _table_changes([name for name in before if name in kept] if is_seen else order_after, order_after)
    if replication:
        changes += _replication_changes(*replication, {old: name for name, old in earlier.items()})
    gone = [column for name, column in before.items() if name not in kept]
    added = len(after) - len(pairs)
    counts = (("+", added), ("-", len(gone)), ("~", len(changed)))
    breaking = [*map(breaking_drop, gone), *breaking_types(pairs, types), *_broken(changes)]
    is_any = bool(changes or types or gone or added)
    return {
        "new_columns": [name for name in after if name not in before],
        "dropped_columns": [column for name, column in before.items() if name not in after],
        "type_changes": types,
        "more": {
            "summary": " ".join(f"{sign}{count}" for sign, count in counts if count),
            "changes": changes,
            "breaking": breaking,
            "verdict": verdict(changes, breaking, is_any=is_any, is_seen=is_seen),
        },
    }


def version_difference(older: dict[str, Any] | None, newer: dict[str, Any]) -> dict[str, Any] | None:
    """The difference of two rows of `table_versions`; None without `older`."""
    if older is None:
        return None
    replication = None
    if older["replication"] and newer["replication"]:
        replication = older["replication"], newer["replication"]
    renamed, remade = _followed(older.get("identity"), newer.get("identity"))
    return difference(older["columns"], newer["columns"], replication=replication, renamed=renamed, remade=remade)


def _followed(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[dict[str, str], frozenset[str]]:
    """The earlier name of each column that has another one now, and the columns that were dropped and added anew.

    A rename keeps a column's number in its relation, and no number is used twice:
    https://www.postgresql.org/docs/current/catalog-pg-attribute.html
    """
    if not (before and after and before["relation"] == after["relation"]):
        return {}, frozenset()
    old, new = before["attnums"], after["attnums"]
    names = {number: name for name, number in old.items()}
    renamed = {name: names[number] for name, number in new.items() if names.get(number, name) != name}
    numbers = set(new.values())
    remade = {name for name, number in new.items() if number not in names and name in old and old[name] not in numbers}
    return renamed, frozenset(remade)


def _are_seen(columns: Sequence[Column]) -> bool:
    return all(column.get("data_type") for column in columns)


def _column_changes(old: Column, new: Column) -> Iterator[dict[str, Any]]:
    name = new["column_name"]
    if old["column_name"] != name:
        change = {"column": name, "what": "column_name", "old": old["column_name"], "new": name}
        yield _said(change, f"{old['column_name']} is called {name} now")
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
        yield _said(change, _says(**change))


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


def _table_changes(order_before: list[str], order_after: list[str]) -> Iterator[dict[str, Any]]:
    if order_before != order_after:
        change = {"column": None, "what": "order", "old": order_before, "new": order_after}
        yield _said(change, "the order of the columns is another")


def _remade(name: str) -> dict[str, Any]:
    change = {"column": name, "what": "remade", "old": None, "new": None}
    return _said(change, f"{name} was dropped and added anew: its values are gone")


def _replication_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], called_now: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    for what in ("row_filter", "identity_columns", "fails"):
        old, new = before.get(what), after.get(what)
        if what == "identity_columns":
            old, new = _identity(before), _identity(after)
            # A key whose column has another name is the same key.
            if isinstance(old, list) and sorted(called_now.get(name, name) for name in old) == sorted(new or ()):
                continue
        if old != new:
            change = {"column": None, "what": what, "old": old, "new": new}
            yield _said(change, _says_of_table(what, old, new))


def _says_of_table(what: str, old: Any, new: Any) -> str:
    if what == "row_filter":
        return f"only rows where {new} arrive" if new else "all rows arrive"
    if what == "fails":
        return str(new or f"no longer: {old}")
    named, was = (", ".join(by) if isinstance(by, list) else by or "nothing" for by in (new, old))
    return f"UPDATE and DELETE name a row by {named} now, and by {was} before"


def _identity(replication: Mapping[str, Any]) -> list[str] | str | None:
    if replication["replica_identity"] == "full":
        return "the whole row"
    columns: list[str] | None = replication["identity_columns"]
    return columns


def _said(change: dict[str, Any], says: str) -> dict[str, Any]:
    return change | {"says": says, "breaks": broken_by(change["what"], change["old"], change["new"])}


def _broken(changes: list[dict[str, Any]]) -> Iterator[str]:
    return (f"{change['says']} ({change['breaks']})" for change in changes if change["breaks"])
