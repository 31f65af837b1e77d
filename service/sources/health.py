"""The health of a source's replication, in one verdict: for its page, the list, the command line, metrics and `meta`.

docs/health.md has the rules as a table, each of them a test.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from service.sources import remedies
from service.sources.address import SourceAddress
from service.sources.slots import lost, unfit
from service.sources.state import SourceState
from service.sources.table_names import display
from service.units import amount, duration, moment

Level = Literal["ok", "warning", "error", "unknown"]

# A sync that fails this often in a row is an error, no passing trouble.
FAILURES = 3
# A monitor looks each minute. After this, what it wrote says nothing about now.
MONITOR_OLD_S = 300
# Time for a person to act: a slot that will be lost sooner is told of, long before the thresholds may be.
LOSS_SOON_S, LOSS_NEAR_S = 6 * 3600, 3600
# Syncs come every few minutes, or after failures every hour; the platform's replication monitor looks each minute.
LOOKED_OLD_S = 2 * 3600
_UNREACHABLE = "the source database cannot be queried: "
# What the WAL monitor writes, and this page has a remedy for.
NO_SLOT = "its replication slot does not exist"
NO_PUBLICATION = "its publication does not exist"
IS_SILENT = "its reader has received everything and confirms nothing: its tables are idle, or it is stuck itself"
LEVELS: tuple[Level, ...] = ("error", "warning", "unknown", "ok")


class Reason(msgspec.Struct, frozen=True):
    """One finding in a sentence, and what a person may run about it: SQL or a command, ready to copy."""

    level: Level
    says: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The worst level, and every reason for it, the worst first."""

    level: Level
    reasons: tuple[Reason, ...]

    def body(self) -> dict[str, Any]:
        """The object that the API returns."""
        return {"level": self.level, "reasons": [msgspec.structs.asdict(reason) for reason in self.reasons]}


def health(facts: Mapping[str, Any] | None, not_answering: str | None = None) -> Health:
    """Judges a source by what source_details_health_facts() says of it; None: that could not be read.

    `not_answering`: why the source did not answer this process just now.
    """
    if facts is None:
        reason = Reason(
            "unknown", "its health cannot be judged: the database lacks a table or a right", "rosetta doctor"
        )
        return Health("unknown", (reason,))
    is_old = (facts["looked_age_s"] or 0) > LOOKED_OLD_S
    if is_old:
        facts = {**facts, "seen": None}
    reasons = [*_reaching(facts, not_answering), *_monitored(facts), *_seen(facts)]
    sync = f"rosetta sync {facts['id']}"
    if not facts["is_known"]:
        # The flags are false until somebody looks.
        reasons.append(Reason("unknown", "it has never been synced", sync))
    elif is_old:
        reasons.append(Reason("unknown", f"it was last synced {duration(facts['looked_age_s'])} ago", sync))
    else:
        told = {reason.remedy for reason in reasons}
        reasons += [*(flag for flag in _flags(facts) if flag.remedy not in told), *_drift(facts)]
    reasons.sort(key=lambda reason: LEVELS.index(reason.level))
    return Health(reasons[0].level if reasons else "ok", tuple(reasons))


def look(address: SourceAddress, state: SourceState) -> list[Reason]:
    """What is wrong at the source right now, by what has just been read there."""
    name, slot = address.publication_name, address.replication_name
    facts = {
        "id": address.id, "publication_name": name, "replication_name": slot, "pg_username": address.pg_username,
        "seen": state.seen(),
    }  # fmt: skip
    reasons = list(_seen(facts))
    if not state.publication["has_publication"]:
        reasons.append(Reason("warning", "no publication", remedies.create_publication(name)))
    if state.slot is None and state.has_slot is not None:
        reasons.append(Reason("warning", "no slot", remedies.create_slot(slot, address.id)))
    return reasons


def _reaching(facts: Mapping[str, Any], not_answering: str | None) -> Iterator[Reason]:
    test = f"rosetta sources test {facts['id']}"
    if facts["last_error"]:
        failures = facts["failures"]
        times = f", {failures} times in a row" if failures > 1 else ""
        says = f"its syncs fail: {facts['last_error']} (since {_moment(facts['failing_since'])}{times})"
        yield Reason("error" if failures >= FAILURES or _is_out_of_reach(facts["monitor"]) else "warning", says, test)
    elif not_answering:
        # The same words whether it was asked just now or failed a moment ago: nothing changes in between.
        why = not_answering.removeprefix("not asked: ").removeprefix(_UNREACHABLE)
        yield Reason("warning", f"its database does not answer: {why}", test)


def _is_out_of_reach(monitor: Mapping[str, Any] | None) -> bool:
    """Whether the WAL monitor could not reach it, lately."""
    if monitor is None or _is_old(monitor):
        return False
    return (monitor["error_message"] or "").startswith(_UNREACHABLE)


def _is_old(monitor: Mapping[str, Any]) -> bool:
    return monitor["age_s"] is None or monitor["age_s"] > MONITOR_OLD_S


def _monitored(facts: Mapping[str, Any]) -> Iterator[Reason]:
    monitor = facts["monitor"]
    if monitor is None:
        yield Reason("unknown", "nothing monitors its WAL yet", "rosetta doctor")
        return
    if _is_old(monitor):
        when = "at an unknown time" if monitor["age_s"] is None else f"{duration(monitor['age_s'])} ago"
        yield Reason("unknown", f"the WAL monitor last looked {when}", "rosetta doctor")
        return
    message = monitor["error_message"]
    if _is_out_of_reach(monitor):
        # Told once: by the syncs, which know since when, if they fail as well.
        if not facts["last_error"]:
            yield Reason("error", f"replication fails: {message}", f"rosetta sources test {facts['id']}")
    elif monitor["status"] == "IDLE":
        if not _is_in_seen(facts):
            remedy = remedies.look_at_slot(facts["replication_name"])
            if message == IS_SILENT:
                is_all_tables = bool(facts["seen"] and facts["seen"]["is_all_tables"])
                remedy = remedies.heartbeat(None if is_all_tables else facts["publication_name"])
            yield Reason("warning", message or "its slot is inactive", remedy)
    elif (message or monitor["status"] == "ERROR") and not _is_in_seen(facts):
        says = f"replication fails: {message}" if message else "replication fails"
        remedy = f"rosetta sources test {facts['id']}"
        if message == NO_SLOT:
            remedy = remedies.create_slot(facts["replication_name"], facts["id"])
        elif message == NO_PUBLICATION:
            remedy = remedies.create_publication(facts["publication_name"])
        yield Reason("error", says, remedy)
    outlook = facts["outlook"]
    if outlook and outlook["lost_in_s"] is not None and outlook["lost_in_s"] < LOSS_SOON_S and not _is_in_seen(facts):
        yield _foretold(outlook)
    if outlook and outlook["held_by"]:
        yield _held(outlook["held_by"], facts["pg_username"])
    if monitor["threshold"] == "ERROR":
        yield Reason("error", "its slot retains too much WAL", remedies.limit_wal())
    elif monitor["threshold"] == "WARNING":
        yield Reason("warning", "its slot retains much WAL", remedies.limit_wal())


def _foretold(outlook: Mapping[str, Any]) -> Reason:
    event = "the disk of its server is full" if outlook["is_disk_limit"] else "its slot is lost"
    says = (
        f"{event} in about {duration(outlook['lost_in_s'])}, if its WAL goes on growing as in the last "
        f"{duration(outlook['rate_over_s'])}: {amount(outlook['rate_bytes'])}/s"
    )
    remedy = remedies.limit_wal() if outlook["is_disk_limit"] else remedies.keep_more_wal()
    return Reason("error" if outlook["lost_in_s"] < LOSS_NEAR_S else "warning", says, remedy)


def _held(holder: Mapping[str, Any], role: str) -> Reason:
    if holder["kind"] == "hidden":
        says = f"a transaction holds its slot, and which one cannot be told: {role} may not see other roles' sessions"
        return Reason("warning", says, remedies.see_sessions(role))
    # A worker of the server itself has no role.
    role, database = holder.get("role", "the server itself"), holder.get("database", "unknown")
    where = f"of {role} in database {database} since {_moment(holder['since'])}"
    if holder["kind"] == "prepared":
        says = f"a prepared transaction {where} holds its slot: all WAL since then is kept"
        return Reason("warning", says, remedies.end_prepared(holder["gid"]))
    says = f"a transaction {where} holds its slot: all WAL since then is kept"
    return Reason("warning", says, remedies.end_session(holder["pid"]))


def _is_in_seen(facts: Mapping[str, Any]) -> bool:
    """Whether `_seen` says what is wrong with the slot, with a remedy for it."""
    slot = facts["seen"] and facts["seen"]["slot"]
    return bool(slot and (unfit(slot) or lost(slot)))


def _seen(facts: Mapping[str, Any]) -> Iterator[Reason]:
    seen = facts["seen"]
    if not seen:
        return
    name, slot, server = facts["replication_name"], seen["slot"], seen["server"]
    if slot and (why := unfit(slot)):
        says = f"its slot {name} {why}"
        yield Reason("error", says, remedies.create_another_slot(name, facts["id"]))
    elif slot and (why := lost(slot)):
        yield Reason("error", f"its slot {name} {why}", remedies.recreate_slot(name))
    if facts.get("is_set_back"):
        says = "its server was set back in time within a day, or is a copy: what was replicated since has to be copied"
        yield Reason("warning", says, f"rosetta sync {facts['id']}")
    if server["wal_level"] != "logical":
        says = f"wal_level is {server['wal_level']} at its server: nothing can be replicated before it is logical"
        yield Reason("error", says, remedies.set_wal_level())
    for key, why in list(seen["fails"].items())[:1]:
        others = len(seen["fails"]) - 1
        more = f" (and {others} more)" if others else ""
        remedy = remedies.identify_rows(key)
        if "generated column" in why:
            remedy = remedies.identify_rows_by_key(key)
        elif "the publication" in why:
            # REPLICA IDENTITY FULL needs every column to be published.
            remedy = remedies.publish_every_column(facts["publication_name"], key)
        yield Reason("warning", f"on table {display(key)}{more} {why}", remedy)
    for what, why in [
        *((f"table {display(key)}", why) for key, why in seen["unread"].items()),
        *seen["not_known"].items(),
    ]:
        yield Reason(
            "warning", f"{what} could not be read: {why}",
            remedies.grant_function(why, facts["pg_username"]) or f"rosetta sync {facts['id']}",
        )  # fmt: skip


def _flags(facts: Mapping[str, Any]) -> Iterator[Reason]:
    if not facts["is_publication_enabled"]:
        remedy = remedies.create_publication(facts["publication_name"])
        yield Reason("warning", "its publication is not enabled", remedy)
    if not facts["is_replication_enabled"] and not _is_in_seen(facts):
        remedy = remedies.create_slot(facts["replication_name"], facts["id"])
        yield Reason("warning", "its replication is not enabled", remedy)


def _drift(facts: Mapping[str, Any]) -> Iterator[Reason]:
    keys = facts["unpublished"]
    if keys and not (facts["seen"] and facts["seen"]["is_all_tables"]):
        # A table that a publication of all tables lacks has been dropped.
        says = f"registered, but no longer published: {', '.join(map(display, keys[:3]))}"
        more = ", ..." if len(keys) > 3 else ""
        yield Reason("warning", says + more, remedies.add_table(facts["publication_name"], keys[0]))


def _moment(text: str | None) -> str:
    return moment(text) if text else "an unknown time"
