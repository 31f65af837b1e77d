"""A source of many tables: what a sync costs grows with their number, not with its square."""

from typing import Any

import psycopg
import pytest

from service.database.queries import query
from service.sources import sync
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.plans import nodes
from tests.fixtures.runtime import Service

TABLES = 200


@pytest.fixture
def large(shop: Sql) -> Sql:
    """A source with many published tables."""
    for number in range(TABLES):
        shop.execute(f"CREATE TABLE table_{number} (id bigint PRIMARY KEY, name text)")
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    return shop


class ExplainedError(Exception):
    """A statement was explained; what it did is rolled back."""


class Explaining:
    """A connection that explains `record_sync`, and executes everything else."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, text: str, *arguments: Any, **options: Any) -> Any:
        """ExplainedError, with the plan, for that statement."""
        if text != query("record_sync"):
            return await self._connection.execute(text, *arguments, **options)
        cursor = await self._connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *arguments, **options)
        raise ExplainedError(*(await cursor.fetchone()).values())


def test_no_table_is_compared_with_every_other(large: Sql) -> None:
    """A planner that expects few tables, as it does of a publication, would loop over all of them for each."""
    row = (
        psycopg.ClientCursor(large)
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


async def test_no_change_is_compared_with_every_other(
    service: Service, config: Sql, large: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that alters every table of a source."""
    source = add_source(config, shop_dsn)
    assert (await service.runtime.synchronizer.sync(source)).count == TABLES
    for number in range(TABLES):
        large.execute(f"ALTER TABLE table_{number} ADD COLUMN extra int, DROP COLUMN name")
    record: Any = sync._record
    monkeypatch.setattr(sync, "_record", lambda connection, **given: record(Explaining(connection), **given))
    with pytest.raises(ExplainedError) as explained:
        await service.runtime.synchronizer.sync(source)
    ((plan,),) = explained.value.args
    found = list(nodes(plan["Plan"]))
    assert any(node.get("Subplan Name") == "CTE changed" and node["Actual Rows"] == TABLES for node in found)
    for node in found:
        each = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        removed = each * node["Actual Loops"]
        assert removed < 100 * TABLES, (node["Node Type"], node.get("Filter"), node.get("Join Filter"), removed)
