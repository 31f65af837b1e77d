"""The names of the tables that the platform can add to a publication: queried rarely, kept for five minutes."""

import msgspec

from service.cache.store import Cache
from service.cache.values import CacheUnavailableError
from service.concurrency import Turnstile
from service.database.pool import ConfigDatabase
from service.errors import EntityNotFoundError, SourceUnreachableError
from service.sources.address import SourceAddress
from service.sources.connections import Connections
from service.sources.source_connection import UnreadableText

_LIFE_MS = 300_000


class _Stored(msgspec.Struct):
    """A list as it is stored in Redis."""

    place: str
    names: list[str]


class TableLists:
    """Lists a source's tables. If the source does not answer, those registered in the config database stand in."""

    def __init__(self, database: ConfigDatabase, connections: Connections, cache: Cache, *, budget_s: float) -> None:
        self._database = database
        self._connections = connections
        self._cache = cache
        self._budget = budget_s
        self._asked: Turnstile[SourceAddress, list[str]] = Turnstile()

    async def of(self, source_id: int, *, refresh: bool) -> tuple[list[str], str]:
        """The names, sorted, and where they come from: "redis", "source", or "metadata: " with the reason.

        EntityNotFoundError, ConfigDatabaseUnavailableError. `refresh` asks the source even if a list is remembered, and
        even if the source failed a moment ago; without it such a source is skipped.
        """
        row = await self._database.fetch_one("source_connection", id=source_id)
        if row is None:
            raise EntityNotFoundError("Source", str(source_id))
        address = SourceAddress.of(row)
        if not refresh and (names := await self._remembered(address)) is not None:
            return names, "redis"
        why = None if refresh else self._connections.failures.resting(address)
        if why is None:
            try:
                return await self._asked.pass_through(address, lambda: self._ask(address)), "source"
            except SourceUnreachableError as error:
                why = error.message
        known = await self._database.fetch_one("registered_tables", id=source_id)
        return (known["names"] if known else []), f"metadata: {why}"

    async def _ask(self, address: SourceAddress) -> list[str]:
        row, _ = await self._connections.fetch(address, "remote_tables", budget_s=self._budget)
        assert row is not None
        names = [name for name in row["names"] if not isinstance(name, UnreadableText)]
        text = msgspec.json.encode(_Stored(address.publication_key, names))
        try:
            await self._cache.remember_tables(address.id, text, _LIFE_MS)
        except CacheUnavailableError:
            return names
        return names

    async def _remembered(self, address: SourceAddress) -> list[str] | None:
        try:
            text = await self._cache.recall_tables(address.id)
        except CacheUnavailableError:
            return None
        return None if text is None else _parse(text, address.publication_key)


def _parse(text: bytes, place: str) -> list[str] | None:
    """The names that Redis held; None if they are another database's, or if another program wrote something else."""
    try:
        held = msgspec.json.decode(text, type=_Stored)
    except msgspec.DecodeError:
        return None
    return held.names if held.place == place else None
