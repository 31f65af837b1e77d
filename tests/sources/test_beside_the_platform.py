"""The service and the platform's schema monitor, in turn over the same tables: versions grow only with the source."""

from typing import Any

import pytest

from service.config.credentials import encrypt
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import KEY, add_pipeline, add_source
from tests.fixtures.platform import replication_monitor, schema_monitor
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
CREATE TABLE "odd.name" (id int PRIMARY KEY);
CREATE TABLE "a ""quoted"" name" (id int PRIMARY KEY);
CREATE SCHEMA sales;
CREATE TABLE sales.orders (id int PRIMARY KEY, at timestamptz DEFAULT '2020-01-01 00:00+00');
CREATE TABLE sales."a.b" (id int PRIMARY KEY);
CREATE PUBLICATION rosetta FOR ALL TABLES;
"""
_READER = """
DROP ROLE IF EXISTS cdc_reader;
CREATE ROLE cdc_reader LOGIN PASSWORD 'reader';
GRANT SELECT ON customers, orders, covered, parts, parts_1, "odd.name", "a ""quoted"" name" TO cdc_reader;
GRANT USAGE ON SCHEMA sales TO cdc_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA sales TO cdc_reader;
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
        first = await service.sync(source)
        for _ in range(_TURNS):
            schema_monitor(config, source)
            replication_monitor(config, source)
            page = await service.sync(source)
            assert page["meta"]["sync"]["tables_added"] == []
            # The list of tables, their ids, and the count: nothing flips.
            assert page["tables"] == first["tables"]
            assert page["source"]["total_tables"] == first["source"]["total_tables"]
        assert {version for _, version, _ in history(config)} == {1}
        assert {table["version"] for table in first["tables"]} == {1}
        assert config.execute("SELECT status FROM pipelines").fetchall() == [{"status": "START"}]
        # The page has the truth, whatever the role may see.
        page = (await service.details(source)).json()
        assert keys(page) == {
            "covered": ["a", "b"], "customers": ["id"], "hidden": ["id"], "orders": ["id"], "parts_1": ["id", "at"],
            "unseen": ["id"], "odd.name": ["id"], 'a "quoted" name': ["id"], "sales.orders": ["id"],
            'sales."a.b"': ["id"],
        }  # fmt: skip
        (hidden,) = (table for table in page["tables"] if table["table_name"] == "hidden")
        assert [column["column_name"] for column in hidden["schema_table"]] == ["id", "shown", "secret"]
        shop.execute("ALTER TABLE customers ADD COLUMN nickname text")
        shop.execute("ALTER TABLE sales.orders ADD COLUMN note varchar(9)")
        # The platform cannot see this one.
        shop.execute("ALTER TABLE covered ALTER payload TYPE varchar(9)")
        shop.execute("ALTER TABLE covered ALTER payload TYPE varchar(90)")
        for _ in range(3):
            schema_monitor(config, source)
            page = await service.sync(source)
        versions = {table["table_name"]: table["version"] for table in page["tables"]}
        assert versions == dict.fromkeys(versions, 1) | {"customers": 2, "sales.orders": 2, "covered": 2}
        assert keys((await service.details(source)).json())["customers"] == ["id"]
        ids = {table["table_name"]: table["id"] for table in page["tables"]}
        assert ids == {table["table_name"]: table["id"] for table in first["tables"]}
        config.execute("DELETE FROM sources")
        assert config.execute("SELECT FROM source_details_other_tables").fetchall() == []
    finally:
        if role == "cdc_reader":
            shop.execute("DROP OWNED BY cdc_reader; DROP ROLE cdc_reader")


async def test_role_that_loses_its_rights_for_a_while_makes_no_version(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """The platform's monitor skips such a table; what is recorded of it must be what the monitor finds afterwards."""
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, note text); CREATE PUBLICATION rosetta FOR ALL TABLES")
    shop.execute("DROP ROLE IF EXISTS sometimes; CREATE ROLE sometimes LOGIN PASSWORD 'reader'")
    try:
        shop.execute("GRANT SELECT ON t TO sometimes")
        source = add_source(config, shop_dsn, pg_username="sometimes", pg_password=_encrypted("reader"))
        for change in ("SELECT 1", "REVOKE SELECT ON t FROM sometimes", "GRANT SELECT ON t TO sometimes"):
            shop.execute(change)
            page = await service.sync(source)
            schema_monitor(config, source)
            assert keys(page) == {"t": ["id"]}
            assert [version for _, version, _ in history(config)] == [1]
    finally:
        shop.execute("DROP OWNED BY sometimes; DROP ROLE sometimes")


def _encrypted(password: str) -> str:
    return encrypt(KEY.encode(), password)
