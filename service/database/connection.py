"""Connections to the config database: to its primary, directly or through a pooler."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow

from service.database.queries import query
from service.printable import one_line

_LONGEST_REASON = 10_000


def conninfo(dsn: str, application_name: str = "rosetta-source-details") -> str:
    """`dsn` with the defaults of this service for options that the DSN lacks.

    Reads go to the primary as well: a standby may lag behind the notifications and would fill caches with older rows.
    """
    wanted: dict[str, Any] = {
        "application_name": application_name,
        "target_session_attrs": "read-write",
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    # The encoding is not that of PGCLIENTENCODING, of the role or of its database.
    return make_conninfo("", **(wanted | conninfo_to_dict(dsn) | {"client_encoding": "UTF8"}))


def reason(error: BaseException) -> str:
    """Why a database could not be queried, in one short line, even if several hosts failed or its message is long."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = str(error).lstrip()[:_LONGEST_REASON]
    return one_line(said.splitlines()[0]) if said else type(error).__name__


def is_unreachable(error: psycopg.OperationalError) -> bool:
    """Whether the server failed rather than the statement: no SQLSTATE, or one of class 08 or 53, or 57P (shutdown)."""
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "53") or error.sqlstate[:3] == "57P"


class Connection(psycopg.AsyncConnection[DictRow]):
    """`is_pooled`: a pooler is in between, which may give each transaction another server process."""

    is_pooled = False


def connection_class(on_failure: Callable[[psycopg.OperationalError], None]) -> type[Connection]:
    """Connections that report why connecting failed: the pool itself only says that it took too long."""

    class Connecting(Connection):
        @classmethod
        async def connect(cls, *arguments: Any, **options: Any) -> Any:
            try:
                return await super().connect(*arguments, **options)
            except psycopg.OperationalError as error:
                on_failure(error)
                raise

    return Connecting


async def configure(connection: Connection) -> None:
    """Makes a new connection ready for the named statements."""
    await connection.set_autocommit(True)
    row = await (await connection.execute("SELECT pg_backend_pid() AS pid")).fetchone()
    assert row is not None
    connection.is_pooled = row["pid"] != connection.info.backend_pid
    if connection.is_pooled:
        # The pooler keeps prepared statements forever; only fetch_nowait() can handle one that no longer fits.
        connection.prepare_threshold = None
        await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
    else:
        # Behind a pooler the next client would inherit the settings; there each transaction begins with them instead.
        await connection.execute(query("session_settings"))


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """A transaction, in pipeline mode unless a pooler is in between."""
    if connection.is_pooled:
        # Not in pipeline mode: psycopg's ends with a Flush behind its Sync. If the pooler has answered the Sync before
        # the Flush arrives, it assigns the Flush a server process and never frees it: nothing answers a lone Flush.
        async with connection.transaction():
            await connection.execute(query("transaction_settings"), prepare=True)
            yield
    else:
        async with connection.pipeline(), connection.transaction():
            yield
