"""What the model finds without a guard happens on a real server too, and with the guard it does not.

Each counterexample is played twice, on databases of their own: as it is, and with the guard's text taken out of the
function. The names are those of `test_model.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from service.database.queries import query
from tests.fixtures.databases import Aside, Databases, Sql, connect
from tests.fixtures.metadata import add_source, add_table
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
from tests.model.test_model import GUARDS, GUARDS_OF_MOVES

NOTE = "SELECT source_details_note_refresh()"
POLL = "SELECT source_details_refresh_if_due(1)"
_GATE = 4711
# Its foreign keys are not checked: it neither waits for whoever moves the row, nor is waited for.
_AS_REPLICA = "SET LOCAL session_replication_role = replica"


@dataclass
class Stage:
    """A config database with one source, which has table a; the view is refreshed, and noted."""

    config: Sql
    dsn: str
    source: int
    statement: str
    first: int = 0

    def names(self) -> list[str]:
        """The tables that the source's page shows."""
        return list(read(self.config, self.source, self.statement)["published_names"])

    def is_current(self) -> bool:
        """Whether readers trust the view."""
        return bool(read(self.config, self.source)["view_is_current"])

    def refreshes(self) -> int:
        """How often the function has refreshed the view since then."""
        row = self.config.execute("SELECT refreshes FROM source_details_refresh_state").fetchone()
        assert row is not None
        return int(row["refreshes"]) - self.first

    def replace(self, function: str, texts: dict[str, str]) -> None:
        """Replaces texts in a function; each has to be there."""
        row = self.config.execute("SELECT pg_get_functiondef(%s::regproc) AS text", (function,)).fetchone()
        assert row is not None
        text = row["text"]
        for old, new in texts.items():
            assert old in text, (function, old)
            text = text.replace(old, new)
        self.config.execute(text)

    @contextmanager
    def held(self, statement: str, function: str, before: str, stop: str) -> Iterator[Callable[[], None]]:
        """Runs the statement aside, up to a place in the function. Yields what lets it go on to its end."""
        self.config.execute(
            f"""
            CREATE FUNCTION public.stops() RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('application_name') = 'held' THEN PERFORM pg_advisory_xact_lock({_GATE}); END IF;
                RETURN true;
            END
            $$
            """.encode()
        )
        self.replace(function, {before: stop + before})
        with connect(self.dsn) as gate:
            gate.execute("SELECT pg_advisory_lock(%s)", (_GATE,))
            held = Aside(make_conninfo(self.dsn, application_name="held"), statement)
            held.wait_for_lock(self.config)

            def go_on() -> None:
                gate.execute("SELECT pg_advisory_unlock_all()")
                held.join()

            yield go_on


def refresh_that_read_earlier(stage: Stage) -> object:
    race_two_refreshes(stage.config, stage.dsn, stage.source, REFRESH)
    return stage.names()


def refresh_in_a_transaction_that_began_earlier(stage: Stage) -> object:
    """Each of the two snapshots lists one transaction in progress; only their own ones tell which is later."""
    with connect(stage.dsn) as late, connect(stage.dsn) as writer, connect(stage.dsn) as newer:
        for session in (late, writer):
            session.execute("BEGIN; SELECT pg_current_xact_id()")
        stage.config.execute("SELECT pg_current_xact_id()")
        newer.execute("BEGIN; " + CONCURRENTLY)
        refresh = Aside(late, REFRESH)
        refresh.wait_for_lock(stage.config)
        add_table(writer, stage.source, "b")
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
    stage.config.execute(
        """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
        SELECT id, 7 FROM table_metadata_list
        """
    )
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


def _told(listener: Sql, source: int) -> bool:
    """Whether that source was told of since the last time."""
    listener.execute("NOTIFY source_details_changed, 'last'")
    payloads = []
    for notice in listener.notifies(timeout=10):
        if notice.payload == "last":
            break
        payloads.append(notice.payload)
    return "*" in payloads or str(source) in payloads


@contextmanager
def _listening(stage: Stage) -> Iterator[tuple[Sql, int]]:
    """A listener, and the id of a source that has no table yet."""
    with connect(stage.dsn) as listener:
        source = add_source(listener)
        listener.execute("LISTEN source_details_changed")
        yield listener, source


def _move(connection: Sql, source: int) -> None:
    connection.execute("UPDATE table_metadata_list SET source_id = %s", (source,))


def _add_version(connection: Sql) -> None:
    connection.execute(
        """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
        SELECT id, 7 FROM table_metadata_list
        """
    )


def _is_kept(stage: Stage, source: int) -> bool:
    """Whether a reader of that source's page would keep it, after the service had every chance to settle it."""
    for _ in range(2):
        stage.config.execute(POLL)
        stage.config.execute(OURS)
    return bool(read(stage.config, source)["is_settled"])


def writer_that_does_not_see_a_move(stage: Stage, *, mover_polls: bool = False) -> object:
    """Whether a page is kept that the writer then changes without telling of it."""
    with _listening(stage) as (listener, source), connect(stage.dsn) as mover, connect(stage.dsn) as writer:
        mover.execute("BEGIN")
        _move(mover, source)
        writer.execute("BEGIN; " + _AS_REPLICA)
        _add_version(writer)
        if mover_polls:
            mover.execute(POLL)
        mover.execute("COMMIT")
        is_kept = _is_kept(stage, source)
        assert _told(listener, source)
        writer.execute("COMMIT")
        return is_kept and not _told(listener, source)


def writer_while_the_mover_polls(stage: Stage) -> object:
    return writer_that_does_not_see_a_move(stage, mover_polls=True)


def writer_with_an_old_snapshot(stage: Stage) -> object:
    with _listening(stage) as (listener, source), connect(stage.dsn) as writer:
        writer.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ; {_AS_REPLICA}; SELECT".encode())
        _move(stage.config, source)
        is_kept = _is_kept(stage, source)
        assert _told(listener, source)
        _add_version(writer)
        writer.execute("COMMIT")
        return is_kept and not _told(listener, source)


def settled_move(stage: Stage) -> object:
    """Whether somebody is told once the writer that did not see the move has ended."""
    with _listening(stage) as (listener, source), connect(stage.dsn) as writer:
        writer.execute("BEGIN; " + _AS_REPLICA)
        _add_version(writer)
        _move(stage.config, source)
        writer.execute("COMMIT")
        assert _told(listener, source)
        assert _is_kept(stage, source)
        # A refresh by the function tells of every source; the poll's does not.
        return _told(listener, source)


@dataclass(frozen=True)
class Play:
    """A counterexample, what comes of it with the guard and without, and the guard's text in a function.

    No function: it is in the statement of readers.
    """

    run: Callable[[Stage], object]
    right: object
    wrong: object
    function: str
    texts: dict[str, str]


_NOTE = "source_details_note_refresh"
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
        _NOTE,
        {"pg_snapshot_xmax(noted.view_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())": "false"},
    ),
    "NO_OWN_NUMBER_IN_ORDER": Play(
        refresh_in_a_transaction_that_began_earlier,
        ["a", "b"],
        ["a"],
        "source_details_snapshot_order",
        {"- coalesce((own < pg_snapshot_xmax(seen))::integer, 0)": ""},
    ),
    "NO_VISIBILITY": Play(change_while_it_waits, ["a", "b"], ["a"], _NOTE, {_SEEN: "true"}),
    "NO_OWN_ROWS": Play(writing_after_ones_own_refresh, ["c"], ["b"], _NOTE, {_NOT_OWN: ""}),
    "NO_OWN_ROWS_OF_FUTURE": Play(
        refresh_that_missed_a_writer_who_refreshed,
        ["a", "b"],
        ["a"],
        _NOTE,
        {" AND l.xid <> pg_current_xact_id()": ""},
    ),
    "NO_LOG_LOCK": Play(
        restored_row_with_a_writers_number,
        ["a", "b"],
        ["a"],
        _NOTE,
        {"LOCK TABLE public.source_details_log IN SHARE ROW EXCLUSIVE MODE;": ""},
    ),
    "NO_ROW_LOCK": Play(two_notes_at_once, ["a", "b"], ["a"], _NOTE, {"FOR UPDATE;": ";"}),
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
        _NOTE,
        {"NOT public.source_details_sees_tables(seen)": "false"},
    ),
    "NO_SECOND_LOOK": Play(poll_beside_a_refresh, 1, 2, _NOTE, {_SECOND_LOOK: "", _FIRST_LOOK: _SECOND_LOOK}),
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
        _NOTE,
        {_DELETED: _DELETED.replace("DELETE", "PERFORM")},
    ),
    "NO_FOREIGN_SNAPSHOT": Play(
        restored_state,
        True,
        False,
        _NOTE,
        {"pg_snapshot_xmax(noted.view_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())": "true"},
    ),
    "NO_NUMBER_IN_KNOWN": Play(two_refreshes_of_one_snapshot, True, False, _NOTE, {" AND by_xid = noted.view_xid": ""}),
}
_ANNOUNCE, _POLL = "source_details_announce", "source_details_refresh_if_due"
PLAYS |= {
    "NO_UNSETTLED": Play(
        writer_that_does_not_see_a_move, False, True, _ANNOUNCE, {"IF is_unsettled THEN": "IF false THEN"}
    ),
    "NO_HORIZON": Play(
        writer_that_does_not_see_a_move, False, True, _NOTE, {"l.horizon <= pg_snapshot_xmin(seen)": "true"}
    ),
    "NO_LATER_HORIZON": Play(
        writer_that_does_not_see_a_move,
        False,
        True,
        _POLL,
        {"SET horizon = pg_current_xact_id()": "SET horizon = l.xid"},
    ),
    "NO_OWN_ROW": Play(
        writer_while_the_mover_polls,
        False,
        True,
        _POLL,
        {"AND l.xid IS DISTINCT FROM pg_current_xact_id_if_assigned()": ""},
    ),
    "NO_TELLING_ALL": Play(
        writer_with_an_old_snapshot,
        False,
        True,
        "source_details_sees_others",
        {"current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')": "true"},
    ),
    "NO_TELLING": Play(
        settled_move,
        True,
        False,
        _NOTE,
        {"PERFORM public.source_details_announce(settled, is_in_view => false);": ""},
    ),
}
# A counterexample whose snapshots have to be alike is spoilt if the server's own work ends a transaction in between.
_ATTEMPTS = 5


@pytest.fixture
def played(databases: Databases) -> Callable[[Play, bool], object]:
    """Plays a counterexample on a database of its own."""

    def play(what: Play, is_guarded: bool) -> object:
        dsn = databases.migrated()
        with connect(dsn) as config:
            stage = Stage(config, dsn, add_source(config), query("details"))
            add_table(config, stage.source, "a")
            config.execute(OURS)
            stage.first = stage.refreshes()
            if not is_guarded and what.function:
                stage.replace(what.function, what.texts)
            elif not is_guarded:
                for old, new in what.texts.items():
                    assert old in stage.statement
                    stage.statement = stage.statement.replace(old, new)
            return what.run(stage)

    return play


@pytest.mark.parametrize("guard", [*GUARDS, *GUARDS_OF_MOVES])
def test_counterexample(played: Callable[[Play, bool], object], guard: str) -> None:
    """Without the guard it goes wrong as the model says, with it all is right."""
    play = PLAYS[guard]
    assert played(play, True) == play.right
    assert any(played(play, False) == play.wrong for _ in range(_ATTEMPTS))
