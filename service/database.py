"""The config database: a pool of connections to its primary."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from service.errors import ConfigDatabaseUnavailableError, StartError
from service.queries import query
from service.settings import Settings
from service.waiting import within

Connection = psycopg.AsyncConnection[DictRow]
T = TypeVar("T")

# A read waits this long for a lock; the only lock that it can meet is a plain REFRESH's on the view.
_LOCK_TIMEOUT_MS = 50
_RECONNECT_S = 1.0


def conninfo(dsn: str) -> str:
    """`dsn` with what this service needs where the DSN does not say otherwise.

    The primary, also for reads: a standby may lag behind the notifications and would fill caches with older rows.
    """
    wanted: dict[str, Any] = {
        "application_name": "rosetta-source-details",
        "target_session_attrs": "read-write",
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    return make_conninfo("", **(wanted | conninfo_to_dict(dsn)))


def reason(error: BaseException) -> str:
    """Why a database could not be asked, in one line without the noise of several hosts."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _is_unreachable(error: psycopg.OperationalError) -> bool:
    """Whether the server, and not the statement, is the trouble: no SQLSTATE, or one of the classes 08, 53, 57."""
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "53", "57")


async def _configure(connection: Connection) -> None:
    await connection.set_autocommit(True)
    await connection.execute(f"SET lock_timeout = {_LOCK_TIMEOUT_MS}")


class ConfigDatabase:
    """Runs the named statements. ConfigDatabaseUnavailableError wherever it cannot be reached in time."""

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.config_timeout_ms / 1000
        self._conninfo = conninfo(settings.config_dsn.get_secret_value())
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={"row_factory": dict_row},
            configure=_configure,
            min_size=settings.pool_min_size,
            max_size=settings.pool_max_size,
            timeout=self._timeout,
            # The pool's own retries come at growing intervals, so that it would find out late that the database is
            # back. It gives up soon instead, and the next request tries again.
            reconnect_timeout=_RECONNECT_S,
            open=False,
            name="config",
        )

    async def open(self) -> None:
        """Connects. StartError, with the reason, where nothing answers or the migrations are missing."""
        try:
            # Once by hand: the pool would only say that it took too long, and retry without an end.
            async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                cursor = await connection.execute("SELECT to_regclass('public.source_details_tables') IS NOT NULL")
                row = await cursor.fetchone()
        except psycopg.Error as error:
            raise StartError(f"ROSETTA_CONFIG_DSN: cannot reach the config database: {reason(error)}") from None
        if row is None or not row[0]:
            raise StartError("ROSETTA_CONFIG_DSN: the database lacks the service's objects; run bin/migrate first")
        await self._pool.open()

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close()

    async def fetch(self, name: str, /, *, timeout_s: float | None = None, **parameters: Any) -> DictRow | None:
        """The first row of the statement called `name`, or None. Repeated once if its connection had died."""

        async def run(connection: Connection) -> DictRow | None:
            cursor = await connection.execute(query(name), parameters, binary=True, prepare=True)
            return await cursor.fetchone()

        return await self._reached(run, attempts=2, timeout_s=timeout_s)

    async def in_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The outcome of `work` in one transaction, in pipeline mode: statements wait for no answer but the last."""

        async def run(connection: Connection) -> T:
            async with connection.pipeline(), connection.transaction():
                return await work(connection)

        return await self._reached(run, attempts=1)

    async def _reached(
        self, work: Callable[[Connection], Awaitable[T]], attempts: int, timeout_s: float | None = None
    ) -> T:
        async def once() -> T:
            async with self._pool.connection() as connection:
                return await work(connection)

        while True:
            attempts -= 1
            try:
                return await within(timeout_s or self._timeout, once())
            except (PoolTimeout, TimeoutError) as error:
                raise ConfigDatabaseUnavailableError(reason(error)) from error
            except psycopg.OperationalError as error:
                if not _is_unreachable(error):
                    raise
                # A pooled connection that died unnoticed says nothing about the server; a fresh one does.
                if attempts == 0:
                    raise ConfigDatabaseUnavailableError(reason(error)) from error

    async def ping(self) -> None:
        """Returns where the database answers."""

        async def run(connection: Connection) -> None:
            await connection.execute("SELECT 1")

        await self._reached(run, attempts=2)

    def figures(self) -> dict[str, int]:
        """The pool's own counters."""
        return self._pool.get_stats()
