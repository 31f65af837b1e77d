"""Syncing a source for a person who waits: what happened, in words."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from service.errors import (
    ConfigDatabaseUnavailableError,
    ServiceError,
    SourceBusyError,
    SourceUnreachableError,
    SyncError,
    SyncUnfinishedError,
)
from service.runtime import Runtime
from service.sources.sync import SyncReport

_ADVICE: dict[type[ServiceError], str] = {
    SourceUnreachableError: "Check that its server answers at this address, and that the user and the password are "
    "right; then refresh again.",
    SyncUnfinishedError: "The sync goes on without you: this page shows its outcome as soon as there is one.",
    SourceBusyError: "Nothing was changed. Try again in a few seconds.",
    ConfigDatabaseUnavailableError: "Nothing was changed. Whoever runs the config database should know; try again "
    "when it is back.",
}
_NAMES = (
    ("tables_added", "+", "added", "{}: new table"),
    ("tables_dropped", "\u2212", "dropped", "{}: no longer published"),
    ("tables_returned", "+", "added", "{}: published again"),
    ("tables_filled", "~", "retyped", "{}: its columns are known now"),
)
_COLUMNS = {
    "added": "added {column_name}",
    "dropped": "dropped {column_name}",
    "retyped": "{column_name} from {old_type} to {new_type}",
    "altered": "altered {column_name}",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is the HTTP status of the same outcome as an API call; `facts` are the template's."""

    status: int
    facts: dict[str, Any]


async def refresh(runtime: Runtime, source_id: int, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Syncs, then waits a bounded time for the view. `say` hears of the phase that follows the sync's own ("refresh").

    EntityNotFoundError where the source is gone; every other trouble is an outcome.
    """
    try:
        report = await runtime.synchronizer.sync(source_id)
    except (SyncError, ConfigDatabaseUnavailableError) as error:
        return Outcome(error.status, await _failure(runtime, source_id, error))
    phases = dict(report.phases_ms)
    if report.count:
        say("refresh")
        started = monotonic()
        await runtime.refresher.wait_until_covered(runtime.refresh_wait_s)
        phases["refresh"] = (monotonic() - started) * 1000
    facts = {"failure": None, "outcome": report.outcome, "changes": _changes(report), "phases_ms": phases}
    return Outcome(200, facts)


async def _failure(runtime: Runtime, source_id: int, error: ServiceError) -> dict[str, Any]:
    try:
        row = await runtime.database.fetch_patiently("source_state", id=source_id)
    except ConfigDatabaseUnavailableError:
        row = None
    since = runtime.details.sources.failing_since(source_id) if isinstance(error, SourceUnreachableError) else None
    return {
        "failure": error.message,
        "failing_since": since.isoformat() if since else None,
        "synced_at": row["synced_at"] if row else None,
        "advice": _ADVICE[type(error)],
    }


def _changes(report: SyncReport) -> list[dict[str, str]]:
    changes = [
        {"sign": sign, "kind": kind, "words": words.format(name)}
        for key, sign, kind, words in _NAMES
        for name in report.changes[key]
    ]
    for table in report.changes["tables_changed"]:
        columns = ", ".join(_COLUMNS[column["change"]].format(**column) for column in table["columns"])
        words = f"{table['table_name']}: version {table['version']}, {columns}"
        changes.append({"sign": "~", "kind": "retyped", "words": words})
    return changes
