"""What a replication slot is, as `remote_slot` describes it, and whether it can carry this source."""

from typing import Any

PLUGIN = "pgoutput"


def unfit(slot: dict[str, Any]) -> str | None:
    """Why a slot of the right name is not this source's, in words that follow "its slot"; None if it is."""
    if slot["slot_type"] != "logical":
        return f"is a {slot['slot_type']} slot, not a logical one"
    if not slot["is_here"]:
        return f"belongs to database {slot['database']}"
    if slot["plugin"] != PLUGIN:
        return f"uses the plugin {slot['plugin']}, not {PLUGIN}"
    if slot["is_temporary"]:
        return "is temporary: it ends with the session that made it"
    return None


def lost(slot: dict[str, Any]) -> str | None:
    """Why nothing more can be read from a slot, in words that follow "its slot"; None if it can."""
    if slot["invalidation_reason"]:
        return f"was invalidated ({slot['invalidation_reason']}) and must be recreated"
    if slot["conflicting"]:
        return "conflicts with recovery on this standby and must be recreated"
    if slot["wal_status"] == "lost":
        return "has lost WAL that it needs and must be recreated (wal_status is lost)"
    return None


def is_idle_by_nature(slot: dict[str, Any], *, is_standby: bool) -> bool:
    """Whether nobody reads from it because it is a copy, which a failover would wake (PostgreSQL 17)."""
    return bool(slot["synced"]) and is_standby


def slot_words(slot: dict[str, Any]) -> str:
    """The kind of a slot, and what is special about it: "logical, pgoutput, two-phase"."""
    special = {"two_phase": "two-phase", "failover": "failover", "synced": "synced", "is_temporary": "temporary"}
    kind = [slot["slot_type"], slot["plugin"], *(words for key, words in special.items() if slot[key])]
    return ", ".join(word for word in kind if word)
