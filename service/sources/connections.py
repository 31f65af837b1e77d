"""Connections to source databases: one kept warm per source, each use within a bound, failing ones left alone."""

import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from service.concurrency import within
from service.config.credentials import UndecryptablePasswordError, decrypt
from service.config.settings import Settings
from service.config.source_hosts import SourceHosts
from service.database.connection import reason
from service.errors import SourceUnreachableError
from service.sources.resolver import Resolver
from service.telemetry.events import Observer, SourceDown, SourceUp
from service.telemetry.tracing import span

T = TypeVar("T")
SourceConnection = psycopg.AsyncConnection[DictRow]

_FORGET_S = 300.0
_NO_FILE = f"{os.devnull}/none"


@dataclass(frozen=True, slots=True)
class Source:
    """How to reach a source. Two of them are equal when they lead to the same place in the same way."""

    id: int
    pg_host: str
    pg_port: int
    pg_database: str
    pg_username: str
    pg_password: str | None = field(repr=False)
    publication_name: str
    replication_name: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Source":
        """From a row that holds the connection columns."""
        return cls(*(row[name] for name in cls.__slots__))

    @property
    def address(self) -> tuple[str | int | None, ...]:
        """What a connection to it depends on: with the same address goes the same connection. Holds the password."""
        return self.pg_host, self.pg_port, self.pg_database, self.pg_username, self.pg_password

    @property
    def place(self) -> str:
        """Where its publication is; of use as part of a key, since it holds no secret."""
        return f"{self.pg_username}@{self.pg_host}:{self.pg_port}/{self.pg_database}#{self.publication_name}"


@dataclass(slots=True)
class _Idle:
    connection: SourceConnection
    since: float


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float
    why: str
    since: datetime
    address: tuple[str | int | None, ...] = field(repr=False)


class Sources:
    """Asks sources. SourceUnreachableError, with a reason that holds no secret, wherever one does not answer."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._key = settings.encryption_key
        self._connect_timeout = settings.source_connect_timeout_ms / 1000
        self._statement_timeout_ms = settings.source_statement_timeout_ms
        self._rest = settings.source_rest_s
        self._idle_s = settings.source_idle_s
        self._most_idle = settings.source_connections
        self._tls: dict[str, str] = {"sslmode": settings.source_sslmode}
        if settings.source_sslrootcert:
            self._tls["sslrootcert"] = settings.source_sslrootcert
        self._hosts = SourceHosts(settings.source_hosts)
        self._observe = observer
        self._resolver = Resolver()
        self._idle: OrderedDict[tuple[str | int | None, ...], _Idle] = OrderedDict()
        self._resting: dict[int, _Failure] = {}

    def resting(self, source: Source) -> str | None:
        """Why page loads leave this source alone now, if they do. Where it leads elsewhere since, they do not."""
        failure = self._resting.get(source.id)
        is_so = failure is not None and failure.until > monotonic() and failure.address == source.address
        return failure.why if failure is not None and is_so else None

    def failing_since(self, source_id: int) -> datetime | None:
        """When this process first found that it does not answer; None for one that last did."""
        failure = self._resting.get(source_id)
        return None if failure is None else failure.since

    @property
    def failing(self) -> dict[int, str]:
        """The sources that did not answer when last asked, with the reason."""
        return {source_id: failure.why for source_id, failure in self._resting.items()}

    async def ask(
        self, source: Source, budget_s: float, question: Callable[[SourceConnection], Awaitable[T]]
    ) -> tuple[T, dict[str, float]]:
        """The outcome of `question`, and how long connecting and asking took (ms)."""
        try:
            password = decrypt(self._key, source.pg_password)
        except UndecryptablePasswordError as error:
            raise self._down(source, str(error)) from None
        try:
            with span("source", source_id=source.id):
                answer = await within(budget_s, self._ask(source, password, question))
        except (psycopg.Error, OSError, TimeoutError, UnicodeError) as error:
            why = reason(error)
            if isinstance(error, TimeoutError):
                why = f"no answer within {budget_s * 1000:.0f} ms"
            if password:
                why = why.replace(password, "***")
            raise self._down(source, why) from None
        if self._resting.pop(source.id, None):
            self._observe(SourceUp(source_id=source.id))
        return answer

    async def _ask(
        self, source: Source, password: str | None, question: Callable[[SourceConnection], Awaitable[T]]
    ) -> tuple[T, dict[str, float]]:
        started = monotonic()
        while True:
            idle = self._idle.pop(source.address, None)
            connection = idle.connection if idle else await self._connect(source, password)
            connected = monotonic()
            try:
                answer = await question(connection)
            except psycopg.OperationalError:
                # A warm connection may have died unnoticed; a fresh one has no such excuse.
                if idle is None or not connection.broken:
                    raise
            else:
                self._keep(source, connection)
                return answer, {
                    "connect": round((connected - started) * 1000, 3),
                    "source": round((monotonic() - connected) * 1000, 3),
                }
            finally:
                held = self._idle.get(source.address)
                if held is None or held.connection is not connection:
                    await connection.close()

    async def _connect(self, source: Source, password: str | None) -> SourceConnection:
        try:
            return await within(self._connect_timeout, self._open(source, password))
        except TimeoutError:
            raise psycopg.OperationalError(f"no connection within {self._connect_timeout * 1000:.0f} ms") from None

    async def _open(self, source: Source, password: str | None) -> SourceConnection:
        found = await self._resolver.addresses(source.pg_host)
        addresses = [address for address in found or (None,) if self._hosts.allow(source.pg_host, address)]
        if not addresses:
            raise psycopg.OperationalError("its host is not among ROSETTA_SOURCE_HOSTS")
        # Each in turn: a host may have an address of a kind on which its server does not listen.
        place = {"hostaddr": ",".join(map(str, addresses))} if found else {}
        conninfo = make_conninfo(
            "",
            host=",".join([source.pg_host] * len(addresses)),
            **place,
            port=source.pg_port,
            dbname=source.pg_database,
            user=source.pg_username,
            # Never what libpq finds by itself (PGPASSWORD, ~/.pgpass): a source must not get the config database's.
            password=password or "",
            passfile=_NO_FILE,
            client_encoding="UTF8",
            application_name="rosetta-source-details",
            options=f"-c statement_timeout={self._statement_timeout_ms} -c default_transaction_read_only=on",
            keepalives_idle=10,
            **self._tls,
        )
        return await psycopg.AsyncConnection.connect(conninfo, autocommit=True, row_factory=dict_row)

    def _keep(self, source: Source, connection: SourceConnection) -> None:
        if source.address in self._idle:
            return
        self._idle[source.address] = _Idle(connection, monotonic())
        if len(self._idle) > self._most_idle:
            _, oldest = self._idle.popitem(last=False)
            oldest.connection.pgconn.finish()

    def _down(self, source: Source, why: str) -> SourceUnreachableError:
        before = self._resting.get(source.id)
        since = before.since if before else datetime.now(UTC)
        self._resting[source.id] = _Failure(monotonic() + self._rest, why, since, source.address)
        if before is None:
            self._observe(SourceDown(source_id=source.id, reason=why))
        return SourceUnreachableError(f"the source database cannot be asked: {why}", source_id=source.id)

    async def sweep(self) -> None:
        """Closes what has been idle for long, and forgets failures that nobody has met again: of a source that is gone,
        or that another process has found well.
        """
        for source_id, failure in list(self._resting.items()):
            if failure.until + _FORGET_S < monotonic():
                del self._resting[source_id]
        long_ago = monotonic() - self._idle_s
        for address in [address for address, idle in self._idle.items() if idle.since < long_ago]:
            await self._idle.pop(address).connection.close()

    async def close(self) -> None:
        """Closes every connection."""
        while self._idle:
            _, idle = self._idle.popitem()
            await idle.connection.close()
