"""Monitors every source's replication slot, if the platform's own monitor does not.

A round checks all sources, some at a time; one process of the deployment makes it. Its findings go into the platform's
`wal_monitor`, and for a day into a history of the lag. The message of a state holds no figures: only a change of state
may notify, and a figure would change with every check.
"""

import asyncio
import functools
from dataclasses import dataclass, field
from datetime import UTC
from time import monotonic
from typing import Any, Literal

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Json

from service.concurrency import all_of
from service.database.connection import reason
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError, SourceUnreachableError
from service.sources.address import SourceAddress
from service.sources.answer_shapes import MOST_ACTIVE
from service.sources.connections import Connections
from service.sources.health import IS_SILENT, NO_PUBLICATION, NO_SLOT
from service.sources.questions import Answers, Limits, ask
from service.sources.slots import is_idle_by_nature, lost, unfit
from service.sources.source_connection import SourceConnection, UnreadableText
from service.telemetry.events import Observer, TaskFailed, WalRound

_AT_ONCE = 8
_TRY_AGAIN_S = 1.0
# A client confirms now and then. One that lags by this much and has confirmed nothing for a minute is stalled.
_STALLED_BYTES = 16 * 2**20
_OF_SLOT = ("confirmed_lsn", "restart_lsn", "wal_status", "safe_wal_size", "inactive_since")
_QUESTIONS = ("remote_server", "remote_slot", "remote_position", "remote_publication", "remote_holder")
# A transaction that holds a slot for so long is no ordinary one.
_HELD_S = 600
# Statistics that take longer are not worth it, and are not asked for again for a while.
_ACTIVITY = Limits(2.0)
_ACTIVITY_REST_S = 3600.0
# A reader that was sent all but this has received what there is.
_SENT_BYTES = 2**20
# So much WAL before what is confirmed is kept for a transaction, not for the reader, if it is the same for that long.
_HELD_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class State:
    """A state as it goes into `wal_monitor`: IDLE with a message is a warning, ERROR is an error."""

    status: Literal["ACTIVE", "IDLE", "ERROR"]
    message: str | None


def judge(answers: Answers, confirmed_before: str | None) -> State:
    """The worst finding about a source's slot and publication. `confirmed_before`: what was confirmed a minute ago."""
    if why := answers.refused.get("remote_slot"):
        return State("IDLE", f"its slot cannot be read: {why}")
    slot = answers.one("remote_slot")
    if slot is None:
        return State("ERROR", NO_SLOT)
    if said := unfit(slot) or lost(slot):
        return State("ERROR", f"its slot {said}")
    if slot["wal_status"] == "unreserved":
        return State("ERROR", "its slot is about to lose WAL that it needs (wal_status is unreserved)")
    if why := answers.refused.get("remote_publication"):
        return State("IDLE", f"its publication cannot be read: {why}")
    publication = answers.one("remote_publication")
    assert publication is not None
    if not publication["has_publication"]:
        return State("ERROR", NO_PUBLICATION)
    if not publication["published_tables"]:
        return State("ERROR", "its publication exists but is empty")
    return _judge_activity(slot, answers, confirmed_before)


def _judge_activity(slot: DictRow, answers: Answers, confirmed_before: str | None) -> State:
    server = answers.one("remote_server")
    if not slot["is_active"] and not is_idle_by_nature(slot, is_standby=bool(server and server["is_standby"])):
        since = slot["inactive_since"]
        words = f" (since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC)" if since else ""
        return State("IDLE", f"its slot is inactive{words} and retains WAL")
    if slot["confirmed_lsn"] == confirmed_before and (measured(answers)["lag_bytes"] or 0) >= _STALLED_BYTES:
        holder, here = answers.one("remote_holder"), answers.one("remote_position")
        if holder and here and (holder["sent_position"] or 0) >= (here["wal_position"] or 0) - _SENT_BYTES:
            return State("IDLE", IS_SILENT)
        return State("ERROR", "its slot is active but stalled: nothing is confirmed while WAL grows")
    if slot["wal_status"] == "extended":
        return State("IDLE", "its slot retains more than max_wal_size (wal_status is extended)")
    return State("ACTIVE", None)


def measured(answers: Answers) -> dict[str, Any]:
    """The figures for record_wal; None where a question was refused, or where there is no slot."""
    slot = answers.one("remote_slot") or {}
    position = answers.one("remote_position") or {}
    here, confirmed, restart = (
        position.get("wal_position"), slot.get("confirmed_position"), slot.get("restart_position"),
    )  # fmt: skip
    return {
        "wal_lsn": position.get("wal_lsn"),
        "wal_position": here,
        "lag_bytes": None if here is None or confirmed is None else here - confirmed,
        "retained_bytes": None if here is None or restart is None else here - restart,
        **{name: slot.get(name) for name in _OF_SLOT},
    }


def held_by(answers: Answers, restart_before: str | None) -> dict[str, Any] | None:
    """The oldest transaction, if the slot waits for one; or that it waits for one which the source's role may not see.

    `restart_before`: the slot's restart_lsn `_HELD_S` ago.
    """
    holder, slot, server = (answers.one(name) for name in ("remote_holder", "remote_slot", "remote_server"))
    if holder is None or slot is None or slot["restart_lsn"] is None or slot["restart_lsn"] != restart_before:
        return None
    confirmed, restart = slot["confirmed_position"], slot["restart_position"]
    if confirmed is None or restart is None or confirmed - restart < _HELD_BYTES:
        return None
    if holder["since"] is not None:
        facts = {
            name: holder[name]
            for name in ("kind", "pid", "gid", "role", "database")
            if holder[name] is not None
        }  # fmt: skip
        return facts | {"since": holder["since"].astimezone(UTC).isoformat(timespec="seconds")}
    # On a standby nobody sees the primary's transactions.
    return {"kind": "hidden"} if holder["is_hidden"] and server and not server["is_standby"] else None


@dataclass(slots=True)
class _Seen:
    """What a source has answered so far."""

    answers: Answers = field(default_factory=Answers)
    activity: DictRow | None = None


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
        disk_bytes: int | None,
    ) -> None:
        self._database = database
        self._connections = connections
        self._observe = observer
        self._interval = interval_s
        self._budget = budget_s
        self._disk = disk_bytes
        # Until when sources that refused to tell of their tables' activity are not asked again.
        self._activity_rests: dict[int, float] = {}

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
        rows = await self._database.fetch_all("wal_sources", held_s=_HELD_S)
        free = asyncio.Semaphore(_AT_ONCE)

        async def look(row: dict[str, Any]) -> bool:
            async with free:
                return await self._look(SourceAddress.of(row), row)

        troubled = await all_of(look(row) for row in rows)
        took_ms = round((monotonic() - started) * 1000, 3)
        self._observe(WalRound(sources=len(rows), troubled=sum(troubled), took_ms=took_ms))

    async def _look(self, address: SourceAddress, before: DictRow) -> bool:
        seen = _Seen()
        silence: str | None = None
        try:
            await self._connections.use(
                address,
                functools.partial(self._ask, address=address, seen=seen),
                budget_s=self._budget + 2 * _ACTIVITY.statement_timeout_s,
            )
        except SourceUnreachableError as error:
            silence = error.message
        answers = seen.answers
        # What it answered before it fell silent is true.
        is_heard = bool(answers.rows or answers.refused)
        state = judge(answers, before["confirmed_lsn"]) if is_heard else State("ERROR", silence)
        held = held_by(answers, before["restart_lsn"])
        await self._database.fetch_one(
            "record_wal",
            id=address.id,
            slot=address.replication_name,
            is_seen=bool(answers.rows),
            status=state.status,
            error=state.message,
            disk_bytes=self._disk,
            held_by=held and Json(held),
            **measured(answers),
        )
        if seen.activity is not None:
            await self._record_activity(address.id, seen.activity)
        return state.message is not None

    async def _ask(self, connection: SourceConnection, address: SourceAddress, seen: "_Seen") -> None:
        parameters = {
            "publication": address.publication_name, "slot": address.replication_name, "held_s": _HELD_S,
            "most_active": MOST_ACTIVE,
        }  # fmt: skip
        seen.answers = await ask(connection, _QUESTIONS, parameters, self._connections.limits)
        if monotonic() < self._activity_rests.get(address.id, 0):
            return
        # On its own: what it costs a source of many tables must take nothing else with it.
        found = await ask(connection, ["remote_activity"], parameters, _ACTIVITY)
        if found.refused:
            self._activity_rests[address.id] = monotonic() + _ACTIVITY_REST_S
        row = found.one("remote_activity")
        # Names that nobody can read could not be told apart.
        if row is not None and not isinstance(row["tables"], UnreadableText):
            seen.activity = row

    async def _record_activity(self, source_id: int, row: DictRow) -> None:
        try:
            await self._database.fetch_all(
                "record_activity", id=source_id, tables=row["tables"], basis=str(row["basis"])
            )
        except psycopg.Error as error:
            # A right that is missing, or an answer that cannot be recorded: the other sources are looked at.
            self._observe(TaskFailed(task=f"activity {source_id}", reason=reason(error)))
