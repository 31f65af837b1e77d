"""Whether a cached page says what the database says now.

Values that may be as old as the TTL (timestamps, LSNs, lags) are left out.
"""

from typing import Any

import msgspec

from service.pages.details import Pages
from service.sources.table_names import key_of

_TICKING = {
    "source": {"updated_at", "last_check_replication_publication"},
    "wal_monitor": {
        "wal_lsn", "wal_position", "last_wal_received", "last_transaction_time", "replication_lag_bytes",
        "total_wal_size", "wal_size_bytes", "updated_at", "source",
    },
}  # fmt: skip


async def differences(pages: Pages, source_id: int, body: bytes) -> list[str] | None:
    """The parts of a page ("source", "tables", ...) that the database says otherwise; none if they agree.

    None if this is no page of ours, or its source is gone. ConfigDatabaseUnavailableError.
    """
    try:
        served = msgspec.json.decode(body)
        names = None
        if served["meta"]["tables_from"] == "source":
            names = sorted(
                key_of(table.get("schema_name", "public"), table["table_name"]) for table in served["tables"]
            )
    except (ValueError, KeyError, TypeError):
        # Another program wrote something else under the page's key.
        return None
    head = await pages.read_head(source_id, names)
    if head is None:
        return None
    shown, real = _lasting(served), _lasting(msgspec.json.decode(head + b"}"))
    return [part for part in {**shown, **real} if shown.get(part) != real.get(part)]


def _lasting(page: dict[str, Any]) -> dict[str, Any]:
    """A page without `meta` and without the values that tick."""
    lasting = {key: value for key, value in page.items() if key != "meta"}
    for part, ticking in _TICKING.items():
        if isinstance(lasting.get(part), dict):
            lasting[part] = {key: value for key, value in lasting[part].items() if key not in ticking}
    return lasting
