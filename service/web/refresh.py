"""Syncs a source while a person watches: progress as events, the outcome in words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from service.concurrency import keep
from service.errors import (
    ConfigDatabaseUnavailableError,
    ServiceError,
    SourceBusyError,
    SourceUnreachableError,
    SyncError,
    SyncUnfinishedError,
)
from service.http.templates import render
from service.runtime import Runtime
from service.sources.sync import SyncResult
from service.telemetry.events import Event, SyncPhase
from service.web.rooms import event

_ADVICE: dict[type[ServiceError], str] = {
    SourceUnreachableError: "Check that the server answers at this address and that the user and password are right. "
    "Then sync again.",
    SyncUnfinishedError: "The sync continues in the background. This page will show its outcome.",
    SourceBusyError: "Nothing was changed. Try again in a few seconds.",
    ConfigDatabaseUnavailableError: "Nothing was changed. Tell the operators of the config database, and try again "
    "when it is back.",
}
_NAMES = (
    ("tables_added", "+", "added", "{}: new table"),
    ("tables_dropped", "\u2212", "dropped", "{}: no longer published"),
    ("tables_returned", "+", "added", "{}: published again"),
    ("tables_filled", "~", "retyped", "{}: columns are known now"),
)
_COLUMNS = {
    "added": "added {column_name}",
    "dropped": "dropped {column_name}",
    "retyped": "{column_name} from {old_type} to {new_type}",
    "altered": "altered {column_name}",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is the HTTP status that the API would answer; `facts` are for the template."""

    status: int
    facts: dict[str, Any]


async def sync_watched(runtime: Runtime, source_id: int, on_refresh: Callable[[], None] = lambda: None) -> Outcome:
    """Syncs, then waits a bounded time for the view; `on_refresh` is called when that wait begins.

    EntityNotFoundError if the source is gone; every other failure is an outcome.
    """
    try:
        synced = await runtime.sync(source_id, on_refresh)
    except (SyncError, ConfigDatabaseUnavailableError) as error:
        return Outcome(error.status, await _failure(runtime, source_id, error))
    result = synced.result
    facts = {"failure": None, "outcome": result.outcome, "changes": _changes(result), "phases_ms": synced.phases_ms}
    return Outcome(200, facts)


async def progress(runtime: Runtime, source_id: int) -> AsyncIterator[bytes]:
    """Syncs, and reports it as server-sent events: `phase` ({"phase", "tables", "ms"}) for each phase, then `outcome`
    ({"ok", "html"}), or `failure` if there is none. A client that leaves does not stop the sync.
    """
    events: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
    started = monotonic()

    def say(phase: str, tables: int | None = None) -> None:
        ms = round((monotonic() - started) * 1000)
        events.put_nowait((event("phase", {"phase": phase, "tables": tables, "ms": ms}), False))

    def pass_on(about: Event) -> None:
        if isinstance(about, SyncPhase) and about.source_id == source_id:
            say(about.phase, about.tables)

    async def work() -> Outcome:
        return await sync_watched(runtime, source_id, lambda: say("refresh"))

    def end(done: "asyncio.Task[Outcome]") -> None:
        if done.cancelled() or done.exception() is not None:
            events.put_nowait((event("failure", {}), True))
            return
        outcome = done.result()
        html = render("outcome.html", is_fragment=True, name="", source_id=source_id, **outcome.facts)
        events.put_nowait((event("outcome", {"ok": outcome.status == 200, "html": html}), True))

    # A sync that waits behind another one reports the phases of that one first.
    stop = runtime.observer.subscribe(pass_on)
    task = asyncio.ensure_future(work())
    keep(task)
    task.add_done_callback(end)
    try:
        is_last = False
        while not is_last:
            sent, is_last = await events.get()
            yield sent
    finally:
        stop()


async def _failure(runtime: Runtime, source_id: int, error: ServiceError) -> dict[str, Any]:
    try:
        row = await runtime.database.fetch_one("source_state", id=source_id)
    except ConfigDatabaseUnavailableError:
        row = None
    since = runtime.connections.failures.since(source_id) if isinstance(error, SourceUnreachableError) else None
    return {
        "failure": error.message,
        "failing_since": since.isoformat() if since else None,
        "synced_at": row["synced_at"] if row else None,
        "advice": _ADVICE[type(error)],
    }


def _changes(result: SyncResult) -> list[dict[str, str]]:
    changes = [
        {"sign": sign, "kind": kind, "words": words.format(name)}
        for key, sign, kind, words in _NAMES
        for name in result.changes[key]
    ]
    for table in result.changes["tables_changed"]:
        what = [_COLUMNS[column["change"]].format(**column) for column in table["columns"]]
        what += ["another order of its columns"] if table["is_reordered"] else []
        what += ["another row filter"] if table["row_filter"] else []
        verdict = " (breaking)" if table["verdict"] == "breaking" else ""
        words = f"{table['table_name']}: version {table['version']}{verdict}, {', '.join(what)}"
        changes.append({"sign": "~", "kind": "retyped", "words": words})
    return changes
