"""The plans of the hot statements at 200 sources x 100 tables x 10 versions."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.database.queries import query
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.plans import nodes
from tests.fixtures.view import asked

SOURCES, TABLES, VERSIONS = 200, 100, 10
SOURCE = 117
LARGE = {
    "source_details_tables",
    "table_metadata_list",
    "history_schema_evolution",
    "pipelines",
    "pipelines_destination",
}

FILL = f"""
SET session_replication_role = replica;
INSERT INTO sources (name, pg_host, pg_database, pg_username, publication_name, replication_name)
SELECT 's' || n, 'host', 'db', 'user', 'publication', 'slot' FROM generate_series(1, {SOURCES}) AS n;
INSERT INTO table_metadata_list (source_id, table_name, schema_table)
SELECT s.id, 'table_' || n, (
    SELECT jsonb_object_agg('column_' || c, jsonb_build_object(
        'column_name', 'column_' || c, 'is_nullable', 'NO', 'real_data_type', 'BIGINT', 'numeric_precision', 64,
        'numeric_scale', 0, 'is_primary_key', c = 1, 'has_default', false, 'default_value', NULL))
    FROM generate_series(1, 5) AS c)
FROM sources AS s, generate_series(1, {TABLES}) AS n;
INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type)
SELECT t.id, n, 'NEW COLUMN' FROM table_metadata_list AS t, generate_series(1, {VERSIONS}) AS n;
INSERT INTO destinations (name) SELECT 'destination ' || n FROM generate_series(1, 100) AS n;
INSERT INTO pipelines (name, source_id) SELECT format('p%s-%s', s.id, n), s.id
FROM sources AS s, generate_series(1, 5) AS n;
INSERT INTO pipelines_destination (pipeline_id, destination_id)
SELECT p.id, d.id FROM pipelines AS p, destinations AS d WHERE (p.id + d.id) % 10 = 0;
INSERT INTO wal_monitor (source_id, total_wal_size) SELECT id, '16 MB' FROM sources;
RESET session_replication_role
"""


@pytest.fixture(scope="module")
def large(every_database: Callable[[int], Databases]) -> Iterator[Sql]:
    """The large database, vacuumed, with the visibility maps and statistics that autovacuum would make."""
    databases = every_database(18)
    dsn = databases.migrated()
    with connect(dsn) as connection:
        connection.execute(FILL)
        connection.execute("SELECT source_details_refresh()")
        connection.execute("VACUUM ANALYZE")
        yield connection
    databases.drop()


def explain(connection: Sql, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The executed nodes of a statement's plan, as the service gets it: prepared, with unknown parameters."""
    connection.execute("SET plan_cache_mode = force_generic_plan")
    statement = f"EXPLAIN (ANALYZE, FORMAT JSON) {query(name)}"
    row = connection.execute(statement, parameters, prepare=True).fetchone()
    assert row is not None
    return list(nodes(row["QUERY PLAN"][0]["Plan"]))


def used(plan: list[dict[str, Any]]) -> dict[str, str]:
    """Which indexes were used, and how."""
    return {node["Index Name"]: node["Node Type"] for node in plan if "Index Name" in node}


def scanned(plan: list[dict[str, Any]]) -> set[str]:
    """The large relations that were scanned sequentially; for small ones that may be fastest."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} & LARGE


@pytest.mark.parametrize("names", [None, ["table_1", "table_2"]])
def test_page_is_read_from_the_view_by_index(large: Sql, names: list[str] | None) -> None:
    """No table is scanned, and the history is not read at all."""
    plan = explain(large, "details", asked(SOURCE, names))
    indexes = used(plan)
    assert indexes["source_details_tables_source_id"] in ("Index Scan", "Bitmap Index Scan")
    assert indexes["idx_pipelines_destination_composite"] == "Index Only Scan"
    assert "idx_history_schema_evolution_table_version_composite" not in indexes
    assert scanned(plan) == set()


def test_page_of_a_changed_source_is_read_live_by_index(large: Sql) -> None:
    """The highest version of each table is one entry of the composite index; the history itself is not read."""
    with large.transaction(force_rollback=True):
        large.execute("UPDATE table_metadata_list SET is_published = false WHERE source_id = %s", (SOURCE,))
        plan = explain(large, "details", asked(SOURCE))
    indexes = used(plan)
    assert indexes["idx_history_schema_evolution_table_version_composite"] == "Index Only Scan"
    assert indexes["idx_table_metadata_list_source_id_covering"] in ("Index Scan", "Bitmap Index Scan")
    assert scanned(plan) == set()
    history = [node for node in plan if node.get("Relation Name") == "history_schema_evolution"]
    assert {node["Actual Rows"] for node in history} == {1}


def test_names_of_a_sources_tables_are_in_the_covering_index(large: Sql) -> None:
    """Ids and names are read without the wide rows."""
    row = large.execute(
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT id, table_name FROM table_metadata_list WHERE source_id = %s", (SOURCE,)
    ).fetchone()
    assert row is not None
    plan = list(nodes(row["QUERY PLAN"][0]["Plan"]))
    assert used(plan) == {"idx_table_metadata_list_source_id_covering": "Index Only Scan"}


def test_sync_of_an_unchanged_source_reads_by_index(large: Sql) -> None:
    """It compares only the source's own tables."""
    tables = json.dumps(
        [
            {
                "key": f"table_{n}",
                "schema_name": "public",
                "relation_name": f"table_{n}",
                "described": {
                    "is_seen": True,
                    "replication": {},
                    "columns": [{"recorded": {"column_name": "id"}, "actual": {"column_name": "id"}}],
                },
            }
            for n in range(1, TABLES + 1)
        ]
    )
    with large.transaction(force_rollback=True):
        plan = explain(
            large,
            "record_sync",
            {
                "id": SOURCE, "pg_host": "host", "pg_port": 5432, "pg_database": "db",
                "publication_name": "publication", "replication_name": "slot", "tables_edition": 0,
                "tables": tables, "incarnation": "1/1", "source_snapshot": "1:1:",
                "has_publication": True, "has_slot": True, "sync_number": 1, "seen": "{}", "named_alike": TABLES,
            },
        )  # fmt: skip
    assert scanned(plan) == set()
    assert used(plan)["idx_history_schema_evolution_table_version_composite"] == "Index Only Scan"


def test_fragments_are_sent_one_by_one(large: Sql) -> None:
    """None is a part of a larger value, which would be copied as a whole; the facts come last, and are small."""
    *fragments, last = large.execute(query("details"), asked(SOURCE)).fetchall()
    assert [row["ordinal"] for row in fragments] == list(range(1, TABLES + 1))
    assert all(row["fragment"] and row["facts"] is None for row in fragments)
    assert last["fragment"] is None
    assert len(last["facts"]) < sum(len(row["fragment"]) for row in fragments) / 10
