"""Connections to source databases: one kept warm per source, each use bounded, failing sources skipped for a while."""

import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from service import descriptors
from service.concurrency import within
from service.config.allowed_hosts import AllowedHosts
from service.config.credentials import UndecryptablePasswordError, decrypt
from service.database.connection import reason
from service.database.queries import query
from service.errors import SourceUnreachableError
from service.printable import one_line
from service.sources.address import SourceAddress
from service.sources.failures import Failures
from service.sources.questions import OLDEST, Limits, ask, major, why_refused
from service.sources.resolver import Resolver
from service.sources.source_connection import SourceConnection
from service.telemetry.events import Observer
from service.telemetry.tracing import span

T = TypeVar("T")

# A session keeps the settings that its role had when it began. The platform's monitor connects anew each minute: what
# it writes and what a sync writes must not differ for long.
_LONGEST_LIFE_S = 60.0
# TLS modes in which the server is known.
_VERIFIED = ("verify-ca", "verify-full")
_NONSENSE = (LookupError, TypeError, ValueError, ArithmeticError, RecursionError, AssertionError)
_NO_DESCRIPTOR = "the source was not asked: this process has no file descriptor left (see /health/ready)"
_AUTH_REFUSED = "authentication method requirement"
_NO_FILE = f"{os.devnull}/none"


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How sources may be reached. `allowed_hosts` as in ROSETTA_SOURCE_HOSTS, `ssl*` and `require_auth` as in libpq."""

    encryption_key: bytes = field(repr=False)
    connect_timeout_s: float
    statement_timeout_s: float
    rest_s: float
    idle_s: float
    most_idle: int
    sslmode: str
    sslrootcert: str | None
    require_auth: str
    allowed_hosts: str


@dataclass(slots=True)
class _Idle:
    connection: SourceConnection
    made: float
    since: float


class Connections:
    """Runs named statements on sources. SourceUnreachableError, with a reason, if one does not answer."""

    def __init__(self, options: ConnectionOptions, observer: Observer) -> None:
        self._options = options
        self.limits = Limits(options.statement_timeout_s)
        self._tls: dict[str, str] = {"sslmode": options.sslmode}
        if options.sslrootcert:
            self._tls["sslrootcert"] = options.sslrootcert
        # Whoever answers on a source's address could ask for the password itself, or for a hash that can be used like
        # it. In SCRAM (RFC 5802) neither is sent, and the server has to know the password's verifier.
        self._require_auth = options.require_auth or ("" if options.sslmode in _VERIFIED else "scram-sha-256")
        self._hosts = AllowedHosts(options.allowed_hosts)
        self._resolver = Resolver()
        self._idle: OrderedDict[tuple[str | int | None, ...], _Idle] = OrderedDict()
        self.failures = Failures(observer, options.rest_s)

    async def fetch(
        self, address: SourceAddress, name: str, /, *, budget_s: float, **parameters: Any
    ) -> tuple[DictRow | None, dict[str, float]]:
        """The first row of the statement called `name`, if any, and how long connecting and the query took (ms)."""

        async def work(connection: SourceConnection) -> DictRow | None:
            answers = await ask(connection, [name], parameters, self.limits)
            if answers.refused:
                raise psycopg.OperationalError(answers.refused[name])
            return answers.one(name)

        return await self.use(address, work, budget_s=budget_s)

    async def use(
        self,
        address: SourceAddress,
        work: Callable[[SourceConnection], Coroutine[Any, Any, T]],
        *,
        budget_s: float,
        on_connected: Callable[[], None] = lambda: None,
    ) -> tuple[T, dict[str, float]]:
        """The outcome of `work` with a connection, and how long connecting and the work took (ms).

        `work` raises psycopg.Error if the source does not answer. It runs again if a warm connection turns out dead.
        """
        attempt = self.failures.begin()
        try:
            password = decrypt(self._options.encryption_key, address.pg_password)
        except UndecryptablePasswordError as error:
            raise self._down(address, attempt, str(error)) from None
        try:
            with span("source", source_id=address.id):
                answer = await within(budget_s, self._use(address, password, work, on_connected))
        except (psycopg.Error, OSError, TimeoutError, UnicodeError) as error:
            if descriptors.is_shortage(error):
                # Ours, not the source's: the source is not down.
                raise SourceUnreachableError(_NO_DESCRIPTOR, source_id=address.id) from None
            why = why_refused(error) if isinstance(error, psycopg.Error) else reason(error)
            if isinstance(error, TimeoutError):
                why = f"no answer within {budget_s * 1000:.0f} ms"
            if password:
                why = why.replace(password, "***")
            raise self._down(address, attempt, why) from None
        except _NONSENSE as error:
            # Whatever listens there need not be PostgreSQL: its rows may lack columns, or hold anything.
            raise self._down(
                address, attempt, f"it answers in an unknown form ({one_line(str(error), 100)})"
            ) from error
        self.failures.answered(address, attempt)
        return answer

    async def _use(
        self,
        address: SourceAddress,
        password: str | None,
        work: Callable[[SourceConnection], Coroutine[Any, Any, T]],
        on_connected: Callable[[], None],
    ) -> tuple[T, dict[str, float]]:
        started = monotonic()
        while True:
            idle = self._idle.pop(address.connection_key, None)
            if idle and idle.made + _LONGEST_LIFE_S < monotonic():
                await idle.connection.close()
                idle = None
            made = idle.made if idle else monotonic()
            connection = idle.connection if idle else await self._connect(address, password)
            connected = monotonic()
            on_connected()
            try:
                outcome = await work(connection)
            except psycopg.OperationalError:
                # A warm connection may have died unnoticed, so another is tried; a failure of a fresh one is the
                # source's.
                if idle is None or not connection.broken:
                    raise
            else:
                self._keep(address, connection, made)
                return outcome, {
                    "connect": round((connected - started) * 1000, 3),
                    "source": round((monotonic() - connected) * 1000, 3),
                }
            finally:
                held = self._idle.get(address.connection_key)
                if held is None or held.connection is not connection:
                    await connection.close()

    async def _connect(self, address: SourceAddress, password: str | None) -> SourceConnection:
        try:
            return await within(self._options.connect_timeout_s, self._open(address, password))
        except TimeoutError:
            raise psycopg.OperationalError(
                f"no connection within {self._options.connect_timeout_s * 1000:.0f} ms"
            ) from None

    async def _open(self, address: SourceAddress, password: str | None) -> SourceConnection:
        found = await self._resolver.addresses(address.pg_host)
        addresses = [each for each in found or (None,) if self._hosts.allow(address.pg_host, each)]
        if not addresses:
            raise psycopg.OperationalError("its host is not among ROSETTA_SOURCE_HOSTS")
        # libpq tries each in turn: a host may have an address of a kind on which its server does not listen.
        place = {"hostaddr": ",".join(map(str, addresses))} if found else {}
        # Without a password there is none to protect: the server may trust this host, or ask for a certificate.
        login = {"require_auth": self._require_auth} if password and self._require_auth else {}
        conninfo = make_conninfo(
            "",
            host=",".join([address.pg_host] * len(addresses)),
            **place,
            port=address.pg_port,
            dbname=address.pg_database,
            user=address.pg_username,
            # Never the password that libpq finds (PGPASSWORD, ~/.pgpass): a source must not get the config database's.
            password=password or "",
            passfile=_NO_FILE,
            # Not those of PGOPTIONS: a pooler refuses them. Each transaction sets what it needs (remote_settings).
            options="",
            **login,
            gssencmode="disable",
            target_session_attrs="any",
            client_encoding="UTF8",
            application_name="rosetta-source-details",
            keepalives_idle=10,
            **self._tls,
        )
        try:
            connection = await SourceConnection.connect(
                conninfo, autocommit=True, row_factory=dict_row, prepare_threshold=None
            )
        except psycopg.OperationalError as error:
            if _AUTH_REFUSED not in str(error):
                raise
            raise psycopg.OperationalError(
                f"it does not let this service log in by {self._require_auth}: set the role's password anew with "
                "password_encryption = 'scram-sha-256', or allow another way in ROSETTA_SOURCE_REQUIRE_AUTH"
            ) from None
        if (version := major(connection)) < OLDEST:
            await connection.close()
            raise psycopg.OperationalError(f"it is PostgreSQL {version}; the oldest that can be a source is {OLDEST}")
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            await connection.execute(query("remote_raw_texts"))
        connection.read_any_text()
        return connection

    def _keep(self, address: SourceAddress, connection: SourceConnection, made: float) -> None:
        if address.connection_key in self._idle:
            return
        self._idle[address.connection_key] = _Idle(connection, made, monotonic())
        if len(self._idle) > self._options.most_idle:
            _, oldest = self._idle.popitem(last=False)
            oldest.connection.pgconn.finish()

    def _down(self, address: SourceAddress, attempt: int, why: str) -> SourceUnreachableError:
        self.failures.failed(address, attempt, why)
        return SourceUnreachableError(f"the source database cannot be queried: {why}", source_id=address.id)

    async def sweep(self) -> None:
        """Closes connections that were idle for long, and forgets old failures."""
        self.failures.sweep()
        long_ago = monotonic() - self._options.idle_s
        for key in [key for key, idle in self._idle.items() if idle.since < long_ago]:
            await self._idle.pop(key).connection.close()

    async def close(self) -> None:
        """Closes every connection."""
        while self._idle:
            _, idle = self._idle.popitem()
            await idle.connection.close()
