"""What one process has of the config database: its pool, and a transaction that records a sync."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from service.database.queries import query
from service.errors import ConfigDatabaseUnavailableError
from service.http.openapi import EXAMPLES
from service.http.schemas import Details
from tests.simulation.config_database import ConfigDatabase, Row, last_of, names

_CONNECTION = {
    "pg_host": "h", "pg_port": 1, "pg_database": "d", "pg_username": "u", "pg_password": None,
    "publication_name": "p", "replication_name": "r",
}  # fmt: skip
_VERSION, _ID, _LAST = 1111111111, 2222222222, 3333333333
# How often a row is one that the stored rows do not know: its fragment is not to be kept.
_NAMELESS = 0.05


def _template() -> tuple[bytes, bytes]:
    """A page before and after its tables, up to its `meta`, so that it can be drawn. What is counted up is where its
    numbers are.
    """
    example = EXAMPLES[Details]
    head = {"v": _VERSION, "id": _ID, "last": _LAST} | {name: example[name] for name in example if name != "meta"}
    head |= {"tables": [], "destinations": [f"version {_VERSION} "]}
    before, after = msgspec.json.encode(head).removesuffix(b"}").split(b'"tables":[')
    return before + b'"tables":[', after


_TEMPLATE = _template()


def _fragment(table: int, row: Row, functions: int) -> bytes:
    said = EXAMPLES[Details]["tables"][0]["replication"] | {"fails": f"{row.text} by {functions}"}
    shown = {"id": table, "table_name": f"t{table}", "version": row.version, "schema_table": [], "replication": said}
    return msgspec.json.encode(shown)


def _numbers(array: str) -> list[int | None]:
    return [None if number == "NULL" else int(number) for number in array.strip("{}").split(",") if number]


class Client:
    """As `service.database.pool.ConfigDatabase`."""

    def __init__(self, database: ConfigDatabase) -> None:
        self._database = database
        self.is_down = False
        # The version of each source that its last recorded sync has made.
        self.synced: Counter[int] = Counter()

    async def fetch_all(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        database = self._database
        await database._pass()
        if database.is_away:
            self.is_down = True
            raise ConfigDatabaseUnavailableError("it is away")
        rows = self._details(parameters) if name == "details" else self._rows(name, parameters)
        await database._pass()
        if database.is_away:
            self.is_down = True
            raise ConfigDatabaseUnavailableError("it went away")
        self.is_down = False
        return rows

    async def fetch_nowait(self, name: str, /, **parameters: Any) -> dict[str, Any] | None:
        return next(iter(await self.fetch_all(name, **parameters)), None)

    fetch_one = fetch_nowait

    async def fetch_tuples_nowait(self, name: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in await self.fetch_all(name, **parameters)]

    async def fetch_detached(self, name: str, /, *, timeout_s: float, **parameters: Any) -> dict[str, Any] | None:
        assert timeout_s
        return await self.fetch_nowait(name, **parameters)

    async def in_transaction(self, work: Callable[[Any], Awaitable[Any]], *, timeout_s: float) -> Any:
        assert timeout_s
        await self._database._pass()
        recording = Recording(self._database)
        try:
            recorded = await work(recording)
            await self._database._pass()
            if self._database.is_away:
                raise ConfigDatabaseUnavailableError("it went away")
            for source in recording.commit():
                self.synced[source] = self._database.versions[source]
        finally:
            recording.release()
        # It is committed, and its caller learns of it late.
        await self._database._pass()
        return recorded

    async def drain(self) -> None:
        return

    def _rows(self, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        database = self._database
        if name == "identity":
            return [{"identity": database.identity}]
        if name == "canary":
            for listening in database.listeners:
                listening.send(parameters["channel"], parameters["token"], 0, 0)
            return [{}]
        if name == "refresh_if_due":
            return [{"outcome": "clean", "wait_ms": None}]
        if name == "portrait_extras":
            return []
        source = parameters["id"]
        assert name == "sync_start"
        if source not in database.versions:
            return []
        known = {
            "id": source, "tables_edition": database.editions[source], "sync_number": database.syncs[source],
            "digests": {},
        }  # fmt: skip
        return [_CONNECTION | known]

    def _details(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """As the statement `details`: the fragments that the caller has not kept, and the facts."""
        database, source = self._database, parameters["id"]
        version = database.versions.get(source)
        if version is None:
            return []
        recorded, asked = database.recorded[source], parameters["names"]
        last = recorded if asked is None else min(last_of(asked), recorded)
        parts = [part.decode() for part in _TEMPLATE]
        for number, value in ((_VERSION, version), (_ID, source), (_LAST, last)):
            parts = [part.replace(str(number), str(value)) for part in parts]
        shown = database.shown_at[source][version]
        ids, rows = range(1, last + 1), shown.rows[:last]
        versions = [row.version for row in rows]
        row_versions = [None if database.rng.random() < _NAMELESS else row.number for row in rows]
        kept = set[tuple[int | None, ...]]()
        epoch = f"{database.start} {database.stored_by}"
        # Read from the view, or live.
        functions = database.rng.choice([database.stored_by, database.functions])
        if parameters["kept_epoch"] == epoch:
            numbers = [_numbers(parameters[f"kept_{what}"]) for what in ("ids", "versions", "row_versions")]
            kept.update(zip(*numbers, strict=True))
        sent = [
            {"ordinal": table, "fragment": _fragment(table, row, functions), "facts": None}
            for table, row, row_version in zip(ids, rows, row_versions, strict=True)
            if row_version is None or (table, row.version, row_version) not in kept
        ]
        facts = _CONNECTION | {
            "id": source, "before_tables": parts[0], "after_tables": parts[1], "epoch": epoch,
            "ids": list(ids), "versions": versions, "row_versions": row_versions, "published_names": names(recorded),
            "registered_names": names(recorded), "registered": recorded, "unpublished_names": [], "is_carried": False,
            "view_is_current": True, "is_settled": source not in database.unsettled,
            "as_of": "2026-11-23T22:53:48+00:00",
            "health_facts": None,
        }  # fmt: skip
        return [*sent, {"ordinal": None, "fragment": None, "facts": msgspec.json.encode(facts)}]


class Recording:
    """A transaction that records a sync, as `service.sources.sync` does it. Recordings of one source do not overlap."""

    def __init__(self, database: ConfigDatabase) -> None:
        self._database = database
        self._locked: int | None = None
        self._last: int | None = None

    async def execute(self, statement: str, parameters: Any = None, **_: Any) -> "Recording":
        database = self._database
        await database._pass()
        self.row: dict[str, Any] = {}
        if statement == query("lock_source"):
            await database.locks[parameters["id"]].acquire()
            self._locked = parameters["id"]
        elif statement == query("record_sync"):
            self.row = self._record(parameters["id"], parameters)
        await database._pass()
        return self

    async def fetchone(self) -> dict[str, Any]:
        return self.row

    def _record(self, source: int, seen: dict[str, Any]) -> dict[str, Any]:
        database = self._database
        is_newest = (
            seen["sync_number"] == database.syncs[source] or int(seen["source_snapshot"]) >= (database.recorded[source])
        )
        is_overtaken = seen["tables_edition"] != database.editions[source]
        last = last_of(msgspec.json.decode(seen["tables"].obj)) if is_newest else database.recorded[source]
        if is_newest and not is_overtaken:
            self._last = last
        added = names(last)[database.recorded[source] :]
        return {
            "is_overtaken": is_overtaken, "is_newest": is_newest, "is_set_back": False,
            "number": database.syncs[source] + 1, "published_names": names(last),
            "report": {"added": added, "tables_changed": []},
        }  # fmt: skip

    def commit(self) -> list[int]:
        """Makes it visible, and notifies; returns what has changed."""
        if self._locked is None or self._last is None:
            return []
        database, source = self._database, self._locked
        has_changed = self._last != database.recorded[source]
        database.recorded[source] = self._last
        database.syncs[source] += 1
        if not has_changed:
            return []
        database.editions[source] += 1
        database.commit(source)
        return [source]

    def release(self) -> None:
        """Ends the transaction."""
        if self._locked is not None:
            self._database.locks[self._locked].release()
