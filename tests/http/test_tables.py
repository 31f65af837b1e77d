"""The versions of a table's schema in the API, and the names of all tables of a source."""

from typing import Any

import pytest
import redis as sync_redis

from service.sources import table_list
from service.sources.column_types import is_wider, type_name
from service.sources.schema_diff import difference
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service


async def schema(service: Service, table: int, version: int | None = None) -> dict[str, Any]:
    """One version, which must exist."""
    parameters = {} if version is None else {"version": version}
    response = await service.client.get(f"/api/v1/sources/tables/{table}/schema", params=parameters)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def names(columns: list[dict[str, Any]]) -> list[str]:
    """The columns' names, in order."""
    return [column["column_name"] for column in columns]


async def test_each_version_has_its_columns_and_its_difference(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """As syncs recorded them; the latest version is the default, and the one in the details."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2)")
    await service.sync(source)
    published.execute("ALTER TABLE orders DROP COLUMN note, ALTER id TYPE integer, ALTER total TYPE numeric(12, 2)")
    page = await service.sync(source)
    (table,) = page["tables"]
    assert table["version"] == 3
    first, second, third = [await schema(service, table["id"], version) for version in (1, 2, 3)]
    assert first["diff"] is None
    assert names(first["columns"]) == ["id", "note"]
    assert second["diff"] == {
        "new_columns": ["total"], "dropped_columns": [], "type_changes": {},
        "more": {"summary": "+1", "changes": [], "breaking": [], "verdict": "compatible"},
    }  # fmt: skip
    assert third["columns"] == table["schema_table"]
    assert third["diff"]["dropped_columns"] == [
        column for column in first["columns"] if column["column_name"] == "note"
    ]
    assert third["diff"]["type_changes"] == {
        "id": {"old_type": "BIGINT", "new_type": "INTEGER"},
        "total": {"old_type": "NUMERIC(10,2)", "new_type": "NUMERIC(12,2)"},
    }
    assert await schema(service, table["id"]) == third


async def test_version_that_the_history_lacks_is_what_its_neighbours_tell(service: Service, config: Sql) -> None:
    """The platform's programs may have recorded only some versions; every version from 1 on has an answer."""
    table = add_table(config, add_source(config), "t", 1)
    config.execute(
        """
        INSERT INTO history_schema_evolution
            (table_metadata_list_id, version_schema, schema_table_old, schema_table_new)
        VALUES (%(t)s, 3, '{"two": {"real_data_type": "integer"}}', '{"three": {"real_data_type": "integer"}}'),
            (%(t)s, 5, NULL, NULL)
        """,
        {"t": table},
    )
    shown = {version: names((await schema(service, table, version))["columns"]) for version in range(1, 6)}
    assert shown == {1: ["two"], 2: ["two"], 3: ["three"], 4: ["three"], 5: ["column_1"]}
    empty = add_table(config, add_source(config), "empty", 1)
    config.execute("UPDATE table_metadata_list SET schema_table = NULL WHERE id = %s", (empty,))
    assert await schema(service, empty, 1) == {"columns": [], "diff": None, "was_called": None}


@pytest.mark.parametrize("version", [0, -3])
async def test_version_below_one_counts_as_one(service: Service, config: Sql, version: int) -> None:
    """In the details, in the schema's default, and for the sync after it."""
    source = add_source(config)
    table = add_table(config, source)
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, %s)",
        (table, version),
    )
    assert [row["version"] for row in (await service.details(source)).json()["tables"]] == [1]
    assert names((await schema(service, table))["columns"]) == ["column_1", "column_2", "column_3"]
    assert names((await schema(service, table, 1))["columns"]) == ["column_1", "column_2", "column_3"]


@pytest.mark.parametrize(
    ("path", "status", "entity"),
    [
        ("999/schema", 404, "Table"),
        ("0/schema", 404, "Table"),
        ("99999999999/schema", 404, "Table"),
        ("x/schema", 422, None),
        ("{table}/schema?version=2", 404, "TableVersion"),
        ("{table}/schema?version=0", 404, "TableVersion"),
        ("{table}/schema?version=x", 422, None),
        ("{table}/schema?version=-1", 422, None),
    ],
)
async def test_what_is_not_there_is_said(
    service: Service, config: Sql, path: str, status: int, entity: str | None
) -> None:
    """404 for an unknown table or version, 422 if it is not a number."""
    table = add_table(config, add_source(config))
    response = await service.client.get(f"/api/v1/sources/tables/{path.format(table=table)}")
    assert response.status_code == status
    if entity:
        assert response.json()["details"]["entity_type"] == entity


def test_type_names_and_differences() -> None:
    """Precision only if it was declared; a column that only moved is not a change."""

    def column(name: str, kind: str | None, precision: int | None = None, scale: int | None = None) -> dict[str, Any]:
        return {"column_name": name, "real_data_type": kind, "numeric_precision": precision, "numeric_scale": scale}

    assert type_name(column("a", "BIGINT", 64, 0)) == "BIGINT"
    assert type_name(column("a", "NUMERIC", 10, 0)) == "NUMERIC(10)"
    assert type_name(column("a", "NUMERIC")) == "NUMERIC"
    assert type_name(column("a", None)) == "UNKNOWN"
    before, after = [column("a", "TEXT"), column("b", "TEXT")], [column("b", "TEXT"), column("a", "TEXT")]
    nothing: dict[str, Any] = {"summary": "", "changes": [], "breaking": [], "verdict": None}
    assert difference(before, after) == {
        "new_columns": [], "dropped_columns": [], "type_changes": {}, "more": nothing,
    }  # fmt: skip
    assert difference(None, after) is None


@pytest.mark.parametrize(
    ("old", "new", "is_held"),
    [
        ("character varying(10)", "character varying(200)", True), ("character varying(200)", "text", True),
        ("text", "character varying(200)", False), ("integer", "bigint", True), ("bigint", "integer", False),
        ("numeric(10,2)", "numeric(12,2)", True), ("numeric(10,2)", "numeric(10,4)", False),
        ("integer[]", "bigint[]", True), ("integer[]", "text[]", False), ("integer", "integer[]", False),
        ("timestamp(3) without time zone", "timestamp without time zone", True),
        ("timestamp without time zone", "timestamp with time zone", False), ("mood", "other_mood", False),
        ("bit(4)", "bit(5)", False), ("character(3)", "character varying(2)", False),
        ("numeric", "numeric(5,-2)", False),
    ],
)  # fmt: skip
def test_wider_types_hold_every_value(old: str, new: str, is_held: bool) -> None:  # a parameter
    """Any other change of a type may break a consumer."""
    assert is_wider(old, new) is is_held


async def available(service: Service, source: int, query: str = "") -> tuple[list[str], str]:
    """The names, and Cache-Status."""
    response = await service.client.get(f"/api/v1/sources/{source}/available_tables{query}")
    assert response.status_code == 200, response.text
    return response.json(), response.headers["cache-status"]


async def test_available_tables_are_all_that_the_source_has(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, redis: sync_redis.Redis
) -> None:
    """Published or not, those that the platform can add; remembered for five minutes, or until refresh=true."""
    shop.execute("CREATE TABLE orders (id int); CREATE SCHEMA sales; CREATE TABLE sales.lines (id int)")
    shop.execute("CREATE VIEW seen AS SELECT 1; CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    shop.execute("CREATE UNLOGGED TABLE fast (id int); CREATE TEMP TABLE here (id int)")
    shop.execute("CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far")
    shop.execute("CREATE FOREIGN TABLE afar (id int) SERVER far")
    shop.execute("CREATE TABLE of_extension (id int); ALTER EXTENSION plpgsql ADD TABLE of_extension")
    source = add_source(config, shop_dsn)
    wanted = ["orders", "parts"]
    assert await available(service, source) == (wanted, "rosetta; fwd=miss")
    shop.execute("CREATE TABLE more (id int)")
    assert await available(service, source) == (wanted, "rosetta; hit; detail=redis")
    life = redis.pttl(f"{{source_details:{source}}}:tables")
    assert 0 < life <= table_list._LIFE_MS == 300_000
    assert await available(service, source, "?refresh=true") == (["more", *wanted], "rosetta; fwd=bypass")
    assert (await available(service, source))[0] == ["more", *wanted]


async def test_available_tables_of_another_place_are_not_these(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, redis: sync_redis.Redis
) -> None:
    """After a change of address the new place is asked; so is the source if Redis contains nonsense."""
    shop.execute("CREATE TABLE orders (id int)")
    source = add_source(config, shop_dsn)
    assert (await available(service, source))[0] == ["orders"]
    config.execute("UPDATE sources SET publication_name = 'another' WHERE id = %s", (source,))
    assert (await available(service, source))[1] == "rosetta; fwd=miss"
    for nonsense in ("x", "[]", '{"place": 1, "names": [1]}'):
        redis.set(f"{{source_details:{source}}}:tables", nonsense)
        assert (await available(service, source))[1] == "rosetta; fwd=miss"


async def test_available_tables_of_a_dead_source_are_those_that_are_known(service: Service, config: Sql) -> None:
    """Always an array; Cache-Status says that it is old."""
    source = add_source(config)
    add_table(config, source, "known")
    add_table(config, source, None)
    expected = (["known"], 'rosetta; fwd=stale; detail="the source does not answer"')
    assert await available(service, source) == expected
    assert await available(service, source) == expected
    response = await service.client.get("/api/v1/sources/999/available_tables")
    assert response.status_code == 404
    assert (await service.client.get(f"/api/v1/sources/{source}/available_tables?refresh=x")).status_code == 422


async def test_available_tables_without_redis_come_from_the_source(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Every time."""
    shop.execute("CREATE TABLE orders (id int)")
    source = add_source(config, shop_dsn)
    service.runtime.cache.fail("taken away")
    assert await available(service, source) == (["orders"], "rosetta; fwd=miss")
