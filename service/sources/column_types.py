"""The types of columns, as people write them, and whether one type holds every value of another."""

import re
from typing import Any

Column = dict[str, Any]

# For all other types, precision and scale follow from the type.
_SIZED = {"NUMERIC", "DECIMAL"}
# What the platform's monitor records of these says nothing; a sync has not seen them at the source.
_UNKNOWN = {"ARRAY": "array (elements not recorded)", "USER-DEFINED": "user-defined (name not recorded)"}
_PARTS = re.compile(r"([a-z\" ]+?)(?:\((\d+)(?:,(-?\d+))?\))?((?: with(?:out)? time zone)?(?:\[\])*)")
# Each type holds every value of those before it.
_GROWING = (
    ("smallint", "integer", "bigint", "numeric"),
    ("real", "double precision"),
    ("character", "character varying", "text"),
    ("bit", "bit varying"),
)


def type_name(column: Column) -> str:
    """A column's type: exact where a sync has seen it (`numeric(10,2)`, `text[]`), else as the platform recorded it."""
    if exact := column.get("data_type"):
        base = column.get("base_type")
        return f"{exact} ({base})" if base else str(exact)
    return recorded_type_name(column)


def type_names(old: Column, new: Column) -> tuple[str, str]:
    """The types of a column before and after a change. As the platform has always named them if that says everything;
    exact if not, and if both are known.
    """
    exact, recorded = (type_name(old), type_name(new)), (recorded_type_name(old), recorded_type_name(new))
    if not (old.get("data_type") and new.get("data_type")):
        return recorded
    return recorded if tuple(map(str.upper, exact)) == recorded else exact


def recorded_type_name(column: Column) -> str:
    """A column's type as the platform's monitor records it: upper case, `NUMERIC(10,2)`."""
    name = str(column["real_data_type"] or "UNKNOWN")
    precision, scale = column["numeric_precision"], column["numeric_scale"]
    if name not in _SIZED or precision is None:
        return _UNKNOWN.get(name, name)
    return f"{name}({precision},{scale})" if scale else f"{name}({precision})"


def is_wider(old: str, new: str) -> bool:
    """Whether every value of the exact type `old` is one of `new`. False if that is not known."""
    before, after = _PARTS.fullmatch(old), _PARTS.fullmatch(new)
    if before is None or after is None or before[4] != after[4]:
        return False
    if before[1] == after[1]:
        return _holds(before[1], _sizes(before), _sizes(after))
    return any(
        before[1] in line
        and after[1] in line
        and line.index(before[1]) < line.index(after[1])
        and _holds(after[1], _sizes(before), _sizes(after))
        for line in _GROWING
    )


def _sizes(parts: "re.Match[str]") -> tuple[int, int] | None:
    return None if parts[2] is None else (int(parts[2]), int(parts[3] or 0))


def _holds(name: str, before: tuple[int, int] | None, after: tuple[int, int] | None) -> bool:
    if after is None:
        return True
    if before is None:
        return False
    if name == "numeric":
        return before[0] - before[1] <= after[0] - after[1] and before[1] <= after[1]
    return before <= after if name != "bit" else before == after
