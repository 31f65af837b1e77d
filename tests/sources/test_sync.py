"""Syncing with a real source: what is recorded, and what is reported."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from service.demo.servers import PASSWORD
from service.sources import questions, state
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service
from tests.fixtures.shop import history, tables


async def test_sync_records_what_changed(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """New, changed, dropped and returning tables, each with its version and kind of change."""
    source = add_source(config, shop_dsn, replication_name="none")
    first = await service.sync(source)
    assert tables(first) == {"orders": 1}
    assert first["meta"]["sync"]["tables_added"] == ["orders"]
    assert first["meta"]["tables_from"] == "source"
    assert first["source"]["is_publication_enabled"]
    assert not first["source"]["is_replication_enabled"]
    assert first["source"]["total_tables"] == 1

    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2) DEFAULT 0, ALTER COLUMN note SET NOT NULL")
    published.execute("CREATE TABLE lines (id int)")
    second = await service.sync(source)
    assert tables(second) == {"lines": 1, "orders": 2}
    (changed,) = second["meta"]["sync"]["tables_changed"]
    assert (changed["changes_type"], changed["version"]) == ("NEW COLUMN", 2)
    assert [(column["column_name"], column["change"]) for column in changed["columns"]] == [
        ("note", "altered"),
        ("total", "added"),
    ]
    published.execute("ALTER TABLE orders DROP COLUMN total")
    await service.sync(source)
    published.execute("ALTER TABLE orders ALTER COLUMN id TYPE integer")
    await service.sync(source)
    published.execute("DROP TABLE lines")
    assert tables(await service.sync(source)) == {"orders": 4}
    published.execute("CREATE TABLE lines (id int)")
    back = await service.sync(source)
    assert tables(back) == {"lines": 1, "orders": 4}
    assert back["meta"]["sync"]["tables_returned"] == ["lines"]
    assert history(config) == [
        ("lines", 1, "INITIAL_LOAD"),
        ("orders", 1, "INITIAL_LOAD"),
        ("orders", 2, "NEW COLUMN"),
        ("orders", 3, "DROP COLUMN"),
        ("orders", 4, "CHANGES TYPE"),
    ]
    assert (await service.sync(source))["meta"]["sync"]["tables_changed"] == []


async def test_sync_understands_what_the_platform_wrote(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Missing schemas are filled in; lists, lower case and missing keys do not count as changes."""
    assert published
    source = add_source(config, shop_dsn)
    add_table(config, source, "orders")
    old = [
        {"column_name": "id", "is_nullable": "NO", "real_data_type": "bigint", "is_primary_key": True},
        {"column_name": "note", "is_nullable": "YES", "real_data_type": "character varying"},
    ]
    config.execute("UPDATE table_metadata_list SET schema_table = %s", (json.dumps(old),))
    page = await service.sync(source)
    assert tables(page) == {"orders": 1}
    assert page["meta"]["sync"]["tables_changed"] == []
    assert history(config) == []
    config.execute("UPDATE table_metadata_list SET schema_table = NULL, is_changes_schema = true")
    assert (await service.sync(source))["meta"]["sync"]["tables_filled"] == ["orders"]
    assert history(config) == [("orders", 1, "INITIAL_LOAD")]
    row = config.execute("SELECT is_changes_schema, schema_table -> 'id' AS id FROM table_metadata_list").fetchone()
    assert row == {
        "is_changes_schema": False,
        "id": {
            "column_name": "id", "is_nullable": "NO", "real_data_type": "BIGINT", "numeric_precision": 64,
            "numeric_scale": 0, "is_primary_key": True, "has_default": False, "default_value": None,
        },
    }  # fmt: skip


async def test_schemas_never_merge(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """Tables of other schemas are named schema.table, those of public by their plain name."""
    published.execute('CREATE SCHEMA a; CREATE TABLE a.b (id int); CREATE TABLE "a.b" (id int); CREATE SCHEMA "ü;x"')
    published.execute('CREATE TABLE "ü;x"."Ünïcode ""quoted""" ("sp ace" int); CREATE TABLE a.orders (id int)')
    source = add_source(config, shop_dsn)
    page = await service.sync(source)
    named = [(table["schema_name"], table["table_name"]) for table in page["tables"]]
    assert sorted(named, key=lambda pair: (pair[1], pair[0])) == [
        ("a", "a.b"), ("public", "a.b"), ("a", "a.orders"), ("public", "orders"), ("ü;x", 'ü;x."Ünïcode ""quoted"""'),
    ]  # fmt: skip
    assert (await service.sync(source))["meta"]["sync"]["tables_added"] == []
    published.execute('DROP PUBLICATION rosetta; CREATE PUBLICATION rosetta FOR TABLE "a.b"')
    page = await service.sync(source)
    assert [(table["schema_name"], table["table_name"]) for table in page["tables"]] == [("public", "a.b")]
    assert page["meta"]["drift"]["not_registered"] == []


async def test_names_are_told_apart_to_the_last_byte(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Names of 63 bytes with dots, quotes and letters of several bytes."""
    ends = ["a", "b", ".", '"']
    names = {start * (62 // len(start.encode())) + end for start in ("x", ".", '"', "ü") for end in ends}
    for name in names:
        published.execute(sql.SQL("CREATE TABLE {} (id int)").format(sql.Identifier(name)))
    source = add_source(config, shop_dsn)
    for _ in range(2):
        page = await service.sync(source)
        assert {table["table_name"] for table in page["tables"]} == names | {"orders"}
        assert page["source"]["total_tables"] == len(names) + 1


async def test_unreachable_source_is_answered_from_what_is_known(service: Service, config: Sql) -> None:
    """The page is a 200 with the failure in meta, without a secret; POST refresh is a 502."""
    source = add_source(config, pg_password="AAECAwQFBgcICQoLftbYDrxs//zJrwLJQb21JU8csIQcGP/a1Xdf7AkUGaQ=")
    add_table(config, source)
    page = await service.sync(source)
    assert tables(page) == {"orders": 1}
    assert page["meta"]["tables_from"] == "metadata"
    assert page["meta"]["sync"]["outcome"] == "failed"
    assert "refused" in page["meta"]["sync"]["error"]
    response = await service.client.post(f"/api/v1/sources/{source}/refresh")
    assert response.status_code == 502
    assert response.json()["error"] == "SourceUnreachableError"


async def test_undecryptable_password_is_reported_as_such(service: Service, config: Sql, shop_dsn: str) -> None:
    """The reason says what to check."""
    source = add_source(config, shop_dsn, pg_password="bm90IGVuY3J5cHRlZCBhdCBhbGwsIHJlYWxseSBub3Q=")
    page = await service.sync(source)
    assert "CREDENTIAL_ENCRYPTION_KEY" in page["meta"]["sync"]["error"]


async def test_refresh_endpoint_makes_the_next_read_new(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads again at once gets the new state, even before the notification arrives."""
    source = add_source(config, shop_dsn)
    await service.settled(config)
    await service.details(source)
    monkeypatch.setattr(service.runtime.listener, "_hear", lambda _: None)
    published.execute("CREATE TABLE lines (id int)")
    response = await service.client.post(f"/api/v1/sources/{source}/refresh")
    assert response.status_code == 200
    assert response.json()["tables_added"] == ["lines", "orders"]
    assert set(tables((await service.details(source)).json())) == {"lines", "orders"}


async def test_second_sync_reuses_the_connection_of_the_first(
    service: Service, config: Sql, published: Sql, shop_dsn: str, proxy: Callable[[str, int], Awaitable[Proxy]]
) -> None:
    """The source sees one connection."""
    assert published
    place = conninfo_to_dict(shop_dsn)
    line = await proxy(str(place["host"]), int(str(place["port"])))
    source = add_source(config, shop_dsn, pg_host="127.0.0.1", pg_port=line.port)
    for _ in range(2):
        assert (await service.sync(source))["meta"]["sync"]["outcome"] == "synced"
    assert line.accepted == 1


async def test_source_gets_no_password_but_its_own(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not get the password that libpq finds in the environment, which is for the config database."""
    assert published
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    source = add_source(config, shop_dsn, pg_password=None)
    page = await service.sync(source)
    assert page["meta"]["sync"]["outcome"] == "failed"
    assert "no password supplied" in page["meta"]["sync"]["error"]


async def test_table_of_1600_columns_is_synced(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """The widest table that PostgreSQL allows keeps its own order of columns."""
    names = [f"column_{number}" for number in range(1600)]
    published.execute(f"CREATE TABLE wide ({', '.join(f'{name} int' for name in names)})")
    source = add_source(config, shop_dsn)
    page = await service.sync(source)
    wide = next(table for table in page["tables"] if table["table_name"] == "wide")
    assert [column["column_name"] for column in wide["schema_table"]] == names


async def test_tables_of_very_many_columns_come_one_by_one(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few hundred of the widest tables would not fit into the one answer that a thousand usual ones do."""
    monkeypatch.setattr(state, "_AT_ONCE", 3)
    published.execute(f"CREATE TABLE wide ({', '.join(f'column_{number} int' for number in range(80))})")
    streamed: list[str] = []

    def each_row(connection: Any, name: str, *rest: Any) -> Any:
        streamed.append(name)
        return questions.each_row(connection, name, *rest)

    monkeypatch.setattr(state, "each_row", each_row)
    page = await service.sync(add_source(config, shop_dsn))
    assert "wide" in tables(page)
    assert streamed == ["remote_described"]


async def test_sync_does_not_invent_changes(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """From rows without a name, numbers as strings, or a table that had no columns."""
    published.execute("CREATE TABLE bare ()")
    source = add_source(config, shop_dsn)
    config.execute("INSERT INTO table_metadata_list (source_id, table_name) VALUES (%s, NULL)", (source,))
    first = await service.sync(source)
    assert first["meta"]["sync"]["tables_dropped"] == []
    config.execute(
        "UPDATE table_metadata_list SET schema_table = jsonb_set(schema_table, '{id,numeric_precision}', '\"64\"') "
        "WHERE table_name = 'orders'"
    )
    published.execute("ALTER TABLE bare ADD COLUMN id int")
    second = await service.sync(source)
    (changed,) = second["meta"]["sync"]["tables_changed"]
    assert (changed["table_name"], changed["changes_type"], changed["version"]) == ("bare", "NEW COLUMN", 2)
