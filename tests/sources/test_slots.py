"""A slot counts only if it can carry its source; what it is instead is said, with a remedy that runs as printed."""

import re
from typing import Any

import pytest
from psycopg.errors import UndefinedFile

from service.demo.servers import Postgres
from service.sources import remedies
from service.telemetry.events import WalRound
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start
from tests.fixtures.servers import Servers


async def judged(service: Service, source: int) -> dict[str, Any]:
    """The page after a sync: its flags, and the reasons of its health by sentence."""
    page = await service.sync(source)
    reasons = {reason["says"]: reason for reason in page["meta"]["health"]["reasons"]}
    return {"source": page["source"], "level": page["meta"]["health"]["level"], "reasons": reasons}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        ("SELECT pg_create_physical_replication_slot(%s, true)", "is a physical slot, not a logical one"),
        (
            "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')",
            "uses the plugin test_decoding, not pgoutput",
        ),
    ],
)
async def test_slot_of_another_kind_is_not_the_sources(
    service: Service, config: Sql, published: Sql, shop_dsn: str, make: str, says: str
) -> None:
    """The source is not enabled, the page says what the slot is, and the remedy makes one that counts."""
    name = f"odd_{published.info.dbname}"
    try:
        published.execute(make, (name,))
    except UndefinedFile:
        pytest.skip("this server has no second plugin")
    source = add_source(config, shop_dsn, replication_name=name)
    try:
        shown = await judged(service, source)
        assert not shown["source"]["is_replication_enabled"]
        assert shown["level"] == "error"
        remedy = shown["reasons"][f"its slot {name} {says}"]["remedy"]
        run(remedy, published, config)
        assert (await judged(service, source))["source"]["is_replication_enabled"]
    finally:
        published.execute("SELECT pg_drop_replication_slot(%s)", (name,))


async def test_slot_of_another_database_is_not_the_sources(
    service: Service, config: Sql, databases: Databases, published: Sql, shop_dsn: str
) -> None:
    """Slots are the whole server's."""
    elsewhere = databases.create()
    with connect(elsewhere) as other:
        name = f"foreign_{other.info.dbname}"
        other.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        source = add_source(config, shop_dsn, replication_name=name)
        shown = await judged(service, source)
        assert not shown["source"]["is_replication_enabled"]
        assert f"its slot {name} belongs to database {other.info.dbname}" in shown["reasons"]
        assert published


async def test_monitor_says_what_the_slot_is(start: Start, config: Sql, published: Sql, shop_dsn: str) -> None:
    """ERROR in the platform's table."""
    name = f"phys_{published.info.dbname}"
    published.execute("SELECT pg_create_physical_replication_slot(%s, true)", (name,))
    add_source(config, shop_dsn, replication_name=name)
    try:
        service: Service = await start(wal_interval_s=1)
        await service.events.until(WalRound)
        row = config.execute("SELECT status, error_message FROM wal_monitor").fetchone()
        assert row == {"status": "ERROR", "error_message": "its slot is a physical slot, not a logical one"}
    finally:
        published.execute("SELECT pg_drop_replication_slot(%s)", (name,))


@pytest.mark.parametrize("name", ["rosetta_slot", "Rosetta-Slot", "ö", 'we"ird; \\', "x" * 80])
async def test_remedies_for_what_is_missing_run_as_printed(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, name: str
) -> None:
    """Names are quoted; a slot gets a name that PostgreSQL accepts, and the source is told of it."""
    name = f"{name}_{shop.info.dbname}" if len(name) < 40 else name
    source = add_source(config, shop_dsn, publication_name=name[:63], replication_name=name)
    shop.execute('CREATE TABLE "odd ""name.t" (id int)')
    first = await judged(service, source)
    for says in ("its publication is not enabled", "its replication is not enabled"):
        run(first["reasons"][says]["remedy"], shop, config)
    second = await judged(service, source)
    assert second["source"]["is_publication_enabled"]
    assert second["source"]["is_replication_enabled"]
    says = 'on table odd "name.t UPDATE and DELETE fail: it has no primary key'
    run(second["reasons"][says]["remedy"], shop, config)
    assert says not in (await judged(service, source))["reasons"]


async def test_table_that_left_can_be_added_again(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """The drift names it, with the statement."""
    published.execute('DROP PUBLICATION rosetta; CREATE TABLE "a.b" (id int PRIMARY KEY)')
    published.execute('CREATE PUBLICATION rosetta FOR TABLE orders, "a.b"')
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute('ALTER PUBLICATION rosetta DROP TABLE "a.b"')
    shown = await judged(service, source)
    run(shown["reasons"]["registered, but no longer published: a.b"]["remedy"], published, config)
    again = await judged(service, source)
    assert not [says for says in again["reasons"] if "no longer published" in says]


async def test_every_remedy_for_a_missing_identity_helps(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Whatever the reason is; nothing is said of a publication of all tables from which a table was dropped."""
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, a text, g int GENERATED ALWAYS AS (id) STORED)")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE t (a)")
    source = add_source(config, shop_dsn)
    for statement in (
        "SELECT 1",
        "ALTER TABLE t REPLICA IDENTITY FULL; ALTER PUBLICATION rosetta SET TABLE t (id)",
        "ALTER PUBLICATION rosetta SET TABLE t; ALTER TABLE t REPLICA IDENTITY FULL",
        "ALTER TABLE t REPLICA IDENTITY NOTHING; ALTER TABLE t DROP COLUMN g",
        "ALTER TABLE t REPLICA IDENTITY DEFAULT, DROP CONSTRAINT t_pkey",
    ):
        shop.execute(statement)
        for _ in range(2):
            reasons = (await judged(service, source))["reasons"]
            for says in [says for says in reasons if says.startswith("on table t ")]:
                run(reasons[says]["remedy"], shop, config)
        shop.execute("INSERT INTO t (id, a) VALUES (1, 'a'); UPDATE t SET a = 'b'; DELETE FROM t")
        assert not [says for says in (await judged(service, source))["reasons"] if says.startswith("on table t ")]
    shop.execute("DROP PUBLICATION rosetta; CREATE SCHEMA s; CREATE TABLE s.u (id int PRIMARY KEY)")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE t, s.u")
    await service.sync(source)
    shop.execute("ALTER PUBLICATION rosetta DROP TABLE s.u")
    run((await judged(service, source))["reasons"]["registered, but no longer published: s.u"]["remedy"], shop, config)
    shop.execute("DROP PUBLICATION rosetta; DROP TABLE s.u; CREATE PUBLICATION rosetta FOR ALL TABLES")
    assert not [says for says in (await judged(service, source))["reasons"] if "no longer published" in says]


def test_slot_names_are_those_that_postgresql_accepts() -> None:
    """Lower case, digits, underscores, at most 63."""
    for wanted in ("", "Ä", "a-b", "x" * 100, "ok_1"):
        assert re.fullmatch("[a-z0-9_]{1,63}", remedies.slot_name(wanted))
    assert remedies.slot_name("ok_1") == "ok_1"


def test_recreated_slot(shop: Sql) -> None:
    """The remedy for a slot that has lost WAL makes it anew; the one for a slot that nothing reads only looks."""
    name = f"gone_{shop.info.dbname}"
    shop.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
    shop.execute(remedies.recreate_slot(name))
    shop.execute(remedies.look_at_slot(name))
    assert shop.execute("SELECT slot_name FROM pg_replication_slots WHERE slot_name = %s", (name,)).rowcount == 1


async def test_server_without_logical_wal(service: Service, config: Sql, servers: Servers) -> None:
    """An error until its wal_level is set as the remedy says; what limits the WAL runs as well."""
    server = Postgres(servers.reaper, "replica")
    server.start()
    try:
        with connect(server.dsn()) as source:
            source.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION rosetta FOR ALL TABLES")
            added = add_source(config, server.dsn())
            shown = await judged(service, added)
            says = "wal_level is replica at its server: nothing can be replicated before it is logical"
            assert shown["level"] == "error"
            run(shown["reasons"][says]["remedy"], source, config)
            run(remedies.limit_wal(), source, config)
        server.stop()
        server.start()
        assert says not in (await judged(service, added))["reasons"]
    finally:
        server.stop()


async def test_page_says_what_kind_of_slot_it_is(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """With what newer versions know of it."""
    name = f"kind_{published.info.dbname}"
    published.execute(
        "SELECT pg_create_logical_replication_slot(%s, 'pgoutput', twophase => true, failover => true)", (name,)
    )
    source = add_source(config, shop_dsn, replication_name=name)
    await service.sync(source)
    page = await service.client.get(f"/sources/{source}/details", headers={"Accept": "text/html"})
    assert "logical, pgoutput, two-phase, failover" in page.text


def run(remedy: str, source: Sql, config: Sql) -> None:
    """Runs a remedy as a person would: the part for the config database there."""
    here, _, there = remedy.partition("-- in rosetta_config:\n")
    for statement in here.splitlines():
        source.execute(statement)
    if there:
        config.execute(there)
