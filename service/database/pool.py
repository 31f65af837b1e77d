"""The config database: a pool of connections to its primary."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.rows import AsyncRowFactory, DictRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from service.concurrency import within
from service.database.connection import (
    Connection,
    configure,
    connection_class,
    conninfo,
    is_unreachable,
    reason,
    transaction,
)
from service.database.queries import positional, query
from service.errors import ConfigDatabaseUnavailableError, MissingObjectsError, StartError
from service.telemetry.events import DatabaseDown, DatabaseUp, Observer
from service.telemetry.tracing import span

T = TypeVar("T")

_RECONNECT_S = 1.0


class ConfigDatabase:
    """Runs the named statements. ConfigDatabaseUnavailableError if the database cannot be reached in time.

    What a statement does when another program holds a lock that it needs:

    `fetch_nowait`, `fetch_tuples_nowait`   give up after 50 ms with psycopg's LockNotAvailable; they are prepared
    `fetch_one`, `fetch_all`   wait 2 s, then raise ConfigDatabaseUnavailableError
    `fetch_detached`    gives up after 50 ms; the server finishes it even if this process freezes
    `in_transaction`    depends on the caller's statements
    """

    def __init__(
        self, observer: Observer, *, dsn: str, timeout_s: float, pool_min_size: int, pool_max_size: int
    ) -> None:
        self._observe = observer
        self._timeout = timeout_s
        self._conninfo = conninfo(dsn)
        self._drained = 0.0
        self._edition = 0
        self._connect_failure = (0.0, "")
        self._is_down = False
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            connection_class=connection_class(self._note_failure),
            kwargs={"row_factory": dict_row},
            configure=configure,
            min_size=pool_min_size,
            max_size=pool_max_size,
            timeout=self._timeout,
            # The pool's own retries come at growing intervals, so it would notice late that the database is back.
            # It gives up soon instead, and the next request tries again.
            reconnect_timeout=_RECONNECT_S,
            open=False,
            name="config",
        )

    @property
    def is_down(self) -> bool:
        """The last caller could not reach it. Runtime polls anyway; callers with a fallback need not try."""
        return self._is_down

    def _note_failure(self, error: psycopg.OperationalError) -> None:
        self._connect_failure = (monotonic(), reason(error))

    async def open(self) -> None:
        """Connects. StartError, with the reason, if the database does not answer or lacks the migrations."""
        try:
            # Once without the pool, which would only say that it took too long, and retry forever.
            async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                cursor = await connection.execute("SELECT FROM pg_trigger WHERE tgname = 'source_details_truncate'")
                row = await cursor.fetchone()
        except psycopg.Error as error:
            raise StartError(f"ROSETTA_CONFIG_DSN: cannot reach the config database: {reason(error)}") from None
        if row is None:
            raise StartError("ROSETTA_CONFIG_DSN: the database lacks the service's objects; run rosetta migrate first")
        await self._pool.open()

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close()

    async def fetch_nowait(self, name: str, /, **parameters: Any) -> DictRow | None:
        """The first row of the statement called `name`, or None. psycopg's LockNotAvailable after 50 ms at a lock."""
        return next(iter(await self._nowait(name, parameters, dict_row)), None)

    async def fetch_tuples_nowait(self, name: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
        """Every row, the quickest way for many. psycopg's LockNotAvailable after 50 ms at a lock."""
        return await self._nowait(name, parameters, tuple_row)

    async def _nowait(self, name: str, parameters: dict[str, Any], factory: AsyncRowFactory[T]) -> list[T]:
        async def run(connection: Connection) -> list[T]:
            edition = self._edition
            try:
                return await self._rows(connection, name, parameters, factory)
            except psycopg.errors.FeatureNotSupported:
                # "cached plan must not change result type": a column was altered since the statement was prepared. It
                # is prepared again with a different text: for the same text a pooler would reuse its old statement.
                self._edition = edition + 1
                return await self._rows(connection, name, parameters, factory)

        with span(f"sql {name}"):
            return await self._reached(run)

    async def fetch_detached(self, name: str, /, *, timeout_s: float, **parameters: Any) -> DictRow | None:
        """The first row of a statement that takes many locks, or None. LockNotAvailable after 50 ms at a lock.

        It is sent as one message: the server commits and frees the locks even if this process is frozen meanwhile.
        """

        async def run(connection: Connection) -> DictRow | None:
            cursor = psycopg.AsyncClientCursor(connection)
            await cursor.execute(f"{query('transaction_settings')};\n{query(name)}", parameters)
            while cursor.nextset():
                continue
            return await cursor.fetchone()

        with span(f"sql {name}"):
            return await self._reached(run, timeout_s=timeout_s)

    async def fetch_one(self, name: str, /, **parameters: Any) -> DictRow | None:
        """The first row, or None. Waits for locks."""
        return next(iter(await self.fetch_all(name, **parameters)), None)

    async def fetch_all(self, name: str, /, **parameters: Any) -> list[DictRow]:
        """Every row. Waits for locks."""

        async def run(connection: Connection) -> list[DictRow]:
            await connection.execute(query("wait_for_locks"), prepare=False)
            cursor = await connection.execute(query(name), parameters, binary=True, prepare=False)
            return await cursor.fetchall()

        try:
            with span(f"sql {name}"):
                return await self.in_transaction(run)
        except psycopg.errors.LockNotAvailable:
            raise ConfigDatabaseUnavailableError("its tables are locked by another program") from None

    async def _rows(
        self, connection: Connection, name: str, parameters: dict[str, Any], factory: AsyncRowFactory[T]
    ) -> list[T]:
        text, names = positional(name)
        text += f"\n-- edition {self._edition}" if self._edition else ""
        values = [parameters[name] for name in names]
        cursor = psycopg.AsyncRawCursor(connection, row_factory=factory)
        if not connection.is_pooled:
            return await (await cursor.execute(text, values, binary=True, prepare=True)).fetchall()
        async with transaction(connection):
            return await (await cursor.execute(text, values, binary=True, prepare=True)).fetchall()

    async def in_transaction(self, work: Callable[[Connection], Awaitable[T]], *, timeout_s: float | None = None) -> T:
        """The outcome of `work` in one transaction. Without a pooler it runs in pipeline mode: no statement waits for
        the one before it. `timeout_s` instead of the usual limit.
        """

        async def run(connection: Connection) -> T:
            async with transaction(connection):
                return await work(connection)

        return await self._reached(run, timeout_s=timeout_s, is_repeatable=False)

    async def _reached(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        timeout_s: float | None = None,
        is_repeatable: bool = True,
    ) -> T:
        limit = timeout_s or self._timeout
        started = monotonic()
        try:
            outcome = await within(limit, self._attempt(work, monotonic() + limit, is_repeatable))
        except (PoolTimeout, TimeoutError) as error:
            failed_at, why = self._connect_failure
            raise self._unavailable(why if failed_at >= started else reason(error)) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction):
            # Someone dropped our view to alter a column below it, and has not applied the migrations again yet.
            raise MissingObjectsError from None
        except psycopg.errors.QueryCanceled as error:
            # By an operator, or by the role's own timeout: other statements are answered.
            raise ConfigDatabaseUnavailableError(reason(error)) from None
        except psycopg.OperationalError as error:
            if not is_unreachable(error):
                raise
            raise self._unavailable(reason(error)) from error
        if self._is_down:
            self._is_down = False
            self._observe(DatabaseUp())
        return outcome

    def _unavailable(self, why: str) -> ConfigDatabaseUnavailableError:
        if not self._is_down:
            self._is_down = True
            self._observe(DatabaseDown(reason=why))
        return ConfigDatabaseUnavailableError(why)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]], deadline: float, is_repeatable: bool) -> T:
        async with self._connection(deadline) as connection:
            taken = monotonic()
            try:
                if is_repeatable:
                    return await work(connection)
                # If the connection died in a transaction, its outcome would be unknown. So the connection is checked
                # first.
                await self._pool.check_connection(connection)
            except psycopg.OperationalError as error:
                if not is_unreachable(error):
                    raise
            else:
                return await work(connection)
        # Every connection that was idle when the server went away is as dead as this one; only new ones show the
        # server's state. Callers that notice at the same time drain the pool once.
        if self._drained < taken:
            self._drained = monotonic()
            await self._pool.drain()
        async with self._connection(deadline) as connection:
            return await work(connection)

    @asynccontextmanager
    async def _connection(self, deadline: float) -> AsyncIterator[Connection]:
        while True:
            left = deadline - monotonic()
            try:
                connection = await self._pool.getconn(min(left, _RECONNECT_S))
                break
            except PoolTimeout:
                # A pool that gave up connecting tries again for new callers, not for waiting ones: so this calls again.
                if left <= _RECONNECT_S:
                    raise
        try:
            yield connection
        finally:
            if connection.pgconn.pipeline_status:
                # The caller was cancelled before the last answer of its pipeline came. The pool only checks the
                # transaction's status, and would give the connection to a caller whose queries get no answer.
                await connection.close()
            await self._pool.putconn(connection)

    async def drain(self) -> None:
        """Replaces every connection as soon as it is free."""
        await self._pool.drain()

    def figures(self) -> dict[str, int]:
        """The pool's own counters."""
        return self._pool.get_stats()
