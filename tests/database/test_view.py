"""The materialized view never causes outdated pages: not before a refresh, and not when refreshes race."""

import psycopg
import pytest

from tests.fixtures.databases import Aside, Sql, connect
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.notifications import listening
from tests.fixtures.view import (
    CONCURRENTLY,
    OURS,
    REFRESH,
    agrees,
    change_while_a_refresh_waits,
    drop_event_trigger,
    log,
    names,
    race_two_refreshes,
    read,
    refresh_while_another_has_written,
    restore_from_another_server,
    write_refresh_write,
    write_with_the_number_of_a_restored_row,
)


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
    assert change_while_a_refresh_waits(config, config_dsn, source, statement).error is None
    assert log(config) == [source]
    assert names(config, source) == ["a", "b"]


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
    drop_event_trigger(config)
    config.execute(OURS)
    assert race_two_refreshes(config, config_dsn, source, statement, OURS).error is None
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
        drop_event_trigger(config)
    write_refresh_write(config, config_dsn)
    assert names(config, source) == ["c"]
    # As the next poll does if no event trigger announced the refresh.
    config.execute("SELECT source_details_note_refresh()")
    assert names(config, source) == ["c"]
    assert log(config) == [source]


@pytest.mark.parametrize("statement", [REFRESH, CONCURRENTLY, OURS])
def test_refresh_that_did_not_see_another_transaction_that_wrote_and_refreshed(
    config: Sql, config_dsn: str, statement: str
) -> None:
    """Neither of the two snapshots is later, so the second is noted: the log row of the first one has to stay."""
    source = add_source(config)
    add_table(config, source, "a")
    config.execute(OURS)
    assert refresh_while_another_has_written(config, config_dsn, source, statement).error is None
    assert not agrees(config)
    assert log(config) == [source]
    assert names(config, source) == ["a", "b"]


def test_poll_keeps_the_log_rows_of_its_own_transaction(config: Sql) -> None:
    """It notes an earlier refresh by hand, which does not cover what this transaction has just written."""
    source = add_source(config)
    add_table(config, source, "a")
    drop_event_trigger(config)
    config.execute(REFRESH)
    with config.transaction():
        add_table(config, source, "b")
        config.execute("SELECT source_details_note_refresh()")
    assert log(config) == [source]
    assert names(config, source) == ["a", "b"]


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
    # However small the share is, somebody looks again.
    config.execute("UPDATE source_details_refresh_state SET duration = '5 hours'")
    row = config.execute("SELECT outcome, wait_ms FROM source_details_refresh_if_due(1e-12)").fetchone()
    assert row == {"outcome": "spaced", "wait_ms": 3_600_000}
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
    restore_from_another_server(config, source, ahead=1_000_000)
    assert names(config, source) == ["orders"]
    config.execute("SELECT source_details_refresh(false)")
    assert read(config, source)["view_is_current"]
    assert log(config) == []


def test_restored_log_row_with_the_number_of_a_writer_is_not_deleted(config: Sql, config_dsn: str) -> None:
    """The writer found the row and added none; a note takes it for one of the future, so it waits for the writer."""
    source = add_source(config)
    add_table(config, source, "a")
    config.execute(OURS)
    late = write_with_the_number_of_a_restored_row(config, config_dsn, source)
    assert late.error is None
    assert log(config) == [source]
    assert names(config, source) == ["a", "b"]


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


def test_refresh_in_a_writers_own_transaction_keeps_its_log(config: Sql, config_dsn: str) -> None:
    """To its own snapshot a transaction's number is in the future, as is that of rows restored from another server."""
    source = add_source(config)
    table = add_table(config, source, "a")
    config.execute("SELECT source_details_refresh(false)")
    with connect(config_dsn) as operator:
        # Without the event trigger, whoever polls next notes this refresh.
        operator.execute("ALTER EVENT TRIGGER source_details_refreshed DISABLE")
        operator.execute(REFRESH)
        operator.execute("BEGIN")
        operator.execute("UPDATE table_metadata_list SET table_name = 'b' WHERE id = %s", (table,))
        operator.execute("SELECT source_details_refresh_if_due(0.001)")
        operator.execute("COMMIT")
    assert names(config, source) == ["b"]


def test_refresh_by_hand_is_told_though_a_poll_waits_to_refresh(config: Sql, config_dsn: str) -> None:
    """Without the event trigger only a poll can notice it, and the poll's own refresh would overwrite it."""
    source = add_source(config)
    add_table(config, source, "a")
    config.execute(OURS)
    drop_event_trigger(config)
    with connect(config_dsn) as other, other.transaction():
        other.execute(CONCURRENTLY)
        add_table(config, source, "b")
        with listening(config_dsn) as payloads:
            poll = Aside(config_dsn, "SELECT outcome FROM source_details_refresh_if_due(1)")
            poll.wait_for_lock(config)
            other.execute("COMMIT")
            poll.join()
            assert poll.error is None
            assert poll.rows == [{"outcome": "refreshed"}]
    assert payloads == ["*"]
