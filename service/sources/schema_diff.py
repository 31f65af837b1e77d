"""What changed from one version of a table's schema to the next.

Columns are as pages show them: objects with `column_name`, `real_data_type` and so on.
"""

from collections.abc import Sequence
from typing import Any

Column = dict[str, Any]

# For all other types, precision and scale follow from the type.
_SIZED = {"NUMERIC", "DECIMAL"}


def type_name(column: Column) -> str:
    """A column's type as people write it: `NUMERIC(10,2)`, `BIGINT`."""
    name = str(column["real_data_type"] or "UNKNOWN")
    precision, scale = column["numeric_precision"], column["numeric_scale"]
    if name not in _SIZED or precision is None:
        return name
    return f"{name}({precision},{scale})" if scale else f"{name}({precision})"


def difference(older: Sequence[Column] | None, newer: Sequence[Column]) -> dict[str, Any] | None:
    """`new_columns` (names), `dropped_columns` (as they were) and `type_changes` by name; None without `older`."""
    if older is None:
        return None
    before = {column["column_name"]: column for column in older}
    after = {column["column_name"]: column for column in newer}
    types = {
        name: {"old_type": type_name(before[name]), "new_type": type_name(column)}
        for name, column in after.items()
        if name in before and type_name(before[name]) != type_name(column)
    }
    return {
        "new_columns": [name for name in after if name not in before],
        "dropped_columns": [column for name, column in before.items() if name not in after],
        "type_changes": types,
    }
