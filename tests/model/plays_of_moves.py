"""The counterexamples of the model of moves, as statements."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_source
from tests.fixtures.view import OURS, read
from tests.model.stage import NOTED_BY, POLL, Play, Stage, add_version

# Its foreign keys are not checked: it neither waits for whoever moves the row, nor is waited for.
_AS_REPLICA = "SET LOCAL session_replication_role = replica"


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
        add_version(writer)
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
        add_version(writer)
        writer.execute("COMMIT")
        return is_kept and not _told(listener, source)


def settled_move(stage: Stage) -> object:
    """Whether somebody is told once the writer that did not see the move has ended."""
    with _listening(stage) as (listener, source), connect(stage.dsn) as writer:
        writer.execute("BEGIN; " + _AS_REPLICA)
        add_version(writer)
        _move(stage.config, source)
        writer.execute("COMMIT")
        assert _told(listener, source)
        assert _is_kept(stage, source)
        return _told(listener, source)


_ANNOUNCE, _POLL = "source_details_announce", "source_details_refresh_if_due"
PLAYS = {
    "NO_UNSETTLED": Play(
        writer_that_does_not_see_a_move, False, True, _ANNOUNCE, {"IF is_unsettled THEN": "IF false THEN"}
    ),
    "NO_HORIZON": Play(
        writer_that_does_not_see_a_move, False, True, NOTED_BY, {"l.horizon <= pg_snapshot_xmin(seen)": "true"}
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
        NOTED_BY,
        {"PERFORM public.source_details_announce(settled, is_in_view => false);": ""},
    ),
}
