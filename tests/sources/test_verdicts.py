"""The verdict on each kind of change: each row of the table in docs/changes.md is a case here."""

import html
import json
import re
from typing import Any

import pytest

from service.sources.schema_diff import version_difference
from tests import PROJECT
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service
from tests.fixtures.shop import tables

_REPLICATION = {"replica_identity": "default", "identity_columns": ["id"], "row_filter": None, "fails": None}


def column(name: str, kind: str = "integer", **more: Any) -> dict[str, Any]:
    """A column as a page shows it."""
    plain = {
        "column_name": name, "is_nullable": "YES", "real_data_type": kind.upper(), "numeric_precision": None,
        "numeric_scale": None, "is_primary_key": False, "has_default": False, "default_value": None, "data_type": kind,
    }  # fmt: skip
    return plain | more


_ID = column("id", "bigint", is_primary_key=True, key_position=1, is_nullable="NO")
_A, _B = column("a"), column("b")


def version(*columns: dict[str, Any], numbers: Any = None, **replication: Any) -> dict[str, Any]:
    """A row of table_versions. The columns have the numbers of their order, or those given."""
    attnums = {each["column_name"]: place for place, each in enumerate((_ID, *columns), 1)} | (numbers or {})
    return {
        "columns": [_ID, *columns], "replication": _REPLICATION | replication,
        "identity": {"relation": "7/1/16384", "attnums": attnums},
    }  # fmt: skip


def unseen(*columns: dict[str, Any]) -> dict[str, Any]:
    """A version that only another program has recorded."""
    plain = [{key: value for key, value in each.items() if key != "data_type"} for each in columns]
    return {"columns": plain, "replication": None, "identity": None}


async def recorded(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> int:
    """A source that publishes `orders`, after its first sync."""
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE orders")
    source = add_source(config, shop_dsn, publication_name="rosetta")
    await service.sync(source)
    return source


_LOST = {"replica_identity": "nothing", "identity_columns": None}
_FULL = {"replica_identity": "full", "identity_columns": None}
# By rule: the versions, the verdict, and the sentences about what breaks whom.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, list[str]]] = {
    "a column is added": (version(_A), version(_A, _B), "compatible", []),
    "a column is dropped": (version(_A, _B), version(_A), "breaking", ["b is dropped (programs that read it)"]),
    "a column is renamed": (
        version(_A), version(column("z")), "breaking", ["a is called z now (programs that read it by its old name)"],
    ),
    "a column is dropped and another added": (
        version(_A), version(_B, numbers={"b": 3}), "breaking", ["a is dropped (programs that read it)"],
    ),
    "a column is dropped and added anew": (
        version(_A), version(_A, numbers={"a": 3}), "breaking",
        ["a was dropped and added anew: its values are gone (programs that read it)"],
    ),
    "a type is widened": (version(_A), version(column("a", "bigint")), "compatible", []),
    "a type is narrowed": (
        version(column("a", "bigint")), version(_A), "breaking",
        ["a changes from BIGINT to INTEGER, which may not hold its values (programs that write or cast it)"],
    ),
    "a column may no longer be null": (
        version(_A), version(column("a", is_nullable="NO")), "breaking",
        ["a is no longer nullable (programs that write NULL at the source)"],
    ),
    "a column may be null": (
        version(column("a", is_nullable="NO")), version(_A), "breaking",
        ["a may be null now (programs that store it as NOT NULL)"],
    ),
    "a default changes": (version(_A), version(column("a", default_value="5", has_default=True)), "compatible", []),
    "a column leaves the primary key": (
        version(column("a", is_primary_key=True, key_position=2)), version(_A), "breaking",
        ["a is no longer in the primary key (programs that find rows by the key)"],
    ),
    "a column joins the primary key": (
        version(_A), version(column("a", is_primary_key=True, key_position=2)), "compatible", [],
    ),
    "a column is no longer published": (
        version(_A), version(column("a", is_published=False)), "breaking",
        ["a no longer arrives (programs that read it)"],
    ),
    "the order of the columns changes": (
        version(_A, _B), version(_B, _A, numbers={"a": 2, "b": 3}), "compatible", [],
    ),
    "a row filter is set": (
        version(_A), version(_A, row_filter="(id > 5)"), "breaking",
        ["only rows where (id > 5) arrive (programs that expect all rows)"],
    ),
    "a row filter is removed": (version(_A, row_filter="(id > 5)"), version(_A), "compatible", []),
    "a row filter is another": (version(_A, row_filter="(id > 5)"), version(_A, row_filter="(id > 6)"), "unknown", []),
    "the replica identity is another": (
        version(_A), version(_A, **_FULL), "breaking",
        ["UPDATE and DELETE name a row by the whole row now, and by id before "
         "(programs that find rows by what UPDATE and DELETE name)"],
    ),
    "the replica identity is lost": (
        version(_A), version(_A, **_LOST), "breaking",
        ["UPDATE and DELETE name a row by nothing now, and by id before "
         "(programs that find rows by what UPDATE and DELETE name)"],
    ),
    "there is a replica identity now": (version(_A, **_LOST), version(_A), "compatible", []),
    "statements fail at the source": (
        version(_A), version(_A, fails="UPDATE fails"), "breaking",
        ["UPDATE fails (programs that write at the source)"],
    ),
    "a version that no sync has seen gets a column": (unseen(_A), unseen(_A, _B), "unknown", []),
    "nothing": (version(_A), version(_A), None, []),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_rule(rule: str) -> None:
    """What it is about is right, too: a wrong verdict is worse than none."""
    older, newer, verdict, breaking = CASES[rule]
    found = version_difference(older, newer)
    assert found is not None
    assert (found["more"]["verdict"], found["more"]["breaking"]) == (verdict, breaking)


def test_every_rule_is_documented() -> None:
    """With its verdict, and whom it breaks."""
    text = (PROJECT / "docs" / "changes.md").read_text()
    rows = re.findall(r"^\| (?!Change )([^|]+?) \| (\w*) ?\| ([^|]*?) ?\|$", text, re.MULTILINE)
    told = {rule: (verdict or None, whom) for rule, verdict, whom in rows}
    assert list(told) == list(CASES)
    for rule, (verdict, whom) in told.items():
        assert CASES[rule][2] == verdict
        assert all(sentence.endswith(f"({whom})") for sentence in CASES[rule][3]), rule


def test_columns_that_swap_their_names_are_renamed() -> None:
    """And not retyped: each is followed by its number."""
    texts = column("a", "text"), column("b")
    found = version_difference(version(*texts), version(column("b", "text"), column("a")))
    assert found is not None
    assert [change["says"] for change in found["more"]["changes"]] == ["a is called b now", "b is called a now"]
    assert found["type_changes"] == {}
    assert found["more"]["summary"] == "~2"


def test_renamed_key_is_the_same_key() -> None:
    """The replica identity has the new name in both versions."""
    key = _ID | {"column_name": "key"}
    newer = {
        "columns": [key], "replication": _REPLICATION | {"identity_columns": ["key"]},
        "identity": {"relation": "7/1/16384", "attnums": {"key": 1}},
    }  # fmt: skip
    found = version_difference(version(), newer)
    assert found is not None
    assert found["more"]["breaking"] == ["id is called key now (programs that read it by its old name)"]


def test_table_that_was_made_anew_has_no_renamed_columns() -> None:
    """Another OID or another server: the same number is another column."""
    newer = version(_B)
    newer["identity"]["relation"] = "8/1/16384"
    found = version_difference(version(_A), newer)
    assert found is not None
    assert (found["new_columns"], found["more"]["summary"]) == (["b"], "+1 -1")


@pytest.mark.operations
async def test_rename_at_a_real_source_is_told_as_one(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, rosetta: Command
) -> None:
    """In the API and on the page; also over several versions, and for a column that was retyped besides."""
    shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY, title varchar(100), gone text)")
    source = await recorded(service, config, shop, shop_dsn)
    shop.execute("ALTER TABLE orders RENAME COLUMN title TO name")
    await service.sync(source)
    listed = re.sub(r"<[^>]*>|\s+", " ", (await service.client.get(f"/sources/{source}/details")).text)
    assert "column renamed title → name" in re.sub(" +", " ", listed)
    shop.execute("ALTER TABLE orders ALTER COLUMN name TYPE varchar(200)")
    shop.execute("ALTER TABLE orders DROP COLUMN gone")
    shop.execute("ALTER TABLE orders ADD COLUMN came text")
    page = await service.sync(source)
    assert tables(page) == {"orders": 3}
    table = page["tables"][0]["id"]
    second = (await service.client.get(f"/api/v1/sources/tables/{table}/schema?version=2")).json()["diff"]
    assert second["more"] == {
        "summary": "~1", "verdict": "breaking",
        "breaking": ["title is called name now (programs that read it by its old name)"],
        "changes": [
            {
                "column": "name", "what": "column_name", "old": "title", "new": "name",
                "says": "title is called name now", "breaks": "programs that read it by its old name",
            }
        ],
    }  # fmt: skip
    assert (second["new_columns"], [each["column_name"] for each in second["dropped_columns"]]) == (["name"], ["title"])
    compared = html.unescape((await service.client.get(f"/sources/tables/{table}?from=1&to=3")).text)
    assert "title is called name now (programs that read it by its old name)" in compared
    assert "gone is dropped (programs that read it)" in compared
    assert '<span class="was">was title</span>' in compared
    assert "was character varying(100)" in compared
    told = rosetta("changes", source)
    lines = [re.sub(r", 2\d{3}-.* UTC", "", line) for line in told.stdout.splitlines()]
    assert lines == [
        "orders version 3: breaking", "  gone is dropped (programs that read it)", "  came is added",
        "  name changes from character varying(100) to character varying(200)",
        "orders version 2: breaking", "  title is called name now (programs that read it by its old name)",
    ]  # fmt: skip
    only = json.loads(rosetta("changes", source, "--count", "1", "--json").stdout)
    assert [(each["table_name"], each["version"], each["diff"]["more"]["verdict"]) for each in only] == [
        ("orders", 3, "breaking")
    ]


async def test_columns_of_a_copy_are_not_renamed(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """A restored dump may have the same OIDs, and other numbers. Nor those of a server that says not which it is."""
    shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY, title text)")
    source = await recorded(service, config, shop, shop_dsn)
    for relation in ("'\"1/1/16384\"'", "'null'"):
        config.execute(f"UPDATE table_metadata_list SET at_source = jsonb_set(at_source, '{{relation}}', {relation})")
        config.execute(
            f"UPDATE history_schema_evolution SET at_source = jsonb_set(at_source, '{{relation}}', {relation})"
        )
        shop.execute("ALTER TABLE orders RENAME COLUMN title TO other")
        table = (await service.sync(source))["tables"][0]
        changed = await service.client.get(f"/api/v1/sources/tables/{table['id']}/schema")
        assert changed.json()["diff"]["more"]["summary"] == "+1 -1"
        shop.execute("ALTER TABLE orders RENAME COLUMN other TO title")
        await service.sync(source)


async def test_renamed_table_knows_its_earlier_name(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> None:
    """By its OID. A table that took a name which was free does not."""
    shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY); CREATE TABLE other (id bigint PRIMARY KEY)")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE orders, other")
    source = add_source(config, shop_dsn, publication_name="rosetta")
    first = {table["table_name"]: table["id"] for table in (await service.sync(source))["tables"]}
    shop.execute("ALTER TABLE orders RENAME TO sales; DROP TABLE other; CREATE TABLE another (id bigint PRIMARY KEY)")
    shop.execute("ALTER PUBLICATION rosetta ADD TABLE another")
    second = {table["table_name"]: table["id"] for table in (await service.sync(source))["tables"]}

    async def was_called(table: str) -> str | None:
        told = (await service.client.get(f"/api/v1/sources/tables/{second[table]}/schema")).json()["was_called"]
        assert told is None or isinstance(told, str)
        return told

    assert await was_called("sales") == "orders"
    assert await was_called("another") is None
    page = (await service.client.get(f"/sources/tables/{second['sales']}")).text
    assert f'It was called <a href="../../sources/tables/{first["orders"]}">orders</a> before' in page


async def test_column_made_anew_alike_does_not_change_an_earlier_verdict(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """It makes no version; the one before is still judged by what it was made of."""
    shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
    source = await recorded(service, config, shop, shop_dsn)
    shop.execute("ALTER TABLE orders ADD COLUMN last text")
    table = (await service.sync(source))["tables"][0]
    shop.execute("ALTER TABLE orders DROP COLUMN last, ADD COLUMN last text")
    assert tables(await service.sync(source)) == {"orders": 2}
    diff = (await service.client.get(f"/api/v1/sources/tables/{table['id']}/schema")).json()["diff"]
    assert diff["more"]["verdict"] == "compatible"
