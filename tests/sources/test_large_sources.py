"""A source of many tables: what a sync asks of it grows with their number, not with its square."""

import psycopg

from service.database.queries import query
from tests.fixtures.databases import Sql
from tests.fixtures.plans import nodes

TABLES = 200


def test_no_table_is_compared_with_every_other(shop: Sql) -> None:
    """A planner that expects few tables, as it does of a publication, would loop over all of them for each."""
    for number in range(TABLES):
        shop.execute(f"CREATE TABLE table_{number} (id bigint PRIMARY KEY, name text)")
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    row = (
        psycopg.ClientCursor(shop)
        .execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {query('remote_described')}",
            {"publication": "rosetta", "most_tables": 2 * TABLES},
        )
        .fetchone()
    )
    assert row is not None
    ((plan,),) = row.values()
    found = list(nodes(plan["Plan"]))
    assert found[0]["Actual Rows"] == TABLES
    for node in found:
        removed = node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"]
        assert removed < 10 * TABLES, (node["Node Type"], node.get("Join Filter"))
