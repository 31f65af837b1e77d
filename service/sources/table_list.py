"""The names of all tables that a source has, published or not: asked rarely, remembered in Redis for five minutes."""

import json
from typing import Any

from service.cache.store import Cache, CacheUnavailableError
from service.concurrency import Turnstile
from service.config.settings import Settings
from service.database.pool import ConfigDatabase
from service.database.queries import query
from service.errors import EntityNotFoundError, SourceUnreachableError
from service.sources.connections import Source, SourceConnection, Sources

_LIFE_MS = 300_000


class TableLists:
    """Where a source does not answer, the tables that the config database knows stand in for its own."""

    def __init__(self, settings: Settings, database: ConfigDatabase, sources: Sources, cache: Cache) -> None:
        self._database = database
        self._sources = sources
        self._cache = cache
        self._budget = settings.sync_budget_ms / 1000
        self._asked: Turnstile[Source, list[str]] = Turnstile()

    async def of(self, source_id: int, *, refresh: bool) -> tuple[list[str], str]:
        """The names, sorted, and where they are from: "redis", "source", or "metadata: " and why.

        EntityNotFoundError, ConfigDatabaseUnavailableError. `refresh` asks the source whatever is remembered, also one
        that failed a moment ago; without it such a one is left alone.
        """
        row = await self._database.fetch_patiently("source_connection", id=source_id)
        if row is None:
            raise EntityNotFoundError("Source", str(source_id))
        source = Source.of(row)
        if not refresh and (names := await self._remembered(source)) is not None:
            return names, "redis"
        why = None if refresh else self._sources.resting(source)
        if why is None:
            try:
                return await self._asked.pass_through(source, lambda: self._ask(source)), "source"
            except SourceUnreachableError as error:
                why = error.message
        known = await self._database.fetch_patiently("registered_tables", id=source_id)
        return (known["names"] if known else []), f"metadata: {why}"

    async def _ask(self, source: Source) -> list[str]:
        async def question(connection: SourceConnection) -> list[str]:
            row = await (await connection.execute(query("remote_tables"))).fetchone()
            assert row is not None
            names: list[str] = row["names"]
            return names

        names, _ = await self._sources.ask(source, self._budget, question)
        text = json.dumps({"place": source.place, "names": names}).encode()
        try:
            await self._cache.remember_tables(source.id, text, _LIFE_MS)
        except CacheUnavailableError:
            return names
        return names

    async def _remembered(self, source: Source) -> list[str] | None:
        try:
            text = await self._cache.recall_tables(source.id)
        except CacheUnavailableError:
            return None
        return None if text is None else _parse(text, source.place)


def _parse(text: bytes, place: str) -> list[str] | None:
    """What Redis held, unless it is of another place (or of anybody's making)."""
    try:
        held: Any = json.loads(text)
        names: list[str] = held["names"]
        return names if held["place"] == place and all(isinstance(name, str) for name in names) else None
    except (ValueError, KeyError, TypeError):
        return None
