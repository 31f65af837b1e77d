"""Monitors every source's replication slot, if the platform's own monitor does not.

A round checks all sources, some at a time; one process of the deployment makes it. Its findings go into the platform's
`wal_monitor`, and for a day into a history of the lag. The message of a state holds no figures: only a change of state
may notify, and a figure would change with every check.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError, SourceUnreachableError
from service.sources.connections import Connections, SourceAddress
from service.telemetry.events import Observer, WalRound

_AT_ONCE = 8
_TRY_AGAIN_S = 1.0
# A client confirms now and then. One that lags by this much and has confirmed nothing for a minute is stalled.
_STALLED_BYTES = 16 * 2**20
_RECORDED = (
    "wal_lsn", "wal_position", "lag_bytes", "retained_bytes", "confirmed_lsn", "restart_lsn", "wal_status",
    "safe_wal_size", "inactive_since",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """A state as it goes into `wal_monitor`: IDLE with a message is a warning, ERROR is an error."""

    status: Literal["ACTIVE", "IDLE", "ERROR"]
    message: str | None


def judge(seen: dict[str, Any], confirmed_before: str | None) -> State:
    """The worst finding about a source's slot and publication. `confirmed_before`: what was confirmed a minute ago."""
    if not seen["has_slot"]:
        return State("ERROR", "its replication slot does not exist")
    if seen["wal_status"] == "lost":
        return State("ERROR", "its slot has lost WAL that it needs and must be recreated (wal_status is lost)")
    if seen["wal_status"] == "unreserved":
        return State("ERROR", "its slot is about to lose WAL that it needs (wal_status is unreserved)")
    if not seen["has_publication"]:
        return State("ERROR", "its publication does not exist")
    if not seen["published_tables"]:
        return State("ERROR", "its publication exists but is empty")
    if not seen["is_active"]:
        since = f" (since {seen['inactive_since'][:19]})" if seen["inactive_since"] else ""
        return State("IDLE", f"its slot is inactive{since} and retains WAL")
    if seen["confirmed_lsn"] == confirmed_before and (seen["lag_bytes"] or 0) >= _STALLED_BYTES:
        return State("ERROR", "its slot is active but stalled: nothing is confirmed while WAL grows")
    if seen["wal_status"] == "extended":
        return State("IDLE", "its slot retains more than max_wal_size (wal_status is extended)")
    return State("ACTIVE", None)


class WalMonitoring:
    """Runs until it is cancelled; does nothing if the interval is 0."""

    def __init__(
        self,
        database: ConfigDatabase,
        connections: Connections,
        observer: Observer,
        *,
        interval_s: int,
        budget_s: float,
    ) -> None:
        self._database = database
        self._connections = connections
        self._observe = observer
        self._interval = interval_s
        self._budget = budget_s

    async def run(self) -> None:
        """Makes each round that no other process has claimed."""
        if not self._interval:
            await asyncio.Event().wait()
        while True:
            try:
                if await self._database.fetch_one("claim_wal_round", interval_s=self._interval):
                    await self._round()
            except ConfigDatabaseUnavailableError:
                await asyncio.sleep(_TRY_AGAIN_S)
            # Every process checks this often whether a round is due: another takes over from one that stops.
            await asyncio.sleep(min(self._interval, _TRY_AGAIN_S))

    async def _round(self) -> None:
        started = monotonic()
        rows = await self._database.fetch_all("wal_sources")
        free = asyncio.Semaphore(_AT_ONCE)

        async def look(row: dict[str, Any]) -> bool:
            async with free:
                return await self._look(SourceAddress.of(row), row["confirmed_lsn"])

        troubled = await asyncio.gather(*(look(row) for row in rows))
        took_ms = round((monotonic() - started) * 1000, 3)
        self._observe(WalRound(sources=len(rows), troubled=sum(troubled), took_ms=took_ms))

    async def _look(self, address: SourceAddress, confirmed_before: str | None) -> bool:
        seen: dict[str, Any] = {}
        try:
            row, _ = await self._connections.fetch(
                address,
                "remote_wal",
                budget_s=self._budget,
                publication=address.publication_name,
                slot=address.replication_name,
            )
            assert row is not None
            seen = row
            state = judge(seen, confirmed_before)
        except SourceUnreachableError as error:
            state = State("ERROR", error.message)
        await self._database.fetch_one(
            "record_wal",
            id=address.id,
            slot=address.replication_name,
            is_seen=bool(seen),
            status=state.status,
            error=state.message,
            **{name: seen.get(name) for name in _RECORDED},
        )
        return state.message is not None
