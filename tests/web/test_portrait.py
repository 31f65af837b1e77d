"""Portraits: drawn once for everybody, and anew only what changed."""

import asyncio
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from service.http import templates
from service.web import live, portrait
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service
from tests.fixtures.views import get


async def test_many_who_look_at_once_are_drawn_for_once(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty requests share one portrait."""
    source = add_source(config)
    add_table(config, source)
    await service.settled(config)
    await service.details(source)
    drawn: list[str] = []

    def draw(*given: Any) -> portrait.Portrait:
        drawn.append("a portrait")
        return portrait.draw(*given)

    monkeypatch.setattr(live, "draw", draw)
    pages = await asyncio.gather(*(get(service, f"/sources/{source}/details") for _ in range(30)))
    assert {page.status_code for page in pages} == {200}
    assert len(drawn) == 1


async def test_what_is_drawn_anew_is_what_changed(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row of many, whether the table or what is told of its changes is another; the rest is as if drawn anew.

    The texts of the other tables are not even looked at, unless what this process keeps of the page was forgotten.
    """
    source = add_source(config)
    tables = [add_table(config, source, f"table_{number}") for number in range(5)]
    await service.settled(config)
    drawn: list[int] = []
    looked_at: list[int] = []
    parts = templates.macros("parts.html")

    def row(table: dict[str, Any], change: Any) -> Any:
        drawn.append(table["id"])
        return parts.row(table, change)

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return row if name == "row" else getattr(parts, name)

    def watched_digest(text: Any = b"", **more: Any) -> Any:
        if not isinstance(text, bytes):
            looked_at.append(msgspec.json.decode(text)["id"])
        return blake2b(text, **more)

    monkeypatch.setattr(portrait, "macros", lambda _name: Watched())
    monkeypatch.setattr(portrait, "blake2b", watched_digest)
    live_pages = service.app.live
    held, _ = await live_pages.portrait(source)
    assert sorted(drawn) == tables
    for change, seen in (
        ("UPDATE table_metadata_list SET schema_table = '{}' WHERE id = %(table)s", tables[2:3]),
        # What changed lately; the table's version too.
        (
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type, created_at) "
            "VALUES (%(table)s, 2, 'UPDATE', now())",
            tables[2:3],
        ),
        # What changed lately alone: the time of that change.
        ("UPDATE history_schema_evolution SET created_at = now() - interval '1 hour' WHERE version_schema = 2", []),
    ):
        drawn.clear()
        looked_at.clear()
        config.execute(change, {"table": tables[2]})
        # A page that is computed while its eviction is heard stays in Redis alone, and is read from there next.
        await service.settled(config)
        before, (held, _) = held, await live_pages.portrait(source, reload=True)
        assert (drawn, looked_at) == ([tables[2]], seen), change
        assert f"table-{tables[2]}" in (held.changes_since(before) or {})
        live_pages._portraits.clear()
        drawn.clear()
        anew, _ = await live_pages.portrait(source)
        assert (anew.version, sorted(drawn)) == (held.version, tables)
    # An operator's refresh of the view: texts may be others under the same numbers.
    live_pages._portraits.clear()
    await live_pages.portrait(source, reload=True)
    service.runtime.pages.drop(None)
    drawn.clear()
    looked_at.clear()
    config.execute("UPDATE sources SET pg_username = 'another' WHERE id = %s", (source,))
    await live_pages.portrait(source, reload=True)
    assert (drawn, sorted(looked_at)) == ([], tables)
