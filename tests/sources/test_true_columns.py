"""What is shown of a table is what the source has; a change is a version that says so, and nothing else is one."""

from typing import Any

import pytest

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.usefixtures("publication")


@pytest.fixture
def publication(shop: Sql) -> None:
    """Every table of the source is published."""
    shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")


async def table(service: Service, source: int, name: str = "t") -> dict[str, Any]:
    """A table as the page shows it after a sync, with its last difference as `diff`."""
    page = await service.sync(source)
    assert page["meta"]["sync"]["outcome"] == "synced", page["meta"]["sync"]
    (found,) = (each for each in page["tables"] if each["table_name"] == name)
    response = await service.client.get(f"/api/v1/sources/tables/{found['id']}/schema")
    shown: dict[str, Any] = found | {"diff": response.json()["diff"]}
    return shown


def types(shown: dict[str, Any]) -> dict[str, str]:
    """The exact type of each column."""
    return {column["column_name"]: column["data_type"] for column in shown["schema_table"]}


def says(shown: dict[str, Any]) -> list[str]:
    """The sentences about changes other than types."""
    return [change["says"] for change in shown["diff"]["more"]["changes"]]


async def test_types_are_exact_and_each_change_names_both(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Lengths, precisions, elements, enums, domains over domains; what earlier versions had is kept."""
    shop.execute("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE other_mood AS ENUM ('x')")
    shop.execute("CREATE DOMAIN price AS numeric(9, 2); CREATE DOMAIN cost AS price")
    shop.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(10), ts timestamp(3), tags int[], e mood, b bit(4), c cost, "
        "n numeric(5, -2))"
    )
    source = add_source(config, shop_dsn)
    first = await table(service, source)
    assert types(first) == {
        "id": "integer", "v": "character varying(10)", "ts": "timestamp(3) without time zone", "tags": "integer[]",
        "e": "mood", "b": "bit(4)", "c": "cost", "n": "numeric(5,-2)",
    }  # fmt: skip
    assert first["schema_table"][6]["base_type"] == "numeric(9,2)"
    assert first["schema_table"][7]["numeric_scale"] == -2
    for statement, column, old, new in (
        ("ALTER v TYPE varchar(200)", "v", "character varying(10)", "character varying(200)"),
        ("ALTER tags TYPE text[] USING NULL", "tags", "integer[]", "text[]"),
        ("ALTER e TYPE other_mood USING NULL", "e", "mood", "other_mood"),
        ("ALTER ts TYPE timestamp(0)", "ts", "timestamp(3) without time zone", "timestamp(0) without time zone"),
        ("ALTER c TYPE price", "c", "cost (numeric(9,2))", "price (numeric(9,2))"),
        ("ALTER n TYPE numeric(6, -2)", "n", "NUMERIC(5,-2)", "NUMERIC(6,-2)"),
    ):
        shop.execute(f"ALTER TABLE t {statement}")
        changed = await table(service, source)
        assert changed["diff"]["type_changes"] == {column: {"old_type": old, "new_type": new}}, statement
        assert changed["diff"]["more"]["summary"] == "~1"
    assert changed["version"] == 7
    again = await table(service, source)
    assert again["version"] == 7
    page = await service.client.get(f"/sources/tables/{changed['id']}", headers={"Accept": "text/html"})
    assert "character varying(10)" in page.text
    assert "ARRAY" not in page.text
    assert "USER-DEFINED" not in page.text
    original = await service.client.get(f"/api/v1/sources/tables/{changed['id']}/schema", params={"version": 1})
    assert original.json()["columns"] == first["schema_table"]


async def test_key_has_its_own_columns_in_its_own_order(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """The payload of INCLUDE is no key column, and adding one is no version."""
    shop.execute("CREATE TABLE t (a int, b int, payload text, PRIMARY KEY (b, a))")
    source = add_source(config, shop_dsn)
    shown = await table(service, source)
    assert {column["column_name"]: column.get("key_position") for column in shown["schema_table"]} == {
        "a": 2, "b": 1, "payload": None,
    }  # fmt: skip
    shop.execute("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b, a) INCLUDE (payload)")
    assert (await table(service, source))["version"] == 1
    shop.execute("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (a, b)")
    assert says(await table(service, source)) == [
        "a is column 1 of the key, and was column 2", "b is column 2 of the key, and was column 1",
    ]  # fmt: skip
    shop.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    lost = await table(service, source)
    assert lost["diff"]["more"]["breaking"] == [
        "a is no longer in the primary key (programs that find rows by the key)",
        "b is no longer in the primary key (programs that find rows by the key)",
        "UPDATE and DELETE name a row by nothing now, and by a, b before "
        "(programs that find rows by what UPDATE and DELETE name)",
        "UPDATE and DELETE fail: it has no primary key (programs that write at the source)",
    ]
    assert lost["replication"]["fails"] == "UPDATE and DELETE fail: it has no primary key"


async def test_differences_say_what_changed(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """NOT NULL, default, key, identity, generated, order."""
    shop.execute("CREATE TABLE t (id int, a text, b text, g int)")
    source = add_source(config, shop_dsn)
    await table(service, source)
    for number, (statement, sentences) in enumerate(
        (
            ("ALTER a SET NOT NULL", ["a is no longer nullable"]),
            ("ALTER b SET DEFAULT 'x'", ["b has the default 'x'::text"]),
            ("ALTER b SET DEFAULT 'y'", ["b has the default 'y'::text now; it was 'x'::text"]),
            ("ALTER b DROP DEFAULT", ["b has no default any more; it was 'y'::text"]),
            (
                "ADD PRIMARY KEY (id)",
                [
                    "id is no longer nullable",
                    "id is now in the primary key",
                    "UPDATE and DELETE name a row by id now, and by nothing before",
                    "no longer: UPDATE and DELETE fail: it has no primary key",
                ],
            ),
            ("ALTER id ADD GENERATED ALWAYS AS IDENTITY", ["id is generated as identity always"]),
            ("ALTER id DROP IDENTITY", ["id is no longer an identity"]),
            ("ALTER a DROP NOT NULL", ["a may be null now"]),
        ),
        2,
    ):
        shop.execute(f"ALTER TABLE t {statement}")
        changed = await table(service, source)
        assert (says(changed), changed["version"]) == (sentences, number), statement
    shop.execute("ALTER TABLE t DROP COLUMN a, ADD COLUMN a text")
    moved = await table(service, source)
    anew = "was dropped and added anew: its values are gone"
    assert says(moved) == [f"a {anew}", "the order of the columns is another"]
    shop.execute("ALTER TABLE t DROP COLUMN g, ADD COLUMN g int GENERATED ALWAYS AS (id * 2) STORED")
    generated = await table(service, source)
    assert says(generated) == [
        "g is a stored generated column now", "g is generated as (id * 2)", "g no longer arrives", f"g {anew}",
        "the order of the columns is another",
    ]  # fmt: skip


async def test_what_does_not_arrive_is_marked(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """Columns outside the publication's list, row filters, and what fails for want of an identity."""
    shop.execute("CREATE TABLE people (id int PRIMARY KEY, name text, ssn text)")
    shop.execute("DROP PUBLICATION rosetta; CREATE PUBLICATION rosetta FOR TABLE people (id, name) WHERE (id > 5)")
    source = add_source(config, shop_dsn)
    shown = await table(service, source, "people")
    assert [column.get("is_published", True) for column in shown["schema_table"]] == [True, True, False]
    assert shown["replication"] == {
        "replica_identity": "default", "identity_columns": ["id"], "row_filter": "(id > 5)", "fails": None,
    }  # fmt: skip
    shop.execute("ALTER PUBLICATION rosetta SET TABLE people (id)")
    fewer = await table(service, source, "people")
    assert says(fewer) == ["name no longer arrives", "all rows arrive"]
    assert fewer["diff"]["more"]["breaking"] == ["name no longer arrives (programs that read it)"]
    assert fewer["version"] == 2
    for statement, fails in (
        ("ALTER TABLE people REPLICA IDENTITY NOTHING", "its REPLICA IDENTITY is NOTHING"),
        (
            "ALTER TABLE people REPLICA IDENTITY FULL",
            "its REPLICA IDENTITY is FULL, but the publication has not all of its columns",
        ),
        (
            "ALTER TABLE people REPLICA IDENTITY DEFAULT; ALTER PUBLICATION rosetta SET TABLE people (name)",
            "the publication lacks a column of its key",
        ),
        (
            "ALTER PUBLICATION rosetta SET TABLE people WHERE (name = 'x')",
            "the row filter uses a column outside its key",
        ),
        (
            "ALTER TABLE people DROP CONSTRAINT people_pkey, ADD PRIMARY KEY (id) DEFERRABLE",
            "its primary key is deferrable",
        ),
    ):
        shop.execute(statement)
        assert (await table(service, source, "people"))["replication"]["fails"] == f"UPDATE and DELETE fail: {fails}"
    # What is said of them is what the server does.
    with pytest.raises(Exception, match="cannot delete"):
        shop.execute("INSERT INTO people VALUES (1, 'a', 'b'); DELETE FROM people")
    shop.execute("ALTER PUBLICATION rosetta SET (publish = 'insert')")
    assert (await table(service, source, "people"))["replication"]["fails"] is None


async def test_generated_columns_arrive_if_the_publication_says_so(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Stored ones, from PostgreSQL 18 on; and any that its list names."""
    shop.execute(
        "CREATE TABLE t (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id) STORED, v int GENERATED ALWAYS AS (id))"
    )
    source = add_source(config, shop_dsn)
    arriving = [column.get("is_published", True) for column in (await table(service, source))["schema_table"]]
    assert arriving == [True, False, False]
    shop.execute("ALTER PUBLICATION rosetta SET (publish_generated_columns = stored)")
    shown = await table(service, source)
    assert [column.get("is_published", True) for column in shown["schema_table"]] == [True, True, False]
    assert says(shown) == ["s arrives now"]
    shop.execute("DROP PUBLICATION rosetta; CREATE PUBLICATION rosetta FOR TABLE t (id, s)")
    assert (await table(service, source))["version"] == 2


async def test_settings_of_a_role_are_no_change(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """Defaults and types read the same under every setting that their text depends on."""
    shop.execute("CREATE SCHEMA app; CREATE TYPE app.status AS ENUM ('new', 'old')")
    columns = (
        "(id serial PRIMARY KEY, s app.status DEFAULT 'new', at timestamptz DEFAULT '2020-01-01 00:00+00', "
        "d date DEFAULT '2020-02-01', iv interval DEFAULT '1 day 02:00', f float8 DEFAULT 0.1, m money DEFAULT 1.5, "
        r"b bytea DEFAULT '\x00ff', e text DEFAULT E'a\\b', ids app.status[])"
    )
    shop.execute(f"CREATE TABLE app.orders {columns}; CREATE TABLE t {columns}")
    source = add_source(config, shop_dsn)
    first = await table(service, source)
    assert types(first)["ids"] == "app.status[]"
    database = shop.info.dbname
    for setting in (
        "search_path = app, public", "search_path = ''", "DateStyle = 'German'", "IntervalStyle = 'iso_8601'",
        "TimeZone = 'Asia/Tokyo'", "bytea_output = 'escape'", "extra_float_digits = -5", "lc_monetary = 'C'",
        "standard_conforming_strings = off", "quote_all_identifiers = on",
    ):  # fmt: skip
        shop.execute(f"ALTER DATABASE {database} SET {setting}")
        await service.runtime.connections.close()
        page = await service.sync(source)
        assert {each["version"] for each in page["tables"]} == {1}, setting
        (again,) = (each for each in page["tables"] if each["table_name"] == "t")
        assert again["schema_table"] == first["schema_table"], setting
