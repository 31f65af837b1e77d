"""Whether a change of a table breaks anybody, and whom: the rules of docs/changes.md, each of them a test."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from service.sources.column_types import Column, is_wider, type_name

Verdict = Literal["compatible", "breaking", "unknown"]
# By what changed and its new value: whom it breaks.
_BROKEN: Mapping[tuple[str, Any], str] = {
    ("is_primary_key", False): "programs that find rows by the key",
    ("is_published", False): "programs that read it",
    ("is_nullable", "NO"): "programs that write NULL at the source",
    ("is_nullable", "YES"): "programs that store it as NOT NULL",
}


def broken_by(what: str, old: Any, new: Any) -> str | None:
    """Whom a change of that kind breaks, None if nobody: `what` as in the changes of a difference."""
    if what == "column_name":
        return "programs that read it by its old name"
    if what == "remade":
        return "programs that read it"
    if what == "row_filter":
        return "programs that expect all rows" if new is not None and old is None else None
    if what == "fails":
        return "programs that write at the source" if new is not None else None
    if what == "identity_columns":
        return "programs that find rows by what UPDATE and DELETE name" if old is not None else None
    return _BROKEN.get((what, new)) if isinstance(new, bool | str) else None


def breaking_drop(column: Column) -> str:
    """The sentence about a dropped column."""
    return f"{column['column_name']} is dropped (programs that read it)"


def retyped(name: str, change: Mapping[str, str]) -> str:
    """What is said of a column's other type."""
    return f"{name} changes from {change['old_type']} to {change['new_type']}"


def breaking_types(pairs: list[tuple[Column, Column]], types: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Sentences about the columns, as (before, after), whose type may not hold all values of the one before."""
    for old, new in pairs:
        change = types.get(new["column_name"])
        if change and not is_wider(_base(old), _base(new)):
            says = f"{retyped(new['column_name'], change)}, which may not hold its values"
            yield f"{says} (programs that write or cast it)"


def verdict(changes: list[dict[str, Any]], breaking: list[str], *, is_any: bool, is_seen: bool) -> Verdict | None:
    """The verdict on a whole difference; None if nothing changed.

    Columns that no sync has seen (`is_seen` is false) have types without lengths: that they are compatible cannot be
    said. Nor can it of two row filters.
    """
    if not is_any:
        return None
    if breaking:
        return "breaking"
    is_another_filter = any(
        change["what"] == "row_filter" and None not in (change["old"], change["new"]) for change in changes
    )
    return "compatible" if is_seen and not is_another_filter else "unknown"


def _base(column: Column) -> str:
    return str(column.get("base_type") or column.get("data_type") or type_name(column).lower())
