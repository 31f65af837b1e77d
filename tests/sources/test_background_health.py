"""The health report shows what goes wrong in the background, and the service stays ready."""

import pytest

from service.sources import schedule
from service.telemetry.events import ScheduledSync, TaskFailed
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.operations


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_LOOK_AGAIN_S", 0.1)


async def test_health_and_metrics_tell_of_what_goes_wrong_in_the_background(start: Start, config: Sql) -> None:
    """What fails and what is late is reported; work that is switched off is not."""
    add_source(config)
    service: Service = await start(sync_interval_s=100)
    await until(lambda: config.execute("UPDATE source_details_schedule SET due_at = now()").rowcount)
    await service.events.until(ScheduledSync)
    report = (await service.client.get("/health/ready")).json()
    assert report["background"]["syncs_failing"] == 1
    assert any("1 source(s) fail their background syncs (1)" in reason for reason in report["degraded"])
    assert report["background"]["slots_in_error"] == 0
    assert 'rosetta_scheduled_syncs_total{outcome="failed"} 1.0' in (await service.client.get("/metrics")).text
    for path in ("/", "/sources/1/details?fresh=true"):
        assert "ts syncs fail: " in (await service.client.get(path)).text, path
    # A sync by hand ends the failure, even before the source's next turn.
    config.execute(
        "INSERT INTO source_details_sync_state (source_id, synced_at, incarnation, source_snapshot) "
        "VALUES (1, now(), 'x', pg_current_snapshot())"
    )
    for path in ("/", "/sources/1/details?fresh=true"):
        assert "ts syncs fail: " not in (await service.client.get(path)).text, path
    after = (await service.client.get("/health/ready")).json()
    assert after["background"]["syncs_failing"] == 0
    assert not any("fail their background syncs" in reason for reason in after["degraded"])
    config.execute(
        "UPDATE source_details_schedule SET due_at = now() - interval '1 hour', claimed_until = NULL;"
        "UPDATE source_details_wal_round SET due_at = now() - interval '1 hour'"
    )
    off: Service = await start()
    late = (await off.client.get("/health/ready")).json()["background"]
    assert late == {"syncs_failing": 0, "syncs_late_s": 0, "slots_in_error": 0, "wal_round_late_s": 0}


async def test_what_the_background_lacks_does_not_keep_pages_from_being_ready(start: Start, config: Sql) -> None:
    """A missing right, or a whole missing migration, is reported and does no other harm."""
    service: Service = await start(sync_interval_s=100)
    for statement in (
        "REVOKE ALL ON source_details_schedule FROM rosetta_service", "DROP TABLE source_details_schedule",
    ):  # fmt: skip
        config.execute(statement)
        ready = await service.client.get("/health/ready")
        assert ready.status_code == 200
        assert any("state of background work is unknown" in why for why in ready.json()["degraded"])


async def test_task_that_fails_again_and_again_is_told_of(start: Start, config: Sql) -> None:
    """The WAL monitor lacks a right: it can claim no round, which nobody would notice otherwise."""
    config.execute("REVOKE ALL ON source_details_wal_round FROM rosetta_service")
    service: Service = await start(wal_interval_s=1)
    await service.events.until(TaskFailed)
    report = (await service.client.get("/health/ready")).json()
    assert any("the WAL monitor failed and was restarted: InsufficientPrivilege" in why for why in report["degraded"])
    assert 'rosetta_task_failures_total{task="WAL monitor"} ' in (await service.client.get("/metrics")).text


async def test_background_syncs_that_are_late_are_told_of(start: Start, config: Sql) -> None:
    """For example, because others hold all leases."""
    for _ in range(2):
        add_source(config)
    config.execute(
        "INSERT INTO source_details_schedule (source_id, due_at, claimed_until) "
        "SELECT id, now() - interval '1 hour', CASE WHEN id = 1 THEN now() + interval '1 hour' END FROM sources"
    )
    service: Service = await start(sync_interval_s=100, syncs_at_once=1)
    report = (await service.client.get("/health/ready")).json()
    assert report["status"] == "degraded"
    assert report["background"]["syncs_late_s"] > 3000
    assert any("background syncs are late" in reason for reason in report["degraded"])
