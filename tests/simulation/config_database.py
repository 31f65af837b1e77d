"""A config database: the version of each source's page, who is notified of a change, and when it does not answer.

A source's tables are numbered in the order in which they were made, and none is ever dropped: of two sets of them, the
number of the last one tells which is newer.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import msgspec
import psycopg

from service.database.queries import query
from service.errors import ConfigDatabaseUnavailableError
from service.http.openapi import EXAMPLES
from service.http.schemas import Details
from service.pages.listener import CHANNEL

_CONNECTION = {
    "pg_host": "h", "pg_port": 1, "pg_database": "d", "pg_username": "u", "pg_password": None,
    "publication_name": "p", "replication_name": "r",
}  # fmt: skip
_VERSION, _ID, _LAST = 1111111111, 2222222222, 3333333333


def _template() -> bytes:
    """A whole page up to its `meta`, so that it can be drawn. What is counted up is where its numbers are."""
    example = EXAMPLES[Details]
    head = {"v": _VERSION, "id": _ID, "last": _LAST} | {name: example[name] for name in example if name != "meta"}
    head |= {"tables": [], "destinations": [f"version {_VERSION} "]}
    return msgspec.json.encode(head).removesuffix(b"}")


_HEAD = _template()


def names(last: int) -> list[str]:
    """The tables up to this one."""
    return [f"t{number}" for number in range(1, last + 1)]


def last_of(tables: Collection[str]) -> int:
    """The number of the last one."""
    return max((int(name[1:]) for name in tables), default=0)


class ConfigDatabase:
    """`versions` is what a read sees at a moment between its call and its answer."""

    def __init__(self, rng: random.Random, sources: list[int]) -> None:
        self.rng = rng
        self.latency = rng.choice([0.0005, 0.005, 0.05])
        self.notify_s = rng.choice([0.0005, 0.005, 0.05])
        self.versions = dict.fromkeys(sources, 1)
        self.unsettled: set[int] = set()
        # Of each source: the last table that is recorded, the number of the last sync, and how often others wrote.
        self.recorded = dict.fromkeys(sources, 1)
        # The last table that was recorded at each version.
        self.recorded_at = {source: [1, 1] for source in sources}
        self.syncs: Counter[int] = Counter()
        self.editions: Counter[int] = Counter()
        self.locks = {source: asyncio.Lock() for source in sources}
        self.is_away = False
        self.listeners: list[Listening] = []
        self.identity = "the/config/database"

    def commit(self, source: int, *, told_to: int | str | None = None) -> None:
        """A change of a source's page, notified to it, or only to another or all (`told_to`)."""
        self.versions[source] += 1
        self.recorded_at[source].append(self.recorded[source])
        self.notify(source if told_to is None else told_to, source)

    def notify(self, told_to: int | str, changed: int) -> None:
        """Notifies of a source, or of all (`*`): whoever hears it knows the present version of the one that changed."""
        for listening in self.listeners:
            listening.send(CHANNEL, str(told_to), changed, self.versions[changed])

    async def connect(self) -> "Listening":
        """A connection to listen on."""
        await self._pass()
        if self.is_away:
            raise psycopg.OperationalError("the config database is away")
        return Listening(self)

    async def _pass(self) -> None:
        await asyncio.sleep(self.rng.expovariate(1 / self.latency))


class Client:
    """What one process has of it, as `service.database.pool.ConfigDatabase`."""

    def __init__(self, database: ConfigDatabase) -> None:
        self._database = database
        self.is_down = False
        # The version of each source that its last recorded sync has made.
        self.synced: Counter[int] = Counter()

    async def fetch_nowait(self, name: str, /, **parameters: Any) -> dict[str, Any] | None:
        database = self._database
        await database._pass()
        if database.is_away:
            self.is_down = True
            raise ConfigDatabaseUnavailableError("it is away")
        row = self._row(name, parameters)
        await database._pass()
        if database.is_away:
            self.is_down = True
            raise ConfigDatabaseUnavailableError("it went away")
        self.is_down = False
        return row

    fetch_one = fetch_nowait

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

    def _row(self, name: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        database = self._database
        if name == "identity":
            return {"identity": database.identity}
        if name == "canary":
            for listening in database.listeners:
                listening.send(parameters["channel"], parameters["token"], 0, 0)
            return {}
        if name == "refresh_if_due":
            return {"outcome": "clean", "wait_ms": None}
        if name == "portrait_extras":
            return None
        source = parameters["id"]
        version = database.versions.get(source)
        if version is None:
            return None
        recorded = database.recorded[source]
        if name == "sync_start":
            return _CONNECTION | {
                "id": source, "tables_edition": database.editions[source], "sync_number": database.syncs[source],
                "digests": {},
            }  # fmt: skip
        asked = parameters["names"]
        last = recorded if asked is None else min(last_of(asked), recorded)
        body = _HEAD
        for number, value in ((_VERSION, version), (_ID, source), (_LAST, last)):
            body = body.replace(b"%d" % number, b"%d" % value)
        return _CONNECTION | {
            "id": source, "body": body, "published_names": names(recorded),
            "registered_names": names(recorded), "registered": recorded, "unpublished_names": [], "is_carried": False,
            "view_is_current": True, "is_settled": source not in database.unsettled,
            "as_of": "2026-11-23T22:53:48+00:00",
            "health_facts": None,
        }  # fmt: skip


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
            "number": database.syncs[source] + 1, "published_names": names(last), "report": {"added": added},
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


class Listening:
    """A connection that listens, as psycopg's. `on_told(payload, source, version)` is called for each notification."""

    def __init__(self, database: ConfigDatabase) -> None:
        self.info = self.pgconn = self
        self.backend_pid = 1
        self._database = database
        self._channels: set[str] = set()
        self._waiting: list[tuple[str, str, int, int]] = []
        self._more = asyncio.Event()
        self._last = 0.0
        self._is_over = False
        self.is_deaf = False
        # The versions that were committed before it listened: eviction of everything covers these.
        self.before: dict[int, int] = {}
        self.on_told: Any = None

    async def execute(self, statement: Any) -> None:
        await self._database._pass()
        self._check()
        text = statement if isinstance(statement, str) else statement.as_string(None)
        if text.startswith("LISTEN"):
            channel = text.split('"')[1]
            self._channels.add(channel)
            if channel == CHANNEL:
                self._database.listeners.append(self)
                self.before = dict(self._database.versions)
        await self._database._pass()
        self._check()

    def send(self, channel: str, payload: str, source: int, version: int) -> None:
        """A notification on its way; in order."""
        if channel not in self._channels or self.is_deaf:
            return
        loop = asyncio.get_running_loop()
        self._last = max(self._last, loop.time() + self._database.rng.expovariate(1 / self._database.notify_s))
        loop.call_at(self._last, self._arrive, (channel, payload, source, version))

    def _arrive(self, notification: tuple[str, str, int, int]) -> None:
        self._waiting.append(notification)
        self._more.set()

    def cut(self) -> None:
        """The connection is gone; its process notices now."""
        self.finish()
        self._more.set()

    def finish(self) -> None:
        self._is_over = True
        if self in self._database.listeners:
            self._database.listeners.remove(self)

    def _check(self) -> None:
        if self._is_over:
            raise psycopg.OperationalError("the connection is lost")

    async def notifies(self, *, timeout: float, stop_after: int | None = None) -> AsyncIterator[psycopg.Notify]:
        deadline = asyncio.get_running_loop().time() + timeout
        count = 0
        while stop_after is None or count < stop_after:
            while not self._waiting:
                self._check()
                self._more.clear()
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._more.wait()
                except TimeoutError:
                    return
            self._check()
            # All that came in one packet is yielded before the next wait, as psycopg does.
            packet, self._waiting = self._waiting, []
            for channel, payload, source, version in packet:
                count += 1
                if channel == CHANNEL:
                    self.on_told(source, version)
                yield psycopg.Notify(channel, payload, 1)
