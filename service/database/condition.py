"""What is wrong with the database's own side, in one place: for the health report and for `rosetta doctor`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REPAIR = "rosetta migrate --repair"
# PostgreSQL itself warns, in its log, from half on.
_CROWDED = 0.25


@dataclass(frozen=True, slots=True)
class Trouble:
    """`subject` and what is wrong with it; `remedy` is what to do. `is_broken`: pages may be wrong, or writers fail."""

    subject: str
    says: str
    remedy: str
    is_broken: bool = True


def find_troubles(view: Mapping[str, Any]) -> Iterator[Trouble]:
    """What a row of `view_state` shows; nothing for an empty one."""
    if not view:
        return
    if view["triggers_missing"]:
        yield Trouble(
            "triggers",
            f"{view['triggers_missing']} of {view['triggers_wanted']} are missing or not ENABLE ALWAYS, "
            "so that changes are not noticed",
            f"run {REPAIR}",
        )
    if not view["has_event_trigger"]:
        yield Trouble(
            "event trigger",
            "missing, so that a REFRESH by hand is found by polling",
            f"run {REPAIR} as a superuser, once",
            is_broken=False,
        )
    if view["notification_queue"] > _CROWDED:
        yield Trouble(
            "notification queue",
            f"{view['notification_queue']:.0%} full; once it is full, writes to the config database fail",
            "a session that LISTENs stays in a transaction: find it in pg_stat_activity and end it",
        )
