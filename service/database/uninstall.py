"""Removes everything of the service from the config database; see migrations/uninstall.sql."""

from dataclasses import dataclass

from psycopg import errors

from service.database.migrations import Say, apply, connect, first
from service.database.queries import folder


@dataclass(frozen=True, slots=True)
class Loss:
    """Data that uninstalling loses: a count, and of what."""

    count: int
    what: str


def losses(dsn: str) -> list[Loss]:
    """The data that `uninstall` would lose and that cannot be recomputed; empty if there is none."""
    questions = {
        "measurements of replication lag": "SELECT count(*) FROM public.source_details_lag",
        "entries of timelines": "SELECT count(*) FROM public.source_details_timeline",
        "notices to webhooks": "SELECT count(*) FROM public.source_details_notices",
        "sources' last syncs": "SELECT count(*) FROM public.source_details_sync_state",
        "tables that have left their publications": (
            "SELECT count(*) FROM public.table_metadata_list WHERE NOT is_published"
        ),
        "tables outside schema public": "SELECT count(*) FROM public.source_details_other_tables",
        "tables with what a sync saw of them beyond the platform's record": (
            "SELECT count(*) FROM public.table_metadata_list WHERE at_source IS NOT NULL"
        ),
    }
    found = []
    with connect(dsn) as connection:
        for what, question in questions.items():
            try:
                count = first(connection, question)
            except (errors.UndefinedTable, errors.UndefinedColumn):
                continue
            if count:
                found.append(Loss(int(count), what))
    return found


def uninstall(dsn: str, say: Say) -> None:
    """Removes all of the service's objects, and leaves the platform's tables as they were. StartError if that fails."""
    with connect(dsn) as connection:
        apply(connection, folder("migrations") / "uninstall.sql", say)
