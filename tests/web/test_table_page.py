"""The page of a table: its versions and their differences."""

import re

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service
from tests.fixtures.views import get, words


async def test_table_page_shows_every_version_with_its_difference(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Signs beside the colors; a fragment has the same content without the layout."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2), DROP COLUMN note, ALTER id TYPE integer")
    page = await service.sync(source)
    (table,) = page["tables"]
    shown = await get(service, f"/sources/tables/{table['id']}")
    text = words(shown)
    assert "Version 2 current" in text
    assert "+1 \u22121 ~1 : 1 added, 1 dropped, 1 retyped" in text
    assert "note is dropped" in text
    assert "id changes from BIGINT to INTEGER, which may not hold its values" in text
    assert "+ added: total numeric(10,2)" in text
    assert "\u2212 dropped: note" in text
    assert "~ retyped: id integer was bigint" in text
    assert "Version 1" in text
    fragment = await get(service, f"/sources/tables/{table['id']}?fragment=true")
    assert "<html" not in fragment.text
    assert "Version 2" in fragment.text


async def test_long_history_has_pages(service: Service, config: Sql) -> None:
    """Twenty versions at a time, each compared with the one before."""
    table = add_table(config, add_source(config), "t")
    config.execute(
        """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, schema_table_new)
        SELECT %s, n, jsonb_build_object('c' || n, jsonb_build_object('real_data_type', 'INTEGER'))
        FROM generate_series(1, 45) AS n
        """,
        (table,),
    )
    first = await get(service, f"/sources/tables/{table}")
    assert [int(number) for number in re.findall(r"Version (\d+)", first.text)] == list(range(45, 25, -1))
    assert first.text.count("1 added, 1 dropped") >= 19
    assert f"/sources/tables/{table}?before=26" in first.text
    last = await get(service, f"/sources/tables/{table}?before=6")
    assert [int(number) for number in re.findall(r"Version (\d+)", last.text)] == [5, 4, 3, 2, 1]
    assert "Earlier versions" not in last.text


async def test_two_versions_are_compared(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """In one difference, with what breaks a consumer apart; the other way round too."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    for change in ("ADD COLUMN total numeric(10, 2)", "ADD COLUMN paid boolean", "DROP COLUMN note"):
        published.execute(f"ALTER TABLE orders {change}")
        page = await service.sync(source)
    (table,) = page["tables"]
    path = f"/sources/tables/{table['id']}"
    assert 'name="from"' in (await get(service, path)).text
    compared = await get(service, path, params={"from": 1, "to": 4})
    text = words(compared)
    assert "From version 1 to 4 +2 \u22121" in text
    assert "\u2715 Breaking note is dropped" in text
    assert "+ added: total numeric(10,2)" in text
    assert "\u2212 dropped: note" in text
    back = words(await get(service, path, params={"from": 4, "to": 1}))
    assert "total is dropped" in back
    assert "paid is dropped" in back
    assert "Nothing is different." in words(await get(service, path, params={"from": 2, "to": 2}))
    assert (await get(service, path, params={"from": 1, "to": 5})).status_code == 404
    assert (await get(service, path, params={"from": 0, "to": 1})).status_code == 404
    assert (await get(service, path, params={"from": "x"})).status_code == 422


async def test_change_is_marked_with_what_it_did(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """In the list of tables: the names of the columns, a few of many."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders DROP COLUMN note, ADD a int, ADD b int, ADD c int, ADD d int, ADD e int")
    await service.sync(source)
    text = words(await get(service, f"/sources/{source}/details"))
    assert re.search(
        r"orders 2 6 columns? \w+ \+ added: a, b, c \u2026 \u2212 dropped: note \u2715 breaking \d{4}-", text
    ), text
