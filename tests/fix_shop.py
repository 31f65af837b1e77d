"""A source database with something to sync, and what was recorded of it."""

from typing import Any

import pytest

from tests.fix_databases import Sql


@pytest.fixture
def published(shop: Sql) -> Sql:
    """A source with one published table."""
    shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note varchar(20))")
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    return shop


def tables(page: dict[str, Any]) -> dict[str, int]:
    """The page's tables with their versions."""
    return {table["table_name"]: table["version"] for table in page["tables"]}


def history(config: Sql) -> list[tuple[str, int, str]]:
    """Every recorded version."""
    rows = config.execute(
        """
        SELECT t.table_name, h.version_schema, h.changes_type
        FROM history_schema_evolution AS h JOIN table_metadata_list AS t ON t.id = h.table_metadata_list_id
        ORDER BY 1, 2
        """
    )
    return [(row["table_name"], row["version_schema"], row["changes_type"]) for row in rows]
