"""What the WAL monitor concludes from its history: the lag in seconds, and when a slot is lost."""

from typing import Any

import pytest

from service.database.pool import ConfigDatabase
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.operations
_MB = 2**20
_NOTHING = {
    "slot": "s", "is_seen": True, "status": "ACTIVE", "error": None, "wal_lsn": None, "retained_bytes": None,
    "restart_lsn": None, "wal_status": None, "safe_wal_size": None, "inactive_since": None, "disk_bytes": None,
    "held_by": None,
}  # fmt: skip


def lsn(position: int) -> str:
    """A position in bytes as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


async def concluded(database: ConfigDatabase, config: Sql, source: int, **now: Any) -> dict[str, Any]:
    """What the newest row of the history says after this was measured."""
    confirmed, end = now.pop("confirmed", 0), now.pop("end", 0)
    measured = {"confirmed_lsn": lsn(confirmed), "lag_bytes": end - confirmed, "wal_position": end}
    await database.fetch_one("record_wal", **_NOTHING | measured | now, id=source)
    row = config.execute(
        "SELECT * FROM source_details_lag WHERE source_id = %s ORDER BY seen_at DESC LIMIT 1", (source,)
    ).fetchone()
    assert row is not None
    return row


def remember(config: Sql, source: int, ago_s: float, **measured: Any) -> None:
    """A measurement of that time ago."""
    confirmed, end = measured.pop("confirmed", 0), measured.pop("end", 0)
    row = {"lag_bytes": end - confirmed, "confirmed_lsn": lsn(confirmed), "retained_bytes": None, "safe_wal_size": None}
    config.execute(
        """
        INSERT INTO source_details_lag (source_id, seen_at, lag_bytes, confirmed_lsn, retained_bytes, safe_wal_size)
        VALUES (%(source)s, now() - make_interval(secs => %(ago_s)s), %(lag_bytes)s, %(confirmed_lsn)s,
                %(retained_bytes)s, %(safe_wal_size)s)
        """,
        row | measured | {"source": source, "ago_s": ago_s},
    )


@pytest.mark.parametrize(
    ("past", "confirmed", "end", "lag_s", "most_s"),
    [
        # (seconds ago, confirmed, end of the WAL) of each earlier measurement.
        pytest.param([(60, 5000, 5000)], 5000, 5000, 0, 0, id="idle, and read to its end"),
        pytest.param([(7200, 5000, 5000), (3600, 5000, 5000)], 5000, 5000, 0, 0, id="idle for hours"),
        pytest.param([(120, 1000, 1000), (60, 3000, 3000)], 5000, 7000, 30, 60, id="read in the middle of a minute"),
        pytest.param(
            [(180, 900, 1000), (120, 1000, 1000), (60, 1000, 3000)], 1000, 9000, 120, 120, id="reader is dead"
        ),
        pytest.param([(180, 900, 1000), (120, 900, 2000), (60, 900, 3000)], 1500, 4000, 150, 180, id="reader is slow"),
        pytest.param([(7200, 900, 1000), (3600, 1000, 1000)], 1000, 3000, 3600, 3600, id="idle, then written to"),
        pytest.param(
            [(120, 1000, 3000), (60, 1000, 4000)], 1000, 5000, None, None, id="since before all that is known"
        ),
        pytest.param([], 1000, 5000, None, None, id="seen for the first time"),
        pytest.param([(120, 9000, 9000), (60, 1000, 1000)], 1000, 2000, 60, 60, id="set back to an earlier position"),
        pytest.param([(900, 100, 100), (600, 9000, 9000)], 1000, 2000, None, None, id="set back just now"),
    ],
)
async def test_lag_in_seconds(
    service: Service, config: Sql, past: list[tuple[float, int, int]], confirmed: int, end: int, lag_s: float | None,
    most_s: float | None,
) -> None:  # fmt: skip
    """Since when there is WAL beyond what is confirmed. Not known, it is not told."""
    source = add_source(config)
    for ago_s, confirmed_then, end_then in past:
        remember(config, source, ago_s, confirmed=confirmed_then, end=end_then)
    row = await concluded(service.runtime.database, config, source, confirmed=confirmed, end=end)
    assert row["lag_s"] == (None if lag_s is None else pytest.approx(lag_s, abs=2))
    assert row["lag_most_s"] == (None if most_s is None else pytest.approx(most_s, abs=2))


_DOWN = [(60 * minutes, (100 + 10 * minutes) * _MB) for minutes in range(10, 0, -1)]


@pytest.mark.parametrize(
    ("past", "left", "lost_in_s"),
    [
        # (seconds ago, bytes left before the slot is lost) of each earlier measurement.
        pytest.param(_DOWN, 100 * _MB, 600, id="ten MB a minute"),
        pytest.param([(60 * n, 10 * n * _MB) for n in range(10, 0, -1)], 0, 0, id="nothing is left"),
        pytest.param(_DOWN[-3:], 100 * _MB, None, id="too few measurements"),
        pytest.param([(n, (100 + n) * _MB) for n in (5, 4, 3, 2, 1)], 100 * _MB, None, id="too short a time"),
        pytest.param([(60 * n, (300 - 10 * n) * _MB) for n in range(10, 0, -1)], 300 * _MB, None, id="more and more"),
        pytest.param(
            [(60 * n, (100 + 90 * (n % 3)) * _MB) for n in range(12, 0, -1)], 100 * _MB, None, id="up and down"
        ),
        pytest.param([*_DOWN, (30, 900 * _MB)], 900 * _MB, None, id="its reader has caught up"),
        pytest.param([(60 * n, 2**45 + n * 1000) for n in range(10, 0, -1)], 2**45, None, id="in years"),
        pytest.param([(3600 + 60 * n, (100 + 10 * n) * _MB) for n in range(10)], 100 * _MB, None, id="only long ago"),
    ],
)
async def test_time_to_loss(
    service: Service, config: Sql, past: list[tuple[float, int]], left: int, lost_in_s: float | None
) -> None:
    """Told if the last quarter of an hour's measurements follow a line; by the disk's size for a slot without limit."""
    for limit in ("slot", "disk"):
        source = add_source(config, name=limit)

        def measured(left_then: int, limit: str = limit) -> dict[str, Any]:
            kept = {"retained_bytes": 2**46 - left_then}
            return kept | ({"safe_wal_size": left_then} if limit == "slot" else {})

        for ago_s, left_then in past:
            remember(config, source, ago_s, **measured(left_then))
        row = await concluded(
            service.runtime.database, config, source, **measured(left), disk_bytes=2**46 if limit == "disk" else None
        )
        assert row["lost_in_s"] == (None if lost_in_s is None else pytest.approx(lost_in_s, rel=0.02, abs=2))
        if lost_in_s:
            assert row["rate_bytes"] == pytest.approx(10 * _MB / 60, rel=0.02)
            assert row["rate_over_s"] == pytest.approx(600, abs=2)
            assert row["is_disk_limit"] == (limit == "disk")


async def test_nothing_is_foretold_of_a_slot_that_is_read_or_gone(service: Service, config: Sql) -> None:
    """What is left falls within each segment, also if the reader keeps up. And a slot that is gone fills no disk."""
    read, gone = add_source(config, name="read"), add_source(config, name="gone")
    for minutes in range(10, 0, -1):
        remember(config, read, 60 * minutes, retained_bytes=_MB, safe_wal_size=(200 + minutes) * _MB)
        remember(config, gone, 60 * minutes, retained_bytes=(100 - 10 * minutes) * _MB)
    database = service.runtime.database
    kept_up = await concluded(database, config, read, retained_bytes=_MB, safe_wal_size=200 * _MB)
    assert kept_up["lost_in_s"] is None
    without = await concluded(database, config, gone, retained_bytes=None, disk_bytes=2**40)
    assert without["lost_in_s"] is None


async def test_figures_of_a_hostile_source_are_recorded_all_the_same(service: Service, config: Sql) -> None:
    """Its monitor goes on."""
    source = add_source(config)
    for minutes in range(6, 0, -1):
        remember(config, source, 60 * minutes, retained_bytes=-(2**62) + minutes, end=5)
    row = await concluded(
        service.runtime.database, config, source, end=2**62, retained_bytes=-(2**63) + 1, disk_bytes=2**60
    )
    assert row["lost_in_s"] is None


async def test_page_and_meta_say_it_before_any_threshold(service: Service, config: Sql) -> None:
    """A warning with what to do, an error in the last hour; old conclusions are no news."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id, replication_lag_bytes) VALUES (%s, 5)", (source,))
    config.execute(
        "INSERT INTO source_details_lag (source_id, lag_bytes, safe_wal_size, lag_s, lag_most_s, lost_in_s, "
        "rate_bytes, rate_over_s, is_disk_limit) VALUES (%s, 5, 99, 12.5, 60, 11000, 1048576, 840, false)",
        (source,),
    )
    meta = (await service.details(source)).json()["meta"]
    assert meta["outlook"] == {
        "lag_s": 12.5, "lag_most_s": 60, "lost_in_s": 11000, "rate_bytes": 1048576, "rate_over_s": 840,
        "is_disk_limit": False, "held_by": None,
    }  # fmt: skip
    says = "its slot is lost in about 3 hours, if its WAL goes on growing as in the last 14 minutes: 1.0 MB/s"
    (told,) = (reason for reason in meta["health"]["reasons"] if "lost" in reason["says"])
    assert (told["level"], told["says"]) == ("warning", says)
    page = (await service.client.get(f"/sources/{source}/details")).text
    assert "about 12 s" in page
    assert "in about 3 hours, by 1.0 MB/s over 14 minutes" in page
    config.execute("UPDATE source_details_lag SET seen_at = now() - interval '6 minutes'")
    config.execute("UPDATE sources SET publication_name = 'another'")
    await service.settled(config)
    meta = (await service.details(source)).json()["meta"]
    assert meta["outlook"] is None
    assert "lost" not in str(meta["health"])
