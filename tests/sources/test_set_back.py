"""A source whose storage was set back, or a copy of it: recorded again, and said so."""

import os
import shutil
from pathlib import Path

import pytest

from service.demo.servers import Postgres
from tests.fixtures.databases import Sql, connect
from tests.fixtures.gates import held_sync
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service
from tests.fixtures.servers import SETTINGS, Servers
from tests.fixtures.shop import tables

pytestmark = pytest.mark.faults


async def test_source_that_is_set_back_is_recorded_again(service: Service, config: Sql, servers: Servers) -> None:
    """Its snapshots count from the past again, with the same system identifier and timeline."""
    server = Postgres(servers.reaper, "set-back", settings=SETTINGS)
    server.start()
    try:
        with connect(server.dsn()) as source:
            source.execute("CREATE TABLE early (id int PRIMARY KEY); CREATE PUBLICATION rosetta FOR ALL TABLES")
        server.stop()
        data = server.folder / "data"
        shutil.copytree(data, server.folder / "earlier")
        _own(data, server.folder / "earlier")
        server.start()
        with connect(server.dsn()) as source:
            source.execute("CREATE TABLE late (id int PRIMARY KEY)")
            for _ in range(50):
                source.execute("SELECT txid_current()")
        added = add_source(config, server.dsn())
        first = await service.sync(added)
        assert tables(first) == {"early": 1, "late": 1}
        assert not first["meta"]["sync"]["set_back"]
        server.stop()
        shutil.rmtree(data)
        (server.folder / "earlier").rename(data)
        server.start()
        back = await service.sync(added)
        assert back["meta"]["sync"]["outcome"] == "synced"
        assert back["meta"]["sync"]["set_back"]
        assert tables(back) == {"early": 1}
        (reason,) = (each for each in back["meta"]["health"]["reasons"] if "set back" in each["says"])
        assert reason["level"] == "warning"
        again = await service.sync(added)
        assert not again["meta"]["sync"]["set_back"]
    finally:
        server.stop()


async def test_late_answer_is_not_taken_for_one(
    service: Service, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sync was recorded since this one asked: an older snapshot is an older answer."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    looking, syncing = await held_sync(monkeypatch, service, source)
    published.execute("CREATE TABLE lines (id int PRIMARY KEY)")
    _sync_elsewhere(config, published)
    looking.open()
    page = await syncing
    assert page["meta"]["sync"]["outcome"] == "superseded"
    assert not page["meta"]["sync"]["set_back"]


def _sync_elsewhere(config: Sql, published: Sql) -> None:
    row = published.execute("SELECT txid_current_snapshot()::text AS snapshot, txid_current()").fetchone()
    assert row is not None
    config.execute(
        "UPDATE source_details_sync_state SET number = number + 1, source_snapshot = %s::pg_snapshot",
        (row["snapshot"],),
    )


def _own(like: Path, copy: Path) -> None:
    """Gives the copy to the owner of the original."""
    stat = like.stat()
    for path in [copy, *copy.rglob("*")]:
        os.chown(path, stat.st_uid, stat.st_gid, follow_symlinks=False)
