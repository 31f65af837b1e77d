"""The search across sources: tables and columns by name, their types, and where the same table differs."""

import html
import json
import re
from time import perf_counter
from typing import Any

import pytest

from service.database.queries import query
from tests.fixtures.commands import Command
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.operations


async def found(service: Service, text: str, **more: Any) -> list[tuple[str, str, list[str], list[str]]]:
    """Table, source, columns with their types, differences."""
    response = await service.client.get("/api/v1/find", params={"q": text} | more)
    assert response.status_code == 200, response.text
    return [
        (
            table["table_name"],
            table["source_name"],
            [f"{column['column_name']} {column['type']}" for column in table["columns"]],
            table["differs"],
        )
        for table in response.json()["tables"]
    ]


async def test_same_table_of_several_sources_is_compared(
    service: Service, config: Sql, published: Sql, shop_dsn: str, databases: Databases, rosetta: Command
) -> None:
    """By the most frequent form; exact types. By a column too, on the page and by the command."""
    add_source(config, shop_dsn, name="shop")
    published.execute('CREATE SCHEMA other; CREATE TABLE other."Kept Orders" (note text)')
    other_dsn = databases.create()
    add_source(config, other_dsn, name="archive")
    add_source(config, shop_dsn, name="twin")
    with connect(other_dsn) as archive:
        archive.execute("CREATE TABLE orders (id int PRIMARY KEY, total numeric(10,2))")
        archive.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    for source in (1, 2, 3):
        await service.sync(source)
    same: tuple[str, str, list[str], list[str]] = ("orders", "shop", [], [])
    differs = [
        "id is integer, in shop bigint", "note is missing, in shop character varying(20)", "total is not in shop",
    ]  # fmt: skip
    kept = "other.Kept Orders"
    assert await found(service, " ORDERS ") == [
        ("orders", "archive", [], differs), same, ("orders", "twin", [], []),
        (kept, "shop", [], []), (kept, "twin", [], []),
    ]  # fmt: skip
    assert await found(service, "not") == [
        ("orders", "shop", ["note character varying(20)"], []), ("orders", "twin", ["note character varying(20)"], []),
        (kept, "shop", ["note text"], []), (kept, "twin", ["note text"], []),
    ]  # fmt: skip
    page = html.unescape(re.sub(r"<[^>]*>", " ", (await service.client.get("/find?q=total")).text))
    assert re.search(r"orders\s+archive\s+total\s+numeric\(10,2\)", page)
    told = rosetta("find", "total")
    assert re.fullmatch(r"table +source +columns +differs\norders +archive +total numeric\(10,2\)\n", told.stdout)
    assert json.loads(rosetta("find", "orders", "--count", "2", "--json").stdout)["is_cut"] is True
    none = rosetta("find", "weather")
    assert (none.returncode, none.stdout) == (1, "")
    assert "'weather'" in none.stderr


async def test_what_another_program_recorded_is_found(service: Service, config: Sql) -> None:
    """Without a sync; special characters stand for themselves, and tables that are not published are not found."""
    source = add_source(config, name="shop")
    add_table(config, source, "a_b")
    add_table(config, source, "axb")
    add_table(config, source, "100%")
    config.execute("UPDATE table_metadata_list SET is_published = false WHERE table_name = 'axb'")
    config.execute("INSERT INTO table_metadata_list (source_id, table_name, schema_table) VALUES (1, 'odd', '[1]')")
    assert [table for table, *_ in await found(service, "a_b")] == ["a_b"]
    assert [table for table, *_ in await found(service, "%")] == ["100%"]
    assert [(table, columns) for table, _, columns, _ in await found(service, "COLUMN_2")] == [
        ("100%", ["column_2 BIGINT"]), ("a_b", ["column_2 BIGINT"]),
    ]  # fmt: skip
    assert await found(service, "\\") == []
    for wrong in ("", "q=", "q=%20", "q=a%00b", "q=a&limit=201"):
        assert (await service.client.get(f"/api/v1/find?{wrong}")).status_code == 422
    assert "Nothing found" in (await service.client.get("/find?q=weather")).text
    assert (await service.client.get("/find")).status_code == 200


@pytest.mark.alone
def test_finding_among_a_hundred_thousand_tables_reads_names_alone(databases: Databases) -> None:
    """Nothing of their schemas, which are stored apart: only what is found is taken out. As a ratio of one run."""
    dsn = databases.migrated()
    with connect(dsn) as config:
        source = add_source(config)
        config.execute("SET session_replication_role = replica")
        config.execute(
            """
            INSERT INTO table_metadata_list (source_id, table_name, column_order, schema_table)
            SELECT %s, 'table_' || n, columns.names, columns.schema
            FROM generate_series(1, 100000) AS n
            CROSS JOIN LATERAL (
                SELECT
                    array_agg('column_' || c ORDER BY c) AS names,
                    jsonb_object_agg('column_' || c, jsonb_build_object('column_name', 'column_' || c,
                        'real_data_type', 'BIGINT', 'default_value', md5(n::text || c))) AS schema
                FROM generate_series(1, 25) AS c
            ) AS columns
            """,
            (source,),
        )
        config.execute("VACUUM ANALYZE table_metadata_list")

        def took_s(statement: str, parameters: dict[str, Any]) -> float:
            times = []
            for _ in range(3):
                started = perf_counter()
                config.execute(statement.encode(), parameters).fetchall()
                times.append(perf_counter() - started)
            return min(times)

        rare = took_s(query("find_tables"), {"pattern": "%table\\_99999%", "exact": "table_99999", "count": 201})
        names = took_s(
            "SELECT count(*) FROM table_metadata_list "
            "WHERE is_published AND lower(array_to_string(column_order, E'\\n')) LIKE '%%zzz%%'",
            {},
        )
        print(f"find among 100,000 tables: {rare * 1000:.0f} ms, their names alone {names * 1000:.0f} ms")
        assert rare < 2 * names + 0.1
