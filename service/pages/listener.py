"""The listener: receives notifications of changed pages, and evicts these pages.

It has its own direct connection to the primary. On every connect it runs LISTEN first and evicts everything afterwards,
so that a change between the two is notified on this connection and not missed.

A connection that looks alive may deliver nothing. So canaries are sent at intervals, on a channel of their own; if one
does not arrive in time, the listener ends the connection. A canary is sent as every change is: by another connection.
There are two reasons. A notification that a session sends to itself arrives in its own transaction, even behind a
pooler that drops all others, so it proves nothing. And the pool may have moved on to a new primary while the listener
is still connected to the old one.
"""

import asyncio
import re
import secrets
from time import monotonic

import psycopg
from psycopg import sql

from service.concurrency import Backoff, keep, within
from service.database.connection import conninfo, reason
from service.database.notifications import receive
from service.database.pool import ConfigDatabase
from service.errors import StartError
from service.pages.details import Pages
from service.pages.refresher import Refresher
from service.telemetry.events import CanaryReceived, ListenerDown, ListenerUp, Observer

CHANNEL = "source_details_changed"
_CHANNEL = CHANNEL.encode()
# Source ids begin at 1.
_NO_SOURCE = 0
_SOURCE_ID = re.compile(rb"[0-9]{1,10}")
_CONNECT_S = 10.0
_CANARY_PATIENCE_S = 3.0
_LONGEST_PAUSE_S = 5.0


class DeafError(Exception):
    """A canary was sent but did not arrive: the connection delivers nothing (a pooler, a half-open socket)."""

    def __init__(self) -> None:
        super().__init__(
            "notifications do not arrive on this connection (is a pooler in between, or is it another database?)"
        )


class Listener:
    """`is_listening` says whether notifications arrive; `canary_ms` is the last canary's round trip."""

    def __init__(
        self,
        database: ConfigDatabase,
        pages: Pages,
        refresher: Refresher,
        observer: Observer,
        *,
        dsn: str,
        canary_interval_s: float,
    ) -> None:
        self._conninfo = conninfo(dsn, "rosetta-source-details-listener")
        self._database = database
        self._pages = pages
        self._refresher = refresher
        self._observe = observer
        self._interval = canary_interval_s
        self._canary_channel = f"source_details_canary_{secrets.token_hex(8)}"
        self._connection: psycopg.AsyncConnection | None = None
        self._received: set[int] | None = set()
        self._is_flush_due = False
        self.is_listening = False
        self.canary_ms: float | None = None

    @property
    def backend_pid(self) -> int | None:
        """The server process of the connection, as in pg_stat_activity; None without a connection."""
        return self._connection.info.backend_pid if self._connection else None

    async def open(self) -> None:
        """Connects for the first time. StartError, with the reason, if that fails: an operator is there to read it."""
        try:
            await self._connect()
        except (psycopg.Error, OSError, TimeoutError, DeafError) as error:
            raise StartError(f"ROSETTA_LISTENER_DSN: cannot listen on the config database: {reason(error)}") from None

    async def run(self) -> None:
        """Listens until it is cancelled; reconnects, with a growing pause, whenever the connection ends."""
        backoff = Backoff(_LONGEST_PAUSE_S)
        is_first_failure = True
        while True:
            try:
                if self._connection is None:
                    await self._connect()
                backoff.reset()
                is_first_failure = True
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError, DeafError) as error:
                if self.is_listening or is_first_failure:
                    self._observe(ListenerDown(reason=reason(error)))
            finally:
                self.is_listening = False
                await self.close()
            is_first_failure = False
            await backoff.pause()

    async def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            # finish(), not close(): an orderly close could wait for a peer that is gone.
            self._connection.pgconn.finish()
            self._connection = None

    async def _connect(self) -> None:
        connection = await within(_CONNECT_S, psycopg.AsyncConnection.connect(self._conninfo, autocommit=True))
        self._connection = connection
        for channel in (CHANNEL, self._canary_channel):
            await within(_CANARY_PATIENCE_S, connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel))))
        await self._pages.evict(None, "reconnect")
        await self._prove(connection)
        self.is_listening = True
        self._observe(ListenerUp())
        self._refresher.request()

    async def _listen(self) -> None:
        connection = self._connection
        assert connection is not None
        while True:
            await self._take(connection, self._interval)
            await self._prove(connection)

    async def _prove(self, connection: psycopg.AsyncConnection) -> None:
        """Returns when the canary has arrived; or, if none can be sent, when the connection answers a query."""
        token, started, sent = secrets.token_hex(8), monotonic(), 0.0

        async def send() -> None:
            nonlocal sent
            await self._database.fetch_nowait("canary", channel=self._canary_channel, token=token)
            sent = monotonic()

        # Sent while notifications are received, not before: a busy pool must not delay evictions.
        sending = asyncio.ensure_future(within(_CANARY_PATIENCE_S, send()))
        keep(sending)
        awaited = token.encode()
        is_received = await self._take(connection, _CANARY_PATIENCE_S, awaited)
        if not is_received and sent:
            # The canary may have been sent late: its time to arrive counts from then.
            is_received = await self._take(connection, sent + _CANARY_PATIENCE_S - monotonic(), awaited)
        if is_received:
            self.canary_ms = round((monotonic() - started) * 1000, 3)
            # In the background: a Redis that hangs must not keep this connection from being read.
            self._observe.watch("canary", self._evict_canary(started, self.canary_ms))
        elif sent:
            # The fault may also be the pool's: it may be connected to a server other than the primary.
            await self._database.drain()
            raise DeafError
        else:
            await within(_CANARY_PATIENCE_S, connection.execute("SELECT"))

    async def _evict_canary(self, started: float, received_ms: float) -> None:
        await self._pages.evict([_NO_SOURCE], "canary")
        self._observe(CanaryReceived(received_ms=received_ms, evicted_ms=round((monotonic() - started) * 1000, 3)))

    async def _take(self, connection: psycopg.AsyncConnection, seconds: float, token: bytes = b"") -> bool:
        """Receives notifications for so many seconds. Returns true at once if the canary with this token arrives."""

        def hear(channel: bytes, payload: bytes) -> bool:
            if channel == _CHANNEL:
                self._hear(payload)
                return False
            return token != b"" and payload == token

        return await receive(connection, hear, seconds)

    def _hear(self, payload: bytes) -> None:
        # Every payload but a source id means all pages: '*', or the text of a program that does not know our payloads.
        source_ids = [int(payload)] if _SOURCE_ID.fullmatch(payload) else None
        if self._received is not None and source_ids is not None:
            self._received.update(source_ids)
        else:
            self._received = None
        # At once: before the flush has its turn, a request that has arrived may be answered.
        self._pages.drop(source_ids)
        if not self._is_flush_due:
            # Everything that arrives in one packet becomes one eviction: the flush runs once all of it has been read.
            self._is_flush_due = True
            self._observe.watch("eviction", self._flush())

    async def _flush(self) -> None:
        received, self._received, self._is_flush_due = self._received, set(), False
        await self._pages.evict(received, "notification")
        self._refresher.request()
