"""The health of a source's replication, in one verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class Health:
    """The worst level that is known, and every reason for it in words."""

    level: Level
    reasons: tuple[str, ...]


def health(
    source: Mapping[str, Any], wal: Mapping[str, Any] | None, *, is_failing: bool, sync_error: str | None
) -> Health:
    """Judges a source by its flags, its row in `wal_monitor` (None without one), whether it fails to answer this
    process (`is_failing`), and why its background sync failed (`sync_error`; None if it did not).
    """
    errors, warnings = [], []
    if sync_error:
        warnings.append(f"its syncs fail: {sync_error}")
    elif is_failing:
        warnings.append("its database does not answer")
    if not source["is_publication_enabled"]:
        warnings.append("its publication is not enabled")
    if not source["is_replication_enabled"]:
        warnings.append("its replication is not enabled")
    if wal is not None:
        if wal["status"] == "IDLE":
            warnings.append(wal["error_message"] or "its slot is inactive")
        elif wal["error_message"]:
            errors.append(f"replication fails: {wal['error_message']}")
        elif wal["status"] == "ERROR":
            errors.append("replication fails")
        if wal["wal_threshold_status"] == "ERROR":
            errors.append("its slot retains too much WAL")
        elif wal["wal_threshold_status"] == "WARNING":
            warnings.append("its slot retains much WAL")
    if errors:
        return Health("error", (*errors, *warnings))
    if warnings:
        return Health("warning", tuple(warnings))
    if wal is None:
        return Health("unknown", ("nothing monitors its WAL yet",))
    return Health("ok", ())
