"""The counterexamples of the model of the view, as statements."""

from contextlib import suppress

from psycopg import errors

from tests.fixtures.databases import Aside, connect
from tests.fixtures.metadata import add_table
from tests.fixtures.view import (
    CONCURRENTLY,
    OURS,
    REFRESH,
    change_while_a_refresh_waits,
    drop_event_trigger,
    race_two_refreshes,
    read,
    refresh_while_a_table_is_rewritten,
    refresh_while_another_has_written,
    restore_from_another_server,
    write_refresh_write,
    write_with_the_number_of_a_restored_row,
)
from tests.model.stage import NOTE, NOTED_BY, POLL, Play, Stage, add_version


def refresh_that_read_earlier(stage: Stage) -> object:
    race_two_refreshes(stage.config, stage.dsn, stage.source, REFRESH)
    return stage.names()


def refresh_in_a_transaction_that_began_earlier(stage: Stage) -> object:
    """Each of the two snapshots lists one transaction in progress; only their own ones tell which is later.

    The writer renames: a new table is told in the timeline, and the number of that subtransaction raises xmax.
    """
    with connect(stage.dsn) as late, connect(stage.dsn) as writer, connect(stage.dsn) as newer:
        for session in (late, writer):
            session.execute("BEGIN; SELECT pg_current_xact_id()")
        stage.config.execute("SELECT pg_current_xact_id()")
        newer.execute("BEGIN; " + CONCURRENTLY)
        refresh = Aside(late, REFRESH)
        refresh.wait_for_lock(stage.config)
        writer.execute("UPDATE table_metadata_list SET table_name = 'b'")
        writer.execute("COMMIT")
        newer.execute(CONCURRENTLY + "; COMMIT")
        refresh.join()
        late.execute("COMMIT")
    return stage.names()


def change_while_it_waits(stage: Stage) -> object:
    change_while_a_refresh_waits(stage.config, stage.dsn, stage.source, REFRESH)
    return stage.names()


def writing_after_ones_own_refresh(stage: Stage) -> object:
    drop_event_trigger(stage.config)
    write_refresh_write(stage.config, stage.dsn)
    stage.config.execute(NOTE)
    return stage.names()


def refresh_that_missed_a_writer_who_refreshed(stage: Stage) -> object:
    refresh_while_another_has_written(stage.config, stage.dsn, stage.source, REFRESH)
    return stage.names()


def restored_row_with_a_writers_number(stage: Stage) -> object:
    write_with_the_number_of_a_restored_row(stage.config, stage.dsn, stage.source)
    return stage.names()


def two_notes_at_once(stage: Stage) -> object:
    """One read the state before the other noted a newer refresh; an older refresh is stored before it goes on."""
    drop_event_trigger(stage.config)
    with connect(stage.dsn) as newer:
        newer.execute("BEGIN; " + CONCURRENTLY)
        late = Aside(stage.dsn, CONCURRENTLY)
        late.wait_for_lock(stage.config)
        add_table(stage.config, stage.source, "b")
        second_look = "SELECT v.view_snapshot, v.view_xid INTO seen, by_xid"
        with stage.held(NOTE, "source_details_note_refresh", second_look, "PERFORM public.stops(); ") as go_on:
            note = Aside(newer, OURS + "; COMMIT")
            if note.wait_for_lock_or_end(stage.config):
                # The guard: this note waits for the other.
                go_on()
            note.join()
            late.join()
            go_on()
    return stage.names()


def view_that_went_backwards(stage: Stage) -> object:
    drop_event_trigger(stage.config)
    race_two_refreshes(stage.config, stage.dsn, stage.source, REFRESH, OURS)
    return stage.names()


def refresh_that_waits_for_a_rewritten_table(stage: Stage) -> object:
    add_version(stage.config)
    stage.config.execute(OURS)
    # It would make readers read live until a refresh has seen the table.
    stage.config.execute("DROP EVENT TRIGGER source_details_altered")
    refresh_while_a_table_is_rewritten(stage.dsn, REFRESH)
    return b'"version":7' in bytes(read(stage.config, stage.source)["body"])


def poll_beside_a_refresh(stage: Stage) -> object:
    """It looks at a refresh by hand, and waits for the note of a newer one."""
    drop_event_trigger(stage.config)
    stage.config.execute(REFRESH)
    with connect(stage.dsn) as newer:
        newer.execute("BEGIN; " + OURS)
        poll = Aside(stage.dsn, POLL)
        poll.wait_for_lock(stage.config)
        newer.execute("COMMIT")
        poll.join()
    return stage.refreshes()


def poll_after_a_refresh(stage: Stage) -> object:
    """Another process refreshes after the poll has found a reason to, and before it has its lock."""
    add_table(stage.config, stage.source, "b")
    lock = "ELSIF attempt = 1 AND NOT pg_try_advisory_xact_lock"
    with stage.held(POLL, "source_details_refresh_if_due", lock, "ELSIF NOT public.stops() THEN NULL; ") as go_on:
        stage.config.execute(OURS)
        go_on()
    return stage.refreshes()


def two_refreshes_of_ours(stage: Stage) -> object:
    return type(race_two_refreshes(stage.config, stage.dsn, stage.source, OURS, OURS).error)


def our_refresh_and_a_rewritten_table(stage: Stage) -> object:
    return type(refresh_while_a_table_is_rewritten(stage.dsn, OURS).error)


def restored_state(stage: Stage) -> object:
    restore_from_another_server(stage.config, stage.source, ahead=1_000_000)
    with suppress(errors.SerializationFailure):
        stage.config.execute(OURS)
    return stage.is_current()


def two_refreshes_of_one_snapshot(stage: Stage) -> object:
    with connect(stage.dsn) as first, first.transaction():
        first.execute(CONCURRENTLY)
        second = Aside(stage.dsn, CONCURRENTLY)
        second.wait_for_lock(stage.config)
    second.join()
    for _ in range(2):
        stage.config.execute(POLL)
    return stage.is_current()


_SEEN = "pg_visible_in_snapshot(l.xid, seen)"
_NOT_OWN = "AND l.xid <> by_xid"
_FIRST_LOOK = "PERFORM FROM public.source_details_tables AS v WHERE v.view_snapshot IS NOT NULL;"
_SECOND_LOOK = """SELECT v.view_snapshot, v.view_xid INTO seen, by_xid
    FROM public.source_details_tables AS v
    WHERE v.view_snapshot IS NOT NULL;"""
_DELETED = """DELETE FROM public.source_details_log AS l
        WHERE l.xid >="""
PLAYS = {
    "NO_ORDER_CHECK": Play(
        refresh_that_read_earlier,
        ["a", "b"],
        ["a"],
        NOTED_BY,
        {"pg_snapshot_xmax(noted.view_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())": "false"},
    ),
    "NO_OWN_NUMBER_IN_ORDER": Play(
        refresh_in_a_transaction_that_began_earlier,
        ["b"],
        ["a"],
        "source_details_snapshot_order",
        {"- coalesce((own < pg_snapshot_xmax(seen))::integer, 0)": ""},
    ),
    "NO_VISIBILITY": Play(change_while_it_waits, ["a", "b"], ["a"], NOTED_BY, {_SEEN: "true"}),
    "NO_OWN_ROWS": Play(writing_after_ones_own_refresh, ["c"], ["b"], NOTED_BY, {_NOT_OWN: ""}),
    "NO_OWN_ROWS_OF_FUTURE": Play(
        refresh_that_missed_a_writer_who_refreshed,
        ["a", "b"],
        ["a"],
        NOTED_BY,
        {" AND l.xid <> pg_current_xact_id()": ""},
    ),
    "NO_LOG_LOCK": Play(
        restored_row_with_a_writers_number,
        ["a", "b"],
        ["a"],
        NOTED_BY,
        {"LOCK TABLE public.source_details_log IN SHARE ROW EXCLUSIVE MODE;": ""},
    ),
    "NO_ROW_LOCK": Play(two_notes_at_once, ["a", "b"], ["a"], NOTED_BY, {"FOR UPDATE;": ";"}),
    "NO_COMPARISON": Play(
        view_that_went_backwards,
        ["a", "b"],
        ["a"],
        "",
        {"AND v.view_snapshot::text = s.view_snapshot::text\nAND v.view_xid = s.view_xid": ""},
    ),
    "NO_SIGHT_OF_TABLES": Play(
        refresh_that_waits_for_a_rewritten_table,
        True,
        False,
        NOTED_BY,
        {"NOT public.source_details_sees_tables(seen)": "false"},
    ),
    "NO_SECOND_LOOK": Play(poll_beside_a_refresh, 1, 2, NOTED_BY, {_SECOND_LOOK: "", _FIRST_LOOK: _SECOND_LOOK}),
    "NO_SECOND_CHECK": Play(
        poll_after_a_refresh, 1, 2, "source_details_refresh_if_due", {"FOR attempt IN 1..2": "FOR attempt IN 1..1"}
    ),
    "NO_ADVISORY_LOCK": Play(
        two_refreshes_of_ours,
        type(None),
        errors.SerializationFailure,
        "source_details_refresh",
        {"PERFORM pg_advisory_xact_lock(hashtext('source_details_refresh'));": ""},
    ),
    "NO_TABLE_LOCK": Play(
        our_refresh_and_a_rewritten_table,
        type(None),
        errors.SerializationFailure,
        "source_details_refresh",
        {"LOCK TABLE": "PERFORM 'LOCK TABLE", "IN ACCESS SHARE MODE": "IN ACCESS SHARE MODE'"},
    ),
    "NO_FUTURE_ROWS": Play(
        restored_state,
        True,
        False,
        NOTED_BY,
        {_DELETED: _DELETED.replace("DELETE", "PERFORM")},
    ),
    "NO_FOREIGN_SNAPSHOT": Play(
        restored_state,
        True,
        False,
        NOTED_BY,
        {"pg_snapshot_xmax(noted.view_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())": "true"},
    ),
    "NO_NUMBER_IN_KNOWN": Play(
        two_refreshes_of_one_snapshot, True, False, NOTED_BY, {" AND by_xid = noted.view_xid": ""}
    ),
}
