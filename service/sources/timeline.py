"""What happened to a source, the latest first, each entry in sentences: the timeline that the triggers write.

docs/timeline.md has the kinds of entries.
"""

from collections.abc import Callable, Mapping
from typing import Any

from service.database.pool import ConfigDatabase
from service.errors import EntityNotFoundError
from service.printable import masked
from service.sources.changes import change_at, sentences

# Each costs a query: more are named without what they changed.
_MOST_JUDGED = 50
_WORDS = {
    "pg_host": "host",
    "pg_port": "port",
    "pg_database": "database",
    "pg_username": "user",
    "publication_name": "publication",
    "replication_name": "slot",
    "is_publication_enabled": "publication enabled",
    "is_replication_enabled": "replication enabled",
}
Facts = Mapping[str, Any]


async def timeline(
    database: ConfigDatabase, source_id: int, *, count: int, before: int | None = None, kind: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """The source's name, and at most `count` entries before the one with the id `before`, of one kind or of all.

    EntityNotFoundError, ConfigDatabaseUnavailableError.
    """
    rows = await database.fetch_all("timeline", id=source_id, count=count, before=before, kind=kind)
    if not rows:
        raise EntityNotFoundError("Source", str(source_id))
    known = [row for row in rows if row["id"] is not None]
    return rows[0]["source_name"], await told(database, known)


async def told(database: ConfigDatabase, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the timeline as the API returns them: `says` has the sentences, `verdict` is that on a schema change."""
    left = _MOST_JUDGED
    entries = []
    for row in rows:
        facts = row["facts"]
        verdict = None
        if row["kind"] == "schema":
            judged, left = facts["items"][:left], left - len(facts["items"][:left])
            says, verdict = await _schema(database, judged, facts["items"][len(judged) :])
            if verdict == "compatible" and facts["count"] > len(facts["items"]):
                # What is not named was not judged.
                verdict = "unknown"
        else:
            # A newer process may tell of what this one has no words for.
            sentence = _SENTENCES.get(row["kind"], _of_anything)
            says = [masked(sentence(facts["what"], item)) for item in facts["items"]]
        if facts["count"] > len(facts["items"]):
            says.append(f"and {facts['count'] - len(facts['items'])} more")
        entries.append(
            {name: row[name] for name in ("id", "happened_at", "kind")}
            | {"what": facts["what"], "count": facts["count"], "says": says, "verdict": verdict}
            | {"role": row["role"], "program": row["program"] and masked(row["program"])}
        )
    return entries


async def _schema(database: ConfigDatabase, judged: list[Facts], others: list[Facts]) -> tuple[list[str], str | None]:
    says, verdicts = [], set()
    for item in judged:
        diff = await change_at(database, item["id"], item["version"])
        verdicts.add((diff and diff["more"]["verdict"]) or "unknown")
        named = f"{item['table']} version {item['version']}"
        says += [f"{named}: {sentence}" for sentence in sentences(diff)] or [named]
    says += [f"{item['table']} version {item['version']}" for item in others]
    if others:
        verdicts.add("unknown")
    worst = next((verdict for verdict in ("breaking", "unknown", "compatible") if verdict in verdicts), None)
    return says, worst


def _changed(item: Facts) -> str:
    return "; ".join(
        "the password is another"
        if change["what"] == "pg_password"
        else f"{_WORDS.get(change['what'], change['what'])} {_shown(change['old'])} is now {_shown(change['new'])}"
        for change in item["changes"] or []
    )


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _of_source(what: str, item: Facts) -> str:
    if what == "set_back":
        return "the source was set back, or replaced by an earlier copy of itself"
    return f"{item['name']}: {_changed(item)}" if what == "changed" else f"{item['name']} is {what}"


def _of_pipeline(what: str, item: Facts) -> str:
    return f"pipeline {item['name']}: {_changed(item)}" if what == "changed" else f"pipeline {item['name']} is {what}"


def _of_destination(what: str, item: Facts) -> str:
    to, pipeline = item["name"] or "a destination that is gone", item["pipeline"]
    if what == "linked":
        return f"pipeline {pipeline} goes to {to}"
    if what == "unlinked":
        return f"pipeline {pipeline} no longer goes to {to}"
    return f"{to} fails for pipeline {pipeline}" if what == "failing" else f"{to} works again for pipeline {pipeline}"


def _of_state(what: str, item: Facts) -> str:  # noqa: ARG001  # as the others
    message = f": {item['message']}" if item["message"] else ""
    before = f", after {item['before'].lower()}" if item["before"] and item["before"] != item["status"] else ""
    return f"the slot is {item['status'].lower()}{before}{message}"


def _of_reach(what: str, item: Facts) -> str:
    return f"the source is lost: {item['message']}" if what == "lost" else "the source is back"


def _of_tables(what: str, item: Facts) -> str:
    words = {"published": "published again", "unpublished": "no longer published"}
    return f"{item['table'] or 'a table without a name'} is {words.get(what, what)}"


def _of_anything(what: str, item: Facts) -> str:  # noqa: ARG001  # as the others
    return what


def _of_setting(what: str, item: Facts) -> str:  # noqa: ARG001  # as the others
    return f"{item['name']} {_shown(item['old'])} is now {_shown(item['new'])}"


_SENTENCES: Mapping[str, Callable[[str, Facts], str]] = {
    "source": _of_source,
    "pipeline": _of_pipeline,
    "destination": _of_destination,
    "state": _of_state,
    "reach": _of_reach,
    "tables": _of_tables,
    "setting": _of_setting,
}
