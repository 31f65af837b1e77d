"""The WAL monitor: what it writes, the states that it names, and that a tick evicts no page."""

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from service.sources.questions import Answers
from service.sources.wal_monitor import judge
from service.telemetry.events import Evicted, TaskFailed, WalRound
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.operations

FINE = {
    "slot_type": "logical", "plugin": "pgoutput", "database": "shop", "is_here": True, "is_temporary": False,
    "is_active": True, "wal_status": "reserved", "confirmed_lsn": "0/1", "confirmed_position": 0, "restart_lsn": "0/0",
    "restart_position": 0, "safe_wal_size": None, "two_phase": False, "conflicting": False,
    "invalidation_reason": None, "inactive_since": None, "failover": False, "synced": False,
    "has_publication": True, "published_tables": 3, "is_standby": False, "wal_position": 100,
    "sent_position": None, "is_hidden": False, "since": None,
}  # fmt: skip
_SINCE = datetime(2026, 11, 25, 12, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=2)))


def answers(changes: dict[str, Any]) -> Answers:
    """A source's answers: those of a healthy one, with changes."""
    row = FINE | changes
    names = ("remote_server", "remote_slot", "remote_position", "remote_publication", "remote_holder")
    rows = {name: [row] for name in names}
    if changes.get("has_slot") is False:
        rows["remote_slot"] = []
    refused = changes.get("refused", {})
    return Answers({name: found for name, found in rows.items() if name not in refused}, refused)


@pytest.mark.parametrize(
    ("changes", "before", "status", "says"),
    [
        ({}, "0/1", "ACTIVE", None),
        ({"has_slot": False}, None, "ERROR", "slot does not exist"),
        ({"slot_type": "physical"}, None, "ERROR", "its slot is a physical slot, not a logical one"),
        ({"is_here": False, "database": "elsewhere"}, None, "ERROR", "its slot belongs to database elsewhere"),
        ({"plugin": "wal2json"}, None, "ERROR", "its slot uses the plugin wal2json, not pgoutput"),
        ({"is_temporary": True}, None, "ERROR", "its slot is temporary"),
        ({"wal_status": "lost"}, None, "ERROR", "must be recreated"),
        ({"invalidation_reason": "idle_timeout"}, None, "ERROR", "was invalidated (idle_timeout)"),
        ({"conflicting": True}, None, "ERROR", "conflicts with recovery"),
        ({"wal_status": "unreserved"}, None, "ERROR", "about to lose"),
        ({"wal_status": "extended"}, None, "IDLE", "max_wal_size"),
        ({"has_publication": False, "published_tables": 0}, None, "ERROR", "publication does not exist"),
        ({"published_tables": 0}, None, "ERROR", "exists but is empty"),
        ({"is_active": False}, None, "IDLE", "inactive and retains WAL"),
        ({"is_active": False, "inactive_since": _SINCE}, None, "IDLE", "(since 2026-11-25 10:00:00 UTC) and"),
        ({"is_active": False, "synced": True, "is_standby": True}, None, "ACTIVE", None),
        ({"is_active": False, "synced": True}, None, "IDLE", "inactive"),
        ({"wal_position": 2**24}, "0/1", "ERROR", "active but stalled"),
        ({"wal_position": 2**24, "sent_position": 2**23}, "0/1", "ERROR", "active but stalled"),
        ({"wal_position": 2**24, "sent_position": 2**24 - 100}, "0/1", "IDLE", "its tables are idle, or it is stuck"),
        ({"wal_position": 2**24}, "0/0", "ACTIVE", None),
        ({"wal_position": 2**24}, None, "ACTIVE", None),
        ({"refused": {"remote_position": "it is refused"}}, "0/1", "ACTIVE", None),
        ({"refused": {"remote_slot": "it is refused"}}, None, "IDLE", "its slot cannot be read: it is refused"),
        ({"refused": {"remote_publication": "no"}}, None, "IDLE", "its publication cannot be read: no"),
    ],
)
def test_states_have_names(changes: dict[str, Any], before: str | None, status: str, says: str | None) -> None:
    """The worst finding wins."""
    state = judge(answers(changes), before)
    assert state.status == status
    assert (state.message is None) if says is None else (state.message is not None and says in state.message)


def monitored(config: Sql) -> dict[str, Any]:
    """The one row of the platform's table."""
    (row,) = config.execute("SELECT * FROM wal_monitor").fetchall()
    return row


async def test_a_round_writes_facts_history_and_state(
    start: Start, config: Sql, published: Sql, shop_dsn: str, slot: str
) -> None:
    """A tick evicts nothing, a change of state does, and the page shows the history of the lag."""
    try:
        source = add_source(config, shop_dsn, replication_name=slot)
        service: Service = await start(wal_interval_s=1)
        await service.events.until(WalRound)
        row = monitored(config)
        assert row["status"] == "IDLE"
        assert "inactive" in row["error_message"]
        assert row["replication_slot_name"] == slot
        assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", row["wal_lsn"])
        assert row["replication_lag_bytes"] >= 0
        assert re.fullmatch(r"\d+ (bytes|kB|MB)", row["total_wal_size"])
        await service.settled(config)
        await service.details(source)
        before = len(service.events.events)
        published.execute("INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 1000) AS n")
        for _ in range(2):
            await service.events.until(WalRound, after=len(service.events.events))
        await service.settled(config)
        evicted = [event for event in service.events.events[before:] if isinstance(event, Evicted)]
        assert [event for event in evicted if event.sources is None or source in event.sources] == []
        assert monitored(config)["replication_lag_bytes"] > row["replication_lag_bytes"]
        (history,) = config.execute("SELECT count(*) AS n FROM source_details_lag").fetchall()
        assert history["n"] >= 3
        published.execute("ALTER PUBLICATION rosetta RENAME TO away")
        await service.events.until(Evicted, lambda event: event.sources is not None and source in event.sources, before)
        assert monitored(config)["error_message"] == "its publication does not exist"
        report = (await service.client.get("/health/ready")).json()
        assert report["background"]["slots_in_error"] == 1
        assert any(f"of 1 source(s) are in ERROR ({source})" in why for why in report["degraded"])
        (newest,) = config.execute("SELECT * FROM source_details_lag ORDER BY seen_at DESC LIMIT 1").fetchall()
        assert newest["restart_lsn"] <= newest["confirmed_lsn"]
        assert newest["inactive_since"] is not None
        assert newest["safe_wal_size"] is None
        page = await service.client.get(f"/sources/{source}/details?fresh=true")
        assert newest["restart_lsn"] in page.text
        assert "no limit" in page.text
        assert "WAL left before the slot is lost" in page.text
        assert "its publication does not exist" in page.text
    finally:
        published.execute("SELECT pg_drop_replication_slot(%s)", (slot,))


async def test_a_look_is_compared_with_one_of_a_minute_before(service: Service, config: Sql) -> None:
    """A client that confirms every ten seconds has confirmed nothing between two checks a second apart."""
    source = add_source(config)
    for age_s, expected in ((1, None), (61, "0/61"), (30, "0/61"), (90, "0/61")):
        config.execute(
            "INSERT INTO source_details_lag (source_id, seen_at, confirmed_lsn) "
            "VALUES (%s, now() - make_interval(secs => %s), %s::pg_lsn)",
            (source, age_s, f"0/{age_s}"),
        )
        (row,) = await service.runtime.database.fetch_all("wal_sources", held_s=600)
        assert row["confirmed_lsn"] == expected


@pytest.mark.parametrize(
    ("per_minute", "told"),
    [(2**20, "▲ 1.0 MB/min"), (-(2**20), "▼ 1.0 MB/min"), (0, "steady")],
)
async def test_the_lag_has_a_trend(service: Service, config: Sql, per_minute: int, told: str) -> None:
    """It covers the last quarter of an hour; older values do not count."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id) VALUES (%s)", (source,))
    config.execute(
        """
        INSERT INTO source_details_lag (source_id, seen_at, lag_bytes, safe_wal_size)
        SELECT %s, now() - make_interval(mins => n), CASE WHEN n < 15 THEN 10 ^ 9 - n * %s ELSE 0 END, 5 * 2 ^ 30
        FROM generate_series(0, 60) AS n
        """,
        (source, per_minute),
    )
    page = await service.client.get(f"/sources/{source}/details")
    assert told in page.text
    assert "5.0 GB" in page.text


@pytest.mark.parametrize(("wal_status", "told"), [("reserved", "no limit"), ("lost", "unknown"), (None, "unknown")])
async def test_only_a_slot_that_holds_its_wal_is_without_limit(
    service: Service, config: Sql, wal_status: str | None, told: str
) -> None:
    """PostgreSQL reports NULL for a slot that has lost its WAL too, and there may be no slot."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id) VALUES (%s)", (source,))
    config.execute("INSERT INTO source_details_lag (source_id, wal_status) VALUES (%s, %s)", (source, wal_status))
    page = await service.client.get(f"/sources/{source}/details")
    still_safe = re.search(r"WAL left before the slot is lost</dt><dd>(.*?)</dd>", page.text)
    assert still_safe is not None
    assert told in still_safe[1]


async def test_source_that_does_not_answer_keeps_its_last_figures(start: Start, config: Sql) -> None:
    """Its state gives the reason; the figures that the platform wrote before stay."""
    source = add_source(config)
    config.execute(
        "INSERT INTO wal_monitor (source_id, replication_lag_bytes, total_wal_size) VALUES (%s, 5, '16 MB')", (source,)
    )
    service: Service = await start(wal_interval_s=1)
    await service.events.until(WalRound, lambda event: event.troubled == 1)
    row = monitored(config)
    assert (row["status"], row["replication_lag_bytes"], row["total_wal_size"]) == ("ERROR", 5, "16 MB")
    assert "cannot be queried" in row["error_message"]
    assert config.execute("SELECT FROM source_details_lag").fetchall() == []


async def test_one_process_of_all_makes_a_round(start: Start, config: Sql) -> None:
    """Four processes make one round per interval."""
    add_source(config)
    services = [await start(wal_interval_s=3600) for _ in range(4)]

    def rounds() -> int:
        return sum(len(service.events.of(WalRound)) for service in services)

    await until(rounds)
    for service in services:
        await service.settled(config)
    assert rounds() == 1


async def test_history_is_bounded_and_goes_with_its_source(start: Start, config: Sql, shop_dsn: str) -> None:
    """All of a day, then one measurement of every ten minutes, for a week."""
    source = add_source(config, shop_dsn)
    config.execute(
        "INSERT INTO source_details_lag (source_id, seen_at, lag_bytes) "
        "SELECT %s, date_bin('10 minutes', now(), 'epoch') - n * interval '1 minute', n "
        "FROM generate_series(0, 8 * 24 * 60) AS n WHERE n < 1600 OR n %% 60 = 0",
        (source,),
    )
    service: Service = await start(wal_interval_s=3600)
    await service.events.until(WalRound)

    def kept(condition: str) -> int:
        (row,) = config.execute(f"SELECT count(*) AS n FROM source_details_lag WHERE {condition}").fetchall()
        return int(row["n"])

    assert kept("seen_at < now() - interval '7 days'") == 0
    assert kept("seen_at < now() - interval '6 days'") == 24
    # The hour that has become a day old was thinned, except the bucket that both sides share.
    assert 5 <= kept("seen_at BETWEEN now() - interval '1 day 55 minutes' AND now() - interval '1 day 5 minutes'") <= 14
    assert kept("seen_at BETWEEN now() - interval '10 hours' AND now() - interval '9 hours'") == 60
    config.execute("DELETE FROM sources")
    assert config.execute("SELECT FROM source_details_lag").fetchall() == []


async def test_source_deleted_during_a_look_is_no_failure(start: Start, config: Sql, config_dsn: str) -> None:
    """Nor is a source deleted while the schedule adds new sources."""
    with connect(config_dsn) as other:
        gone, kept = add_source(config), add_source(config)
        other.execute("BEGIN")
        other.execute("DELETE FROM sources WHERE id = %s", (gone,))
        service: Service = await start(wal_interval_s=1, sync_interval_s=60)
        waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        await until(lambda: (config.execute(waiting).fetchone() or {})["n"])
        other.execute("COMMIT")
    await service.events.until(WalRound)
    scheduled = "SELECT array_agg(source_id) AS ids FROM source_details_schedule"
    await until(lambda: (config.execute(scheduled).fetchone() or {})["ids"] == [kept])
    assert service.events.of(TaskFailed) == []
