"""The rules of a source's health: each row of the table in docs/health.md is a case here."""

import html
import re
from typing import Any

import pytest

from service.sources.health import (
    FAILURES,
    IS_SILENT,
    LOOKED_OLD_S,
    LOSS_NEAR_S,
    LOSS_SOON_S,
    MONITOR_OLD_S,
    NO_PUBLICATION,
    NO_SLOT,
    health,
)
from tests import PROJECT
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service

SLOT = {
    "slot_type": "logical", "plugin": "pgoutput", "database": "shop", "is_here": True, "is_temporary": False,
    "invalidation_reason": None, "conflicting": False, "wal_status": "reserved",
}  # fmt: skip
SEEN = {
    "server": {"wal_level": "logical"}, "slot": SLOT, "unread": {}, "not_known": {}, "fails": {},
    "is_all_tables": False,
}  # fmt: skip
MONITOR = {"status": "ACTIVE", "error_message": None, "threshold": "OK", "age_s": 20}
FINE = {
    "id": 7, "publication_name": "pub", "replication_name": "slot", "pg_username": "reader",
    "is_publication_enabled": True, "is_replication_enabled": True, "is_known": True, "seen": SEEN, "failures": 0,
    "looked_age_s": 60, "is_set_back": False,
    "failing_since": None, "last_error": None, "monitor": MONITOR, "outlook": None, "unpublished": [],
}  # fmt: skip
HOLDER = {"role": "me", "database": "shop", "since": "2026-11-28T10:00:00+00:00"}
FAILING = {"failing_since": "2026-11-28T10:00:00.5+00:00", "last_error": "it is away"}


def monitor(**changes: Any) -> dict[str, Any]:
    """Facts with such a row of the monitor."""
    return {"monitor": MONITOR | changes}


def outlook(**changes: Any) -> dict[str, Any]:
    """Facts of a monitor that concluded this."""
    rate = {"rate_bytes": 2**20, "rate_over_s": 840, "is_disk_limit": False}
    nothing = dict.fromkeys(("lag_s", "lag_most_s", "lost_in_s", "held_by"))
    return {"outlook": nothing | rate | changes}


def seen(**changes: Any) -> dict[str, Any]:
    """Facts of a sync that saw this."""
    return {"seen": SEEN | changes}


# By rule: what differs from a healthy source, and the whole verdict. None: the facts cannot be read.
CASES: dict[str, tuple[dict[str, Any] | None, str, list[str]]] = {
    "nothing is wrong": ({}, "ok", []),
    "the facts cannot be read": (
        None, "unknown", ["its health cannot be judged: the database lacks a table or a right"],
    ),
    "never synced, nothing monitors it": (
        {"is_known": False, "looked_age_s": None, "seen": None, "monitor": None, "is_publication_enabled": False},
        "unknown", ["nothing monitors its WAL yet", "it has never been synced"],
    ),
    "never synced, and the monitor looks": (
        {"is_known": False, "looked_age_s": None, "seen": None, "is_replication_enabled": False}, "unknown",
        ["it has never been synced"],
    ),
    "synced long ago": (
        {"looked_age_s": LOOKED_OLD_S + 3600, "seen": SEEN | {"fails": {"t": "..."}}}, "unknown",
        ["it was last synced 3 hours ago"],
    ),
    "the monitor's row is old": (monitor(age_s=9 * 86_400), "unknown", ["the WAL monitor last looked 9 days ago"]),
    "the monitor's row is old and says ERROR": (
        monitor(age_s=MONITOR_OLD_S + 1, status="ERROR", threshold="ERROR"), "unknown",
        ["the WAL monitor last looked 5 minutes ago"],
    ),
    "syncs fail": (
        FAILING | {"failures": FAILURES - 1}, "warning",
        ["its syncs fail: it is away (since 2026-11-28 10:00:00 UTC, 2 times in a row)"],
    ),
    "syncs fail again and again": (
        FAILING | {"failures": FAILURES}, "error",
        ["its syncs fail: it is away (since 2026-11-28 10:00:00 UTC, 3 times in a row)"],
    ),
    "syncs fail, and the monitor cannot reach it either": (
        FAILING | {"failures": 1} | monitor(
            status="ERROR", error_message="the source database cannot be queried: it is away"
        ),
        "error", ["its syncs fail: it is away (since 2026-11-28 10:00:00 UTC)"],
    ),
    "only the monitor cannot reach it": (
        monitor(status="ERROR", error_message="the source database cannot be queried: it is away"), "error",
        ["replication fails: the source database cannot be queried: it is away"],
    ),
    "the monitor reports an error": (
        monitor(status="ERROR", error_message="its publication exists but is empty"), "error",
        ["replication fails: its publication exists but is empty"],
    ),
    "the monitor finds no slot": (
        monitor(status="ERROR", error_message=NO_SLOT)
        | {"is_replication_enabled": False, "seen": SEEN | {"slot": None}},
        "error", ["replication fails: its replication slot does not exist"],
    ),
    "the monitor finds no publication": (
        monitor(status="ERROR", error_message=NO_PUBLICATION) | {"is_publication_enabled": False}, "error",
        ["replication fails: its publication does not exist"],
    ),
    "the slot is inactive": (
        monitor(status="IDLE", error_message="its slot is inactive and retains WAL"), "warning",
        ["its slot is inactive and retains WAL"],
    ),
    "the slot retains too much WAL": (monitor(threshold="ERROR"), "error", ["its slot retains too much WAL"]),
    "the slot retains much WAL": (monitor(threshold="WARNING"), "warning", ["its slot retains much WAL"]),
    "the slot is lost soon": (
        outlook(lost_in_s=LOSS_SOON_S - 1), "warning",
        ["its slot is lost in about 5 hours, if its WAL goes on growing as in the last 14 minutes: 1.0 MB/s"],
    ),
    "the slot is lost within the hour": (
        outlook(lost_in_s=LOSS_NEAR_S - 1), "error",
        ["its slot is lost in about 59 minutes, if its WAL goes on growing as in the last 14 minutes: 1.0 MB/s"],
    ),
    "the disk is full soon": (
        outlook(lost_in_s=LOSS_SOON_S - 1, is_disk_limit=True), "warning",
        ["the disk of its server is full in about 5 hours, if its WAL goes on growing as in the last 14 minutes: "
         "1.0 MB/s"],
    ),
    "the slot is lost later": (outlook(lost_in_s=LOSS_SOON_S), "ok", []),
    "a transaction holds the slot": (
        outlook(held_by=HOLDER | {"kind": "session", "pid": 7}), "warning",
        ["a transaction of me in database shop since 2026-11-28 10:00:00 UTC holds its slot: all WAL since then "
         "is kept"],
    ),
    "a prepared transaction holds the slot": (
        outlook(held_by=HOLDER | {"kind": "prepared", "gid": "g"}), "warning",
        ["a prepared transaction of me in database shop since 2026-11-28 10:00:00 UTC holds its slot: all WAL since "
         "then is kept"],
    ),
    "which transaction holds the slot is hidden": (
        outlook(held_by={"kind": "hidden"}), "warning",
        ["a transaction holds its slot, and which one cannot be told: reader may not see other roles' sessions"],
    ),
    "the slot's reader confirms nothing": (monitor(status="IDLE", error_message=IS_SILENT), "warning", [IS_SILENT]),
    "the slot is not this source's": (
        seen(slot=SLOT | {"is_here": False, "database": "elsewhere"})
        | monitor(status="ERROR", error_message="its slot belongs to database elsewhere")
        | {"is_replication_enabled": False},
        "error", ["its slot slot belongs to database elsewhere"],
    ),
    "the slot has lost WAL": (
        seen(slot=SLOT | {"wal_status": "lost"}), "error",
        ["its slot slot has lost WAL that it needs and must be recreated (wal_status is lost)"],
    ),
    "wal_level is not logical": (
        seen(server={"wal_level": "replica"}), "error",
        ["wal_level is replica at its server: nothing can be replicated before it is logical"],
    ),
    "statements fail for want of an identity": (
        seen(fails={"t": "UPDATE and DELETE fail: it has no primary key", "u": "..."}), "warning",
        ["on table t (and 1 more) UPDATE and DELETE fail: it has no primary key"],
    ),
    "a table cannot be read": (
        seen(unread={"t": "another session is altering it"}), "warning",
        ["table t could not be read: another session is altering it"],
    ),
    "a question is refused": (
        seen(not_known={"its WAL position": "permission denied for function pg_current_wal_lsn"}), "warning",
        ["its WAL position could not be read: permission denied for function pg_current_wal_lsn"],
    ),
    "the source was set back": (
        {"is_set_back": True}, "warning",
        ["its server was set back in time within a day, or is a copy: what was replicated since has to be copied"],
    ),
    "there is no publication": ({"is_publication_enabled": False}, "warning", ["its publication is not enabled"]),
    "there is no slot": (
        {"is_replication_enabled": False, "seen": SEEN | {"slot": None}}, "warning", ["its replication is not enabled"],
    ),
    "registered tables are no longer published": (
        {"unpublished": ["a", "b", "c", "d"]}, "warning", ["registered, but no longer published: a, b, c, ..."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_rule(rule: str) -> None:
    """The level and every reason; each reason has a remedy."""
    changes, level, reasons = CASES[rule]
    judged = health(None if changes is None else FINE | changes)
    assert (judged.level, [reason.says for reason in judged.reasons]) == (level, reasons)
    assert all(reason.remedy for reason in judged.reasons)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [(NO_SLOT, "pg_create_logical_replication_slot('slot'"), (NO_PUBLICATION, "CREATE PUBLICATION")],
)
def test_what_the_monitor_misses_is_made_by_the_remedy(message: str, remedy: str) -> None:
    """And not only looked for again."""
    (reason,) = health(FINE | monitor(status="ERROR", error_message=message)).reasons
    assert remedy in (reason.remedy or "")


def test_every_rule_is_documented() -> None:
    """In the table, with its level, and no other."""
    rows = re.findall(r"^\| ([^|]+?) \| (ok|unknown|warning|error) \|", (PROJECT / "docs/health.md").read_text(), re.M)
    assert rows == [(rule, level) for rule, (_, level, _) in CASES.items()]


def test_source_that_does_not_answer_a_page() -> None:
    """Told unless the syncs tell it already."""
    assert [reason.says for reason in health(FINE, "no answer within 250 ms").reasons] == [
        "its database does not answer: no answer within 250 ms"
    ]
    failing = health(FINE | FAILING | {"failures": 1}, "no answer within 250 ms")
    assert len(failing.reasons) == 1


async def test_one_verdict_for_page_list_meta_and_metrics(service: Service, config: Sql) -> None:
    """They cannot differ: they come from one function and one reading."""
    source = add_source(config, is_publication_enabled=True, is_replication_enabled=True)
    config.execute(
        "INSERT INTO wal_monitor (source_id, updated_at) VALUES (%s, now() - interval '9 days')",
        (source,),
    )
    await service.settled(config)
    meta = (await service.details(source)).json()["meta"]["health"]
    old = {"level": "unknown", "says": "the WAL monitor last looked 9 days ago", "remedy": "rosetta doctor"}
    assert old in meta["reasons"]
    page = await service.client.get(f"/sources/{source}/details", headers={"Accept": "text/html"})
    assert old["says"][1:] in page.text
    # The list has room for the worst one only, and finds a source by any.
    for said in (reason["says"] for reason in meta["reasons"]):
        found = await service.client.get("/", params={"search": said, "state": meta["level"]})
        assert f'href="sources/{source}/details"' in found.text
        assert meta["reasons"][0]["says"] in html.unescape(found.text)
    await service.runtime.health.look_at_sources()
    assert f'rosetta_sources{{health="{meta["level"]}"}} 1.0' in (await service.client.get("/metrics")).text


@pytest.mark.parametrize("moment", ["infinity", "-infinity"])
async def test_moment_without_end_is_no_harm(service: Service, config: Sql, moment: str) -> None:
    """The platform's columns may hold it; how long ago it was is then unknown."""
    source = add_source(config, last_check_replication_publication=moment)
    config.execute(
        "INSERT INTO wal_monitor (source_id, updated_at, last_wal_received) VALUES (%s, %s, %s)",
        (source, moment, moment),
    )
    await service.settled(config)
    judged = (await service.details(source)).json()["meta"]["health"]
    assert "the WAL monitor last looked at an unknown time" in [reason["says"] for reason in judged["reasons"]]
    assert (await service.client.get("/")).status_code == 200


async def test_missing_right_is_no_harm(service: Service, config: Sql) -> None:
    """The page is served, and its health is unknown."""
    source = add_source(config)
    config.execute("DROP TABLE source_details_schedule")
    await service.settled(config)
    judged = (await service.details(source)).json()["meta"]["health"]
    assert judged["level"] == "unknown"
    assert judged["reasons"][0]["remedy"] == "rosetta doctor"
