"""The service and the platform's schema monitor, in turn over the same tables: versions grow only with the source."""

from typing import Any

import pytest

from service.config.credentials import encrypt
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import KEY, add_pipeline, add_source
from tests.fixtures.platform import schema_monitor
from tests.fixtures.runtime import Service
from tests.fixtures.shop import history

_TURNS = 20
_TABLES = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN price AS numeric(12, 3) NOT NULL DEFAULT 1;
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL DEFAULT 'nobody');
CREATE TABLE orders (
    id serial, customer_id bigint, total numeric(5, -2), at timestamptz DEFAULT now(), m mood, p price, tags text[],
    doubled int GENERATED ALWAYS AS (1 + 1) STORED,
    CONSTRAINT customers_pkey_too PRIMARY KEY (id),
    -- Named like another table's primary key: information_schema cannot tell them apart.
    CONSTRAINT customers_pkey FOREIGN KEY (customer_id) REFERENCES customers (id)
);
CREATE TABLE covered (a int, b int, payload text, PRIMARY KEY (b, a) INCLUDE (payload));
CREATE TABLE parts (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE hidden (id int PRIMARY KEY, shown text, secret text);
CREATE TABLE unseen (id int PRIMARY KEY, a text);
CREATE PUBLICATION rosetta FOR ALL TABLES;
"""
_READER = """
DROP ROLE IF EXISTS cdc_reader;
CREATE ROLE cdc_reader LOGIN PASSWORD 'reader';
GRANT SELECT ON customers, orders, covered, parts, parts_1 TO cdc_reader;
GRANT SELECT (id, shown) ON hidden TO cdc_reader;
"""


def keys(page: dict[str, Any]) -> dict[str, list[str]]:
    """The key columns of each table, as the page shows them."""
    return {
        table["table_name"]: [column["column_name"] for column in table["schema_table"] if column["is_primary_key"]]
        for table in page["tables"]
    }


@pytest.mark.parametrize("role", ["owner", "cdc_reader"])
@pytest.mark.parametrize("is_first", ["service", "platform"])
async def test_versions_grow_only_with_the_source(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, role: str, is_first: str
) -> None:
    """As the owner, and as a role with SELECT alone, which sees no keys; whoever runs first."""
    shop.execute(_TABLES)
    login = {}
    try:
        if role == "cdc_reader":
            shop.execute(_READER)
            login = {"pg_username": role, "pg_password": _encrypted("reader")}
        source = add_source(config, shop_dsn, **login)
        add_pipeline(config, source, "warehouse")
        config.execute("UPDATE pipelines SET status = 'START'")
        if is_first == "platform":
            schema_monitor(config, source)
        for _ in range(_TURNS):
            await service.sync(source)
            schema_monitor(config, source)
        assert {version for _, version, _ in history(config)} == {1}
        assert config.execute("SELECT status FROM pipelines").fetchall() == [{"status": "START"}]
        # The page has the truth, whatever the role may see.
        page = (await service.details(source)).json()
        assert keys(page) == {
            "covered": ["a", "b"], "customers": ["id"], "hidden": ["id"], "orders": ["id"], "parts_1": ["id", "at"],
            "unseen": ["id"],
        }  # fmt: skip
        (hidden,) = (table for table in page["tables"] if table["table_name"] == "hidden")
        assert [column["column_name"] for column in hidden["schema_table"]] == ["id", "shown", "secret"]
        shop.execute("ALTER TABLE customers ADD COLUMN nickname text")
        for _ in range(3):
            schema_monitor(config, source)
            await service.sync(source)
        versions = {name: version for name, version, _ in history(config)}
        assert versions == dict.fromkeys(versions, 1) | {"customers": 2}
        assert keys((await service.details(source)).json())["customers"] == ["id"]
    finally:
        if role == "cdc_reader":
            shop.execute("DROP OWNED BY cdc_reader; DROP ROLE cdc_reader")


def _encrypted(password: str) -> str:
    return encrypt(KEY.encode(), password)
