"""A copy of a source's published tables, without rows, from what the syncs recorded of them.

Whatever is recorded came from the source: types, defaults and filters are texts of its own, which run here. So a role
without any right outside the copy's database makes everything but the publication of all tables.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import errors, sql

Connection = psycopg.Connection[Any]
Column = Mapping[str, Any]

_TYPE = re.compile(r"^(.*?)(\(.*\))?((?:\[\])*)$", re.DOTALL)
_SEQUENCE = re.compile(r"^nextval\('((?:[^']|'')+)'::regclass\)$")
_QUOTED = re.compile(r'"((?:[^"]|"")+)"')


class Copy:
    """Makes the copy; `notes` says what of a table could not be made as it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.notes: list[str] = []
        # Tables of which the copy says nothing.
        self.left_out: list[str] = []
        self._why = ""

    def make(self, tables: list[dict[str, Any]]) -> None:
        """Makes the tables, as pages have them, that a sync has seen."""
        for table in tables:
            name = table["table_name"]
            if not table.get("replication"):
                self.left_out.append(f"{name} is left out: no sync has seen it")
            elif not self._try(functools.partial(self._table, table)):
                self.left_out.append(f"{name} is left out: it cannot be made here ({self._why})")

    def publish(self, publication: str, tables: list[dict[str, Any]], owner: Connection | None) -> None:
        """Publishes them as the source does; `owner` is a superuser if it publishes all tables."""
        name = sql.Identifier(publication)
        if owner is not None:
            owner.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(name))
            return
        made = [table for table in tables if self._has(table)]
        generated = any(
            column.get("generated") and column.get("is_published") is not False
            for table in made
            for column in table["schema_table"]
        )
        how = sql.SQL("WITH (publish_generated_columns = stored)" if generated else "")
        self._connection.execute(sql.SQL("CREATE PUBLICATION {} {}").format(name, how))
        for table in made:
            member = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(name, identifier(table))
            listed = [column for column in table["schema_table"] if column.get("is_published") is not False]
            if any(c.get("is_published") is False and not c.get("generated") for c in table["schema_table"]):
                names = sql.SQL(", ").join(sql.Identifier(column["column_name"]) for column in listed)
                member = sql.SQL("{} ({})").format(member, names)
            if filtered := table["replication"]["row_filter"]:
                member = sql.SQL("{} WHERE ({})").format(member, _raw(filtered))
            if not self._try(functools.partial(self._connection.execute, member)):
                self.left_out.append(f"{table['table_name']} is left out: it cannot be published here ({self._why})")

    def _has(self, table: dict[str, Any]) -> bool:
        if not table.get("replication"):
            return False
        found = self._connection.execute("SELECT to_regclass(%s)", (identifier(table).as_string(self._connection),))
        row = found.fetchone()
        return row is not None and row[0] is not None

    def _table(self, table: dict[str, Any]) -> None:
        if table["schema_name"] != "public":
            self._run("CREATE SCHEMA IF NOT EXISTS {}", sql.Identifier(table["schema_name"]))
        columns = [self._column(column) for column in table["schema_table"]]
        self._run("CREATE TABLE {} ({})", identifier(table), sql.SQL(", ").join(columns))
        key = sorted((c for c in table["schema_table"] if c["is_primary_key"]), key=_place)
        if key:
            names = sql.SQL(", ").join(sql.Identifier(column["column_name"]) for column in key)
            self._run("ALTER TABLE {} ADD PRIMARY KEY ({})", identifier(table), names)
        self._identity(table)
        for column in table["schema_table"]:
            if column["default_value"] is not None and not column.get("generated"):
                self._default(table, column)

    def _column(self, column: Column) -> sql.Composable:
        parts: list[sql.Composable] = [sql.Identifier(column["column_name"]), _raw(self._type(column))]
        if column["is_nullable"] == "NO":
            parts.append(sql.SQL("NOT NULL"))
        if column.get("identity"):
            parts.append(
                sql.SQL(f"GENERATED {'ALWAYS' if column['identity'] == 'always' else 'BY DEFAULT'} AS IDENTITY")
            )
        if column.get("generated"):
            kind = "STORED" if column["generated"] == "stored" else "VIRTUAL"
            parts.append(sql.SQL(f"GENERATED ALWAYS AS ({{}}) {kind}").format(_raw(column["generation_expression"])))
        return sql.SQL(" ").join(parts)

    def _type(self, column: Column) -> str:
        """The column's type; one that this server lacks is made a domain of its name."""
        exact = str(column["data_type"])
        found = _TYPE.fullmatch(exact)
        assert found is not None
        name, sizes, brackets = found[1], found[2] or "", found[3]
        if self._knows(name + sizes):
            return exact
        if not self._knows(name):
            base = column.get("base_type") or "text"
            if "." in name:
                schema = name.split(".", 1)[0]
                self._run("CREATE SCHEMA IF NOT EXISTS {}", _raw(schema))
            self._run("CREATE DOMAIN {} AS {}", _raw(name), _raw(base if self._knows(base) else "text"))
            self.notes.append(f"type {name} stands for {base if self._knows(base) else 'text'} here")
        return name + brackets

    def _knows(self, name: str) -> bool:
        # Within a savepoint: a text that is no type's name may be an error.
        known = False

        def look() -> None:
            nonlocal known
            row = self._connection.execute("SELECT to_regtype(%s) IS NOT NULL", (name,)).fetchone()
            known = bool(row and row[0])

        self._try(look)
        return known

    def _identity(self, table: dict[str, Any]) -> None:
        kind = table["replication"]["replica_identity"]
        if kind in ("full", "nothing"):
            self._run(f"ALTER TABLE {{}} REPLICA IDENTITY {kind.upper()}", identifier(table))
        elif kind == "index" and table["replication"]["identity_columns"]:
            names = sql.SQL(", ").join(map(sql.Identifier, table["replication"]["identity_columns"]))
            index = sql.Identifier("rosetta_identity_" + str(table["id"]))
            self._run("CREATE UNIQUE INDEX {} ON {} ({})", index, identifier(table), names)
            self._run("ALTER TABLE {} REPLICA IDENTITY USING INDEX {}", identifier(table), index)

    def _default(self, table: dict[str, Any], column: Column) -> None:
        default = str(column["default_value"])

        def set_default() -> None:
            if sequence := _SEQUENCE.match(default):
                self._run("CREATE SEQUENCE IF NOT EXISTS {}", _raw(sequence[1].replace("''", "'")))
            self._run(
                "ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}",
                identifier(table), sql.Identifier(column["column_name"]), _raw(default),
            )  # fmt: skip

        if not self._try(set_default):
            name = f"{table['table_name']}.{column['column_name']}"
            self.notes.append(f"the default of {name} is left out: {default} ({self._why})")

    def _run(self, statement: str, *parts: sql.Composable) -> None:
        self._connection.execute(sql.SQL(statement).format(*parts))

    def _try(self, work: Callable[[], object]) -> bool:
        try:
            with self._connection.transaction():
                work()
        except errors.Error as error:
            self._why = error.diag.message_primary or type(error).__name__
            return False
        return True


def identifier(table: Mapping[str, Any]) -> sql.Identifier:
    """A table of a page by its schema and its own name."""
    schema, name = table["schema_name"], table["table_name"]
    if schema != "public":
        name = name[len(_written(schema)) + 1 :]
        if quoted := _QUOTED.fullmatch(name):
            name = quoted[1].replace('""', '"')
    return sql.Identifier(schema, name)


def _written(part: str) -> str:
    """A part of a table's key: quoted if it has a dot or a double quote."""
    return '"' + part.replace('"', '""') + '"' if re.search(r'[."]', part) else part


def _place(column: Column) -> int:
    return int(column.get("key_position") or 0)


def _raw(text: str) -> sql.Composable:
    """A text of the source: it runs with no right that could do harm."""
    return sql.SQL(text)
