"""The materialized view never causes outdated pages: not before a refresh, and not when refreshes race."""

from typing import Any

import psycopg
import pytest

from service.database.queries import query
from tests.fixtures.databases import Aside, Sql, connect
from tests.fixtures.metadata import add_source, add_table

REFRESH = "REFRESH MATERIALIZED VIEW public.source_details_tables"
CONCURRENTLY = "REFRESH MATERIALIZED VIEW CONCURRENTLY public.source_details_tables"


def read(config: Sql, source: int) -> dict[str, Any]:
    """A page, read with the service's own statement."""
    row = config.execute(query("details"), {"id": source, "names": None}).fetchone()
    assert row is not None
    return row


def names(config: Sql, source: int) -> list[str]:
    """The tables that a page shows."""
    return list(read(config, source)["published_names"])


def log(config: Sql) -> list[int]:
    """The sources that the log names."""
    return [row["source_id"] for row in config.execute("SELECT source_id FROM source_details_log ORDER BY 1")]


def agrees(config: Sql) -> bool:
    """Whether the stored rows equal the live rows."""
    row = config.execute(
        """
        SELECT count(*) AS differences
        FROM (SELECT table_id, source_id, table_name, is_published, version, fragment FROM source_details_tables) AS s
        FULL JOIN source_details_live AS l USING (table_id)
        WHERE s.fragment IS DISTINCT FROM l.fragment OR s.source_id IS DISTINCT FROM l.source_id
        """
    ).fetchone()
    return row == {"differences": 0}


def test_change_is_read_between_commit_and_refresh(config: Sql) -> None:
    """The log makes readers of that source, and of no other, read the live rows."""
    changed, other = add_source(config), add_source(config)
    add_table(config, changed, "a")
    add_table(config, other, "b")
    config.execute("SELECT source_details_refresh(false)")
    assert read(config, changed)["view_is_current"]
    add_table(config, changed, "new")
    assert names(config, changed) == ["a", "new"]
    assert not read(config, changed)["view_is_current"]
    assert read(config, other)["view_is_current"]
    config.execute("SELECT source_details_refresh(false)")
    assert read(config, changed)["view_is_current"]
    assert names(config, changed) == ["a", "new"]
    assert log(config) == []


@pytest.mark.parametrize("statement", [REFRESH, CONCURRENTLY])
def test_change_during_a_waiting_refresh_is_not_lost(config: Sql, config_dsn: str, statement: str) -> None:
    """The first race: a change commits while a refresh that has taken its snapshot waits for its lock."""
    source = add_source(config)
    add_table(config, source, "a")
    config.execute(REFRESH)
    with connect(config_dsn) as blocker, blocker.transaction():
        blocker.execute(CONCURRENTLY)
        late = Aside(config_dsn, statement)
        late.wait_for_lock(config)
        add_table(config, source, "while it waited")
    late.join()
    assert late.error is None
    assert log(config) == [source]
    assert names(config, source) == ["a", "while it waited"]


def race_two_refreshes(config: Sql, config_dsn: str, source: int, late_statement: str) -> Aside:
    """A refresh with a snapshot from before a change ends after a refresh with a snapshot from after the change."""
    with connect(config_dsn) as newer, newer.transaction():
        newer.execute(CONCURRENTLY)
        late = Aside(config_dsn, late_statement)
        late.wait_for_lock(config)
        add_table(config, source, "b")
        newer.execute(CONCURRENTLY)
    late.join()
    return late


@pytest.mark.parametrize("statement", [REFRESH, CONCURRENTLY])
def test_refresh_that_would_go_backwards_is_rejected(config: Sql, config_dsn: str, statement: str) -> None:
    """The second race, with the event trigger: the late refresh fails and says so, and no row gets older."""
    source = add_source(config)
    add_table(config, source, "a")
    config.execute(REFRESH)
    late = race_two_refreshes(config, config_dsn, source, statement)
    assert isinstance(late.error, psycopg.errors.SerializationFailure)
    assert "newer refresh" in str(late.error)
    assert agrees(config)
    assert names(config, source) == ["a", "b"]
    assert read(config, source)["view_is_current"]


@pytest.mark.parametrize("statement", [REFRESH, CONCURRENTLY])
def test_view_that_went_backwards_is_not_believed(config: Sql, config_dsn: str, statement: str) -> None:
    """The second race, without the event trigger: readers read live until a refresh has repaired the view."""
    source = add_source(config)
    add_table(config, source, "a")
    config.execute("DROP EVENT TRIGGER source_details_refreshed")
    config.execute("SELECT source_details_refresh(false)")
    with connect(config_dsn) as newer, newer.transaction():
        newer.execute("SELECT source_details_refresh(false)")
        late = Aside(config_dsn, statement)
        late.wait_for_lock(config)
        add_table(config, source, "b")
        newer.execute("SELECT source_details_refresh(false)")
    late.join()
    assert late.error is None
    assert not agrees(config)
    assert log(config) == []
    assert names(config, source) == ["a", "b"]
    assert config.execute("SELECT outcome FROM source_details_refresh_if_due(1)").fetchone() == {"outcome": "refreshed"}
    assert agrees(config)
    assert read(config, source)["view_is_current"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param(("10:20:12,15", 12), ("10:21:12", 15), id="xmax is higher"),
        pytest.param(("10:20:12,15", 30), ("10:20:12", 30), id="one more has ended"),
        # 11 took the older snapshot, which does not list 11; the newer one sees 15's. Each lists one transaction.
        pytest.param(("11:20:15", 11), ("11:20:11", 25), id="own transaction counts"),
    ],
)
def test_snapshots_have_an_order(config: Sql, older: tuple[str, int], newer: tuple[str, int]) -> None:
    """It shows that a refresh that read the tables earlier is late, however long its lock delayed it."""
    places = [
        config.execute(
            "SELECT source_details_snapshot_order(%s::pg_snapshot, %s::text::xid8) AS place", (snapshot, own)
        ).fetchone()
        for snapshot, own in (older, newer)
    ]
    assert places[0] is not None
    assert places[1] is not None
    assert places[0]["place"] < places[1]["place"]


@pytest.mark.parametrize("has_event_trigger", [True, False])
def test_transaction_that_writes_after_its_own_refresh_is_not_pruned(
    config: Sql, config_dsn: str, has_event_trigger: bool
) -> None:
    """The refresh's snapshot includes its transaction number, but the view lacks what it wrote later."""
    source = add_source(config)
    add_table(config, source, "a")
    if not has_event_trigger:
        config.execute("DROP EVENT TRIGGER source_details_refreshed")
    with config.transaction():
        config.execute("UPDATE table_metadata_list SET table_name = 'b'")
        with connect(config_dsn) as other:
            # This one ends after the first has begun: only then is the first one's number below the snapshot's xmax.
            other.execute("SELECT pg_current_xact_id()")
        config.execute(REFRESH)
        config.execute("UPDATE table_metadata_list SET table_name = 'c'")
    assert names(config, source) == ["c"]
    # As the next poll does if no event trigger announced the refresh.
    config.execute("SELECT source_details_note_refresh()")
    assert names(config, source) == ["c"]
    assert log(config) == [source]


def test_empty_view_is_refreshed_once_and_believed_again(config: Sql) -> None:
    """It cannot hold its snapshot, and must neither lose a change nor cause endless refreshes."""
    source = add_source(config)
    table = add_table(config, source, "a")
    config.execute("SELECT source_details_refresh(false)")
    config.execute("DELETE FROM table_metadata_list WHERE id = %s", (table,))
    assert names(config, source) == []
    due = "SELECT outcome FROM source_details_refresh_if_due(1)"
    assert [config.execute(due).fetchone() for _ in range(2)] == [{"outcome": "refreshed"}, {"outcome": "clean"}]
    add_table(config, source, "b")
    assert names(config, source) == ["b"]
    assert config.execute(due).fetchone() == {"outcome": "refreshed"}
    assert read(config, source)["view_is_current"]


def test_refresh_is_spaced_by_its_cost_and_runs_once(config: Sql, config_dsn: str) -> None:
    """Refreshing takes at most a share of the time, and two refreshes never run at once."""
    source = add_source(config)
    add_table(config, source)
    config.execute("UPDATE source_details_refresh_state SET duration = '1 minute', refreshed_at = now()")
    row = config.execute("SELECT outcome, wait_ms FROM source_details_refresh_if_due(0.1)").fetchone()
    assert row is not None
    assert row["outcome"] == "spaced"
    assert 500_000 < row["wait_ms"] <= 540_000
    # A clock that was set back does not make the pause longer.
    config.execute("UPDATE source_details_refresh_state SET refreshed_at = now() + interval '1 day'")
    row = config.execute("SELECT outcome, wait_ms FROM source_details_refresh_if_due(0.1)").fetchone()
    assert row == {"outcome": "spaced", "wait_ms": 540_000}
    config.execute("UPDATE source_details_refresh_state SET duration = '0'")
    with connect(config_dsn) as other, other.transaction():
        other.execute("SELECT source_details_refresh(false)")
        busy = config.execute("SELECT outcome FROM source_details_refresh_if_due(1)").fetchone()
        assert busy == {"outcome": "busy"}
    assert config.execute("SELECT outcome FROM source_details_refresh_if_due(1)").fetchone() == {"outcome": "clean"}


def test_state_restored_from_another_server_does_not_stick(config: Sql) -> None:
    """A dump contains transaction numbers that this server has not reached: the next refresh starts over."""
    source = add_source(config)
    add_table(config, source)
    far = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000000"
    config.execute(
        f"UPDATE source_details_refresh_state SET view_snapshot = format('%s:%s:', {far}, {far})::pg_snapshot"
    )
    config.execute(f"INSERT INTO source_details_log VALUES (%s, ({far})::text::xid8)", (source,))
    assert names(config, source) == ["orders"]
    config.execute("SELECT source_details_refresh(false)")
    assert read(config, source)["view_is_current"]
    assert log(config) == []


def test_refresh_in_an_old_snapshot_is_rejected_as_what_it_is(config: Sql, config_dsn: str) -> None:
    """REPEATABLE READ, with another refresh since its snapshot: the error says that it can be retried."""
    source = add_source(config)
    add_table(config, source)
    with connect(config_dsn) as operator:
        operator.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        operator.execute("SELECT FROM sources")
        add_table(config, source, "b")
        config.execute(REFRESH)
        with pytest.raises(psycopg.errors.SerializationFailure):
            operator.execute(REFRESH)
        operator.execute("ROLLBACK")
    assert agrees(config)
    assert read(config, source)["view_is_current"]


@pytest.mark.parametrize("statement", [REFRESH, CONCURRENTLY, "SELECT source_details_refresh(false)"])
def test_refresh_that_waits_for_a_rewritten_table_is_not_believed(config: Sql, config_dsn: str, statement: str) -> None:
    """To its snapshot the table is empty, so that every version would be 1; our own refresh waits before it reads."""
    source = add_source(config)
    table = add_table(config, source, "a")
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, 7)", (table,)
    )
    config.execute("SELECT source_details_refresh(false)")
    with connect(config_dsn) as other:
        other.execute("BEGIN; ALTER TABLE history_schema_evolution ALTER COLUMN id TYPE bigint")
        refresh = Aside(config_dsn, statement)
        refresh.wait_for_lock(other)
        other.execute("COMMIT")
    refresh.join()
    assert b'"version":7' in bytes(read(config, source)["body"])
    if statement.startswith("REFRESH"):
        assert isinstance(refresh.error, psycopg.errors.SerializationFailure)
    else:
        assert refresh.error is None
    config.execute("SELECT source_details_refresh(false)")
    assert read(config, source)["view_is_current"]
    assert b'"version":7' in bytes(read(config, source)["body"])
