"""The timeline: what happened to a source, by whom, told by the triggers in the transaction of the fact."""

import html
import json
import re
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from service.database.migrations import numbered
from service.telemetry.events import ScheduledSync
from tests.fixtures.commands import Command
from tests.fixtures.databases import Databases, Sql, connect
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.operations


async def told(service: Service, source: int, **asked: Any) -> list[dict[str, Any]]:
    """The entries, the latest first."""
    response = await service.client.get(f"/api/v1/sources/{source}/timeline", params=asked)
    assert response.status_code == 200, response.text
    entries: list[dict[str, Any]] = response.json()
    return entries


def sentences(entries: list[dict[str, Any]]) -> list[str]:
    """All that the entries say, the earliest first."""
    return [says for entry in reversed(entries) for says in entry["says"]]


async def test_what_a_program_does_is_told_with_its_role_and_name(
    service: Service, config: Sql, config_dsn: str, rosetta: Command
) -> None:
    """In the API, on the page and by the command. What merely ticks is not told, nor what is the same as before."""
    source = add_source(config, name="shop")
    with connect(make_conninfo(config_dsn, application_name="control plane")) as program:
        role = program.info.user
        add_pipeline(program, source, "lake")
        program.execute("UPDATE pipelines SET status = 'START'")
        program.execute("UPDATE pipelines SET status = 'START', updated_at = now()")
        program.execute("UPDATE pipelines_destination SET is_error = true, error_message = 'no'")
        program.execute("UPDATE pipelines_destination SET is_error = true, error_message = 'no again'")
        program.execute("UPDATE pipelines_destination SET is_error = false")
        program.execute("DELETE FROM pipelines_destination")
        program.execute("DELETE FROM pipelines")
        program.execute("UPDATE sources SET pg_port = 2, pg_password = 'sekret', total_tables = 7, updated_at = now()")
        program.execute("UPDATE sources SET total_tables = 8")
        program.execute("INSERT INTO wal_monitor (source_id, wal_lsn) VALUES (%s, '0/1')", (source,))
        program.execute("UPDATE wal_monitor SET wal_lsn = '0/2'")
        for message in ("it retains 5 MB", "it retains 6 MB", "it is lost"):
            program.execute("UPDATE wal_monitor SET status = 'ERROR', error_message = %s", (message,))
        program.execute("UPDATE rosetta_setting_configuration SET config_value = '1' WHERE config_key LIKE '%WARNING'")
    entries = await told(service, source)
    assert sentences(entries) == [
        "shop is added",
        "pipeline p0 is added",
        "pipeline p0 goes to lake",
        "pipeline p0: status PAUSE is now START",
        "lake fails for pipeline p0",
        "lake works again for pipeline p0",
        "pipeline p0 no longer goes to lake",
        "pipeline p0 is removed",
        "shop: the password is another; port 1 is now 2",
        "the slot is error, after active: it retains 5 MB",
        "the slot is error: it is lost",
        "WAL_MONITORING_THRESHOLD_WARNING 3000 is now 1",
    ]
    assert {(entry["role"], entry["program"]) for entry in entries[:-1]} == {(role, "control plane")}
    row = config.execute("SELECT string_agg(facts::text, '') AS facts FROM source_details_timeline").fetchone()
    assert row is not None
    assert "sekret" not in row["facts"]
    page = html.unescape(re.sub(r"<[^>]*>", "", (await service.client.get(f"/sources/{source}/timeline")).text))
    assert "Pipeline p0: status PAUSE is now START" in page
    assert f"by {role} with control plane" in page
    lines = rosetta("timeline", "shop", "--kind", "state").stdout.splitlines()
    assert [line.split("UTC", 1)[-1].strip() for line in lines] == [
        f"state  by {role}, control plane", "the slot is error: it is lost",
        f"state  by {role}, control plane", "the slot is error, after active: it retains 5 MB",
    ]  # fmt: skip
    assert [entry["kind"] for entry in json.loads(rosetta("timeline", source, "--count", "2", "--json").stdout)] == [
        "setting", "state",
    ]  # fmt: skip


async def test_schema_change_is_told_with_its_verdict(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """By a sync: tables that come and go, and new versions of the others; a sync without a change tells nothing."""
    source = add_source(config, shop_dsn)
    published.execute("CREATE TABLE gone (id int PRIMARY KEY)")
    published.execute('CREATE SCHEMA other; CREATE TABLE other."Items" (id int PRIMARY KEY, title text)')
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN came text")
    published.execute('ALTER TABLE other."Items" DROP COLUMN title')
    published.execute("DROP TABLE gone")
    await service.sync(source)
    await service.sync(source)
    published.execute("CREATE TABLE gone (id int PRIMARY KEY)")
    await service.sync(source)
    entries = await told(service, source)
    said = [
        (entry["kind"], entry["what"], entry["count"], entry["verdict"], sorted(entry["says"]))
        for entry in reversed(entries)
        if entry["kind"] in ("tables", "schema")
    ]
    # The entries of one statement have no order.
    assert (sorted(said[:2]), sorted(said[2:5]), said[5:]) == (
        [
            ("tables", "added", 1, None, ["other.Items is added"]),
            ("tables", "added", 2, None, ["gone is added", "orders is added"]),
        ],
        [
            ("schema", "changed", 1, "breaking", ["other.Items version 2: title is dropped (programs that read it)"]),
            ("schema", "changed", 1, "compatible", ["orders version 2: came is added"]),
            ("tables", "unpublished", 1, None, ["gone is no longer published"]),
        ],
        [("tables", "published", 1, None, ["gone is published again"])],
    )
    assert all(entry["program"] == "rosetta-source-details" for entry in entries if entry["kind"] == "schema")


async def test_many_changes_at_once_are_one_entry(service: Service, config: Sql) -> None:
    """For each source of the statement, with the names of the first twenty."""
    here, there = add_source(config), add_source(config)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name) "
        "SELECT s.id, 'table_' || lpad(n::text, 4, '0') FROM generate_series(1, 300) AS n, sources AS s ORDER BY n"
    )
    for source in (here, there):
        (entry,) = await told(service, source, kind="tables")
        assert entry["count"] == 300
        assert entry["says"] == [f"table_{n:04} is added" for n in range(1, 21)] + ["and 280 more"]


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE source_details_timeline",
        "ALTER TABLE source_details_timeline RENAME COLUMN facts TO others",
        "CREATE UNIQUE INDEX ON source_details_timeline (id); ALTER TABLE source_details_timeline ALTER id RESTART",
        "ALTER TABLE destinations RENAME COLUMN name TO title",
    ],
)
def test_writer_goes_on_whatever_is_missing_of_the_timeline(config: Sql, harm: str) -> None:
    """After a partial restore, with a sequence behind its rows, beside a column that was renamed."""
    source = add_source(config, name="shop")
    add_pipeline(config, source, "lake")
    config.execute(harm.encode())
    with config.transaction():
        config.execute("UPDATE sources SET pg_port = 2")
        config.execute("UPDATE pipelines SET status = 'START'")
        config.execute("UPDATE pipelines_destination SET is_error = true")
        config.execute("DELETE FROM pipelines_destination")
        config.execute("INSERT INTO pipelines (name, source_id) VALUES ('other', %s)", (source,))
        add_table(config, source)
    config.execute("DELETE FROM sources")


def test_serializable_writers_do_not_meet_because_of_the_timeline(config: Sql, config_dsn: str) -> None:
    """An entry is made of the changed rows alone: another table that it read would be this transaction's read."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id) VALUES (%s)", (source,))
    with connect(config_dsn) as other:
        for connection in (config, other):
            connection.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        other.execute("SELECT status FROM wal_monitor")
        config.execute("UPDATE wal_monitor SET status = 'ERROR'")
        other.execute("UPDATE sources SET pg_port = 9")
        config.execute("COMMIT")
        other.execute("COMMIT")


async def test_what_was_not_named_was_not_judged(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """Of many versions in one statement the first twenty are named: the others may break anybody."""
    for number in range(20):
        published.execute(f"CREATE TABLE table_{number:02} (id int PRIMARY KEY)".encode())
    source = add_source(config, shop_dsn)
    await service.sync(source)
    for number in range(20):
        published.execute(f"ALTER TABLE table_{number:02} ADD COLUMN came text".encode())
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN came text")
    for number in range(20):
        published.execute(f"ALTER TABLE table_{number:02} ADD COLUMN more text".encode())
    await service.sync(source)
    later, sooner = await told(service, source, kind="schema")
    assert (sooner["count"], sooner["verdict"]) == (20, "compatible")
    assert (later["count"], later["says"][-1], later["verdict"]) == (21, "and 1 more", "unknown")


async def test_what_is_rolled_back_is_not_told(config: Sql, service: Service) -> None:
    """The entry is written in the transaction of the fact."""
    source = add_source(config)
    with config.transaction(force_rollback=True):
        add_pipeline(config, source, "lake")
    assert [entry["kind"] for entry in await told(service, source)] == ["source"]


def test_writer_waits_for_nobody_because_of_the_timeline(config: Sql, config_dsn: str) -> None:
    """No foreign key: a program that has locked a source's row does not hold up one that writes its monitor's row."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id) VALUES (%s)", (source,))
    with connect(config_dsn) as other, other.transaction():
        other.execute("SELECT FROM sources FOR UPDATE")
        config.execute("SET lock_timeout = '2s'")
        config.execute("UPDATE wal_monitor SET status = 'ERROR', error_message = 'no'")
    row = config.execute("SELECT count(*) AS n FROM source_details_timeline WHERE kind = 'state'").fetchone()
    assert row == {"n": 1}


async def test_lost_source_is_told_once_and_so_is_its_return(
    start: Start, config: Sql, published: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two failures in a row: one may be a blip. A third is not told again."""
    monkeypatch.setattr("service.sources.schedule._LOOK_AGAIN_S", 0.1)
    source = add_source(config, shop_dsn, pg_database="nowhere")
    service: Service = await start(sync_interval_s=1)

    async def of_reach() -> list[str]:
        return sentences(await told(service, source, kind="reach"))

    async def have_turns(count: int) -> None:
        for _ in range(count):
            before = len(service.events.events)
            config.execute("UPDATE source_details_schedule SET due_at = now()")
            await service.events.until(ScheduledSync, after=before)

    await have_turns(3)
    (lost,) = await of_reach()
    assert lost.startswith("the source is lost: ")
    assert "does not exist" in lost
    config.execute("UPDATE sources SET pg_database = %s", (published.info.dbname,))
    await have_turns(1)
    assert await of_reach() == [lost, "the source is back"]
    # A sync by hand brings it back, and its schedule does not learn of that before its next turn.
    config.execute("UPDATE sources SET pg_database = 'nowhere'")
    await have_turns(2)
    config.execute("UPDATE sources SET pg_database = %s", (published.info.dbname,))
    await service.sync(source)
    config.execute("UPDATE sources SET pg_database = 'nowhere'")
    await have_turns(1)
    assert await of_reach() == [lost, "the source is back"] * 2
    await have_turns(1)
    assert await of_reach() == [lost, "the source is back", lost, "the source is back", lost]


async def test_pages_of_the_timeline(service: Service, config: Sql) -> None:
    """Each entry on one of them, by the link to the next; also if more is told meanwhile."""
    source = add_source(config)
    for port in range(1, 8):
        config.execute("UPDATE sources SET pg_port = %s", (100 + port,))
    seen: list[int] = []
    target = f"/api/v1/sources/{source}/timeline?limit=3"
    while True:
        response = await service.client.get(target)
        seen += [entry["id"] for entry in response.json()]
        config.execute("UPDATE sources SET pg_port = pg_port + 1")
        if "link" not in response.headers:
            break
        target = f"/api/v1/sources/{source}/timeline" + response.headers["link"].split("<")[1].split(">")[0]
    assert len(seen) == 8
    assert seen == sorted(set(seen), reverse=True)
    first = (await service.client.get(f"/sources/{source}/timeline")).text
    assert "Earlier" not in first
    for wrong in ("limit=201", "before=-1", "kind=weather"):
        assert (await service.client.get(f"/api/v1/sources/{source}/timeline?{wrong}")).status_code == 422
    assert (await service.client.get("/api/v1/sources/999/timeline")).status_code == 404


async def test_timeline_is_bounded(service: Service, config: Sql) -> None:
    """In number for each source, and in time."""
    busy, quiet = add_source(config), add_source(config)
    config.execute(
        "INSERT INTO source_details_timeline (source_id, kind, facts) "
        'SELECT %s, \'tables\', \'{"what": "added", "count": 1, "items": []}\' FROM generate_series(1, 1500)',
        (busy,),
    )
    config.execute(
        "INSERT INTO source_details_timeline (source_id, kind, facts, happened_at) "
        "VALUES (%s, 'tables', '{}', now() - interval '91 days')",
        (quiet,),
    )
    await service.runtime.database.fetch_all("prune_timeline")
    rows = config.execute(
        "SELECT source_id, count(*) AS n FROM source_details_timeline GROUP BY source_id ORDER BY source_id"
    )
    assert rows.fetchall() == [{"source_id": busy, "n": 1000}, {"source_id": quiet, "n": 1}]


def test_changes_from_before_are_in_the_timeline(databases: Databases) -> None:
    """The migration tells those that the history has, once, with their time and without a role."""
    dsn = databases.migrated()
    with connect(dsn) as config:
        source = add_source(config)
        table = add_table(config, source, "orders")
        config.execute("TRUNCATE source_details_timeline")
        config.execute("SET session_replication_role = replica")
        config.execute(
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, created_at) "
            "VALUES (%(table)s, 1, now() - interval '2 days'), (%(table)s, 2, now() - interval '1 day')",
            {"table": table},
        )
        config.execute("TRUNCATE source_details_timeline")
        migration = next(path for path in numbered() if path.name.startswith("014"))
        for _ in range(2):
            config.execute(migration.read_bytes())
        rows = config.execute(
            "SELECT kind, role, facts -> 'items' AS items, happened_at < now() - interval '23 hours' AS is_old "
            "FROM source_details_timeline"
        )
        assert rows.fetchall() == [
            {"kind": "schema", "role": None, "items": [{"id": table, "table": "orders", "version": 2}], "is_old": True}
        ]
