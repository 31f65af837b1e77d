"""Which sources have a table or a column of some name, of which type, and where the same table differs."""

from collections import Counter, defaultdict
from typing import Any

from psycopg.rows import DictRow

from service.database.connection import Connection
from service.database.pool import ConfigDatabase
from service.database.queries import escaped_like, query
from service.sources.column_types import type_name

MOST = 200
_MOST_SENTENCES = 20


async def find(database: ConfigDatabase, text: str, *, most: int = MOST) -> tuple[list[dict[str, Any]], bool]:
    """At most `most` published tables whose name, or a column's, contains `text` in any case; and whether there are
    more.

    Each with `columns`: those whose name does; with `differs`: how it differs, in sentences, from the most frequent
    form of the same table among these. ConfigDatabaseUnavailableError.
    """
    wanted = text.lower()
    parameters = {"pattern": f"%{escaped_like(wanted)}%", "exact": wanted, "count": most + 1}

    async def ask(connection: Connection) -> list[DictRow]:
        # Below the pool's own limit, past which the database would count as away.
        await connection.execute(query("search_settings"), prepare=False)
        return await (await connection.execute(query("find_tables"), parameters, prepare=False)).fetchall()

    rows = await database.in_transaction(ask)
    shown = rows[:most]
    differences = _differences(shown)
    found = [
        {
            "source_id": row["source_id"],
            "source_name": row["source_name"],
            "table_id": row["table_id"],
            "table_name": row["table_name"],
            "columns": [
                {"column_name": column["column_name"], "type": type_name(column)}
                for column in row["columns"]
                if wanted in column["column_name"].lower()
            ],
            "differs": differences[row["table_id"]],
        }
        for row in shown
    ]
    # The database's idea of lower case may be another one (of a dotted I, say): a table without a reason is none.
    return [table for table in found if table["columns"] or wanted in table["table_name"].lower()], len(rows) > most


def _differences(rows: list[dict[str, Any]]) -> dict[int, list[str]]:
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        alike[row["table_name"]].append(row)
    differs: dict[int, list[str]] = {}
    for tables in alike.values():
        forms = [{column["column_name"]: type_name(column) for column in table["columns"]} for table in tables]
        keys = [tuple(sorted(form.items())) for form in forms]
        ((usual, _),) = Counter(keys).most_common(1)
        model = tables[keys.index(usual)]["source_name"]
        for table, form in zip(tables, forms, strict=True):
            differs[table["table_id"]] = _sentences(dict(usual), form, model)
    return differs


def _sentences(usual: dict[str, str], form: dict[str, str], model: str) -> list[str]:
    says = [
        f"{name} is {form[name]}, in {model} {usual[name]}" if name in form else f"{name} is missing, in {model} {kind}"
        for name, kind in sorted(usual.items())
        if form.get(name) != kind
    ]
    says += [f"{name} is not in {model}" for name in sorted(form.keys() - usual.keys())]
    left = len(says) - _MOST_SENTENCES
    return says if left <= 0 else [*says[:_MOST_SENTENCES], f"and {left} more columns"]
