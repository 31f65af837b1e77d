"""The OpenAPI descriptions of parameters, responses and errors, each with an example."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, Operation, Tag

from service.http.schemas import (
    Activity,
    Details,
    Error,
    Found,
    Notice,
    Source,
    SyncReport,
    TableSchema,
    TimelineEntry,
)

# Parameters are declared as text, so that the service words the error for a wrong one; these are their real schemas.
ID: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
# Litestar would add null for an optional one, which a URL cannot express.
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "one_of": None}
TEXT: dict[str, Any] = {"type": "string", "one_of": None}
FLAG: dict[str, Any] = {"type": "boolean", "one_of": None}

CHAPTERS = [
    Tag("sources", "Source databases: their state, their tables, and what is replicated where."),
    Tag("tables", "Tables of a source, and the versions of their schemas."),
    Tag("operations", "For orchestrators and monitoring."),
]

_MEANINGS: dict[int, tuple[str, dict[str, Any]]] = {
    401: (
        "a token is needed, and the request has no valid one",
        {"error": "UnauthorizedError", "message": "a token is needed: Authorization: Bearer TOKEN"},
    ),
    403: (
        "a sync needs a token of scope operate, and pages of other sites may not request one",
        {"error": "ForbiddenError", "message": "this token may only read; a sync needs one of scope operate"},
    ),
    404: (
        "not found",
        {
            "error": "EntityNotFoundError",
            "message": "Source with id '999' not found",
            "details": {"entity_type": "Source", "entity_id": "999"},
        },
    ),
    414: (
        "the URL is too long, or has too many parameters",
        {"error": "Request-URITooLong", "message": "URI is too long"},
    ),
    422: (
        "a parameter is invalid",
        {
            "error": "ValidationError",
            "message": "source id must be an integer, not 'abc'",
            "details": {"parameter": "source_id", "value": "abc"},
        },
    ),
    429: (
        "this caller has reached its limit of syncs; Retry-After says when to try again",
        {"error": "TooManyRequestsError", "message": "at most 120 syncs a minute; try again in 17 s"},
    ),
    502: (
        "the source database cannot be reached",
        {
            "error": "SourceUnreachableError",
            "message": "the source database cannot be queried: no connection within 2000 ms",
            "details": {"source_id": 1},
        },
    ),
    503: (
        "the config database cannot be reached, or is busy with this source; Retry-After says when to try again",
        {
            "error": "ConfigDatabaseUnavailableError",
            "message": "the config database cannot be reached (no answer in time); try again shortly",
        },
    ),
    504: (
        "the sync takes longer than its budget, and continues",
        {
            "error": "SyncUnfinishedError",
            "message": "the sync has not finished within 5000 ms; it continues, and pages will show its outcome",
            "details": {"source_id": 1},
        },
    ),
}

_THEN = "2026-11-23T22:53:48.280434+00:00"
_SOURCE: dict[str, Any] = {
    "created_at": _THEN, "updated_at": _THEN, "name": "shop",
    "pg_host": "db.example.com", "pg_port": 5432, "pg_database": "shop", "pg_username": "rosetta",
    "publication_name": "rosetta", "replication_name": "rosetta_slot", "id": 1, "is_publication_enabled": True,
    "is_replication_enabled": True, "last_check_replication_publication": _THEN, "total_tables": 1,
}  # fmt: skip
_COLUMN: dict[str, Any] = {
    "column_name": "id", "is_nullable": "NO", "real_data_type": "BIGINT", "numeric_precision": 64, "numeric_scale": 0,
    "is_primary_key": True, "has_default": True, "default_value": "nextval('orders_id_seq'::regclass)",
    "data_type": "bigint", "key_position": 1,
}  # fmt: skip
_TOTAL: dict[str, Any] = {
    "column_name": "total", "is_nullable": "YES", "real_data_type": "NUMERIC", "numeric_precision": 10,
    "numeric_scale": 2, "is_primary_key": False, "has_default": True, "default_value": "0",
    "data_type": "numeric(10,2)",
}  # fmt: skip
_REPLICATION: dict[str, Any] = {
    "replica_identity": "default", "identity_columns": ["id"], "row_filter": "(total > 0)",
    "fails": "UPDATE and DELETE fail: it has no primary key",
}  # fmt: skip
# Without null values: Litestar leaves such keys out of the document.
EXAMPLES: dict[Any, Any] = {
    Source: _SOURCE,
    list[Source]: [_SOURCE],
    Activity: {
        "as_of": _THEN,
        "tables": [
            {
                "table_id": 1, "table_name": "orders", "bytes": 819200, "rows": 10000, "writes_a_minute": 12.5,
                "last_write_at": _THEN,
            }
        ],
    },
    Found: {
        "tables": [
            {
                "source_id": 1, "source_name": "shop", "table_id": 1, "table_name": "orders",
                "columns": [{"column_name": "total", "type": "numeric(10,2)"}],
                "differs": ["total is numeric(10,2), in archive bigint"],
            }
        ],
        "is_cut": False,
    },
    list[Notice]: [
        {
            "id": 3, "webhook": "ops", "source_id": 1, "source_name": "shop", "kind": "state", "entries": 2,
            "made_at": _THEN, "attempts": 1, "fate": "sent", "sent_at": _THEN,
        }
    ],
    list[TimelineEntry]: [
        {
            "id": 17, "happened_at": _THEN, "kind": "schema", "what": "changed", "count": 1,
            "says": ["orders version 2: total is added"], "verdict": "compatible", "role": "rosetta_service",
            "program": "rosetta-source-details",
        }
    ],
    Details: {
        "source": _SOURCE,
        "wal_monitor": {
            "wal_lsn": "0/16B3748", "wal_position": 23803720, "last_wal_received": _THEN,
            "last_transaction_time": _THEN, "replication_slot_name": "rosetta_slot", "replication_lag_bytes": 1024,
            "total_wal_size": "16 MB", "wal_size_bytes": 16777216, "wal_threshold_status": "OK", "status": "ERROR",
            "error_message": "the slot is in use", "id": 1, "source_id": 1, "source": _SOURCE,
            "created_at": _THEN, "updated_at": _THEN,
        },
        "tables": [
            {
                "id": 1, "table_name": "orders", "version": 2, "schema_table": [_COLUMN, _TOTAL],
                "schema_name": "public", "replication": _REPLICATION,
            }
        ],
        "destinations": ["warehouse"],
        "meta": {
            "as_of": "2026-11-23T22:54:00.000000+00:00", "tables_from": "source", "read_from": "view",
            "publication_check": "remembered", "unregistered_tables": [],
            "drift": {"published": 1, "registered": 2, "carried": 1, "not_registered": [], "not_published": ["old"]},
            "outlook": {
                "lag_s": 1.5, "lag_most_s": 60.0, "lost_in_s": 10_800, "rate_bytes": 1_048_576, "rate_over_s": 840,
                "is_disk_limit": False,
                "held_by": {"kind": "session", "pid": 4711, "role": "report", "database": "shop", "since": _THEN},
            },
            "health": {
                "level": "warning",
                "reasons": [
                    {
                        "level": "warning", "says": "registered, but no longer published: old",
                        "remedy": 'ALTER PUBLICATION "rosetta" ADD TABLE "old";',
                    }
                ],
            },
        },
    },
    SyncReport: {
        "outcome": "synced", "tables_added": ["orders"], "tables_dropped": [], "tables_returned": [],
        "tables_filled": [], "tables_changed": [], "publication_exists": True,
        "slot": {"plugin": "pgoutput", "active": True},
        "wal_lsn": "0/16B3748", "set_back": False, "unread": [],
        "phases_ms": {"connect": 2.1, "source": 10.4, "record": 5.3},
    },
    TableSchema: {
        "columns": [_COLUMN, _TOTAL], "was_called": "sales",
        "diff": {
            "new_columns": ["total"], "dropped_columns": [], "type_changes": {},
            "more": {"summary": "+1", "changes": [], "breaking": [], "verdict": "compatible"},
        },
    },
    str: 'event: changed\nid: 1f0c\ndata: {"version":"1f0c","as_of":"...","changed":["table-17"]}\n\n',
    list[str]: ["customers", "invoices", "orders"],
    dict[str, Any]: {
        "id": 1, "name": "shop", "read_live_since": None, "view_refreshed_at": _THEN, "synced_at": _THEN,
        "failing_since": None, "last_error": None, "published_tables": 1, "registered_tables": 1,
        "process": {
            "name": "host:4711", "page": None, "last_known_age_s": 31, "uses_redis": True, "hears_notifications": True,
        },
        "redis": {
            "page": {"bytes": 1290, "as_of": _THEN, "ttl_s": 12.5, "differs": []}, "is_being_computed": False,
            "publication_tables": 1, "publication_ttl_s": 12.5,
        },
        "evictions": [{"at": _THEN, "cause": "notification", "of_all": False}],
    },
}  # fmt: skip


@dataclass
class Answered(Operation):
    """An operation that never answers 400: an invalid parameter is a 422."""

    def __post_init__(self) -> None:
        if self.responses:
            self.responses.pop("400", None)


def named(name: str, tag: str) -> dict[str, Any]:
    """The operation's id, of which generators of clients make a name, and its chapter."""

    def operation_id(_: Any, method: Any, __: Any) -> str:
        # Every GET answers HEAD too. The document leaves those out, and the framework wants no id twice.
        return name if method == HttpMethod.GET or method == HttpMethod.POST else f"{name}_{str(method).lower()}"

    return {"operation_id": operation_id, "tags": [tag]}


def described(
    shape: Any,
    *statuses: int,
    media_type: str = "application/json",
    is_open: bool = False,
) -> dict[str, Any]:
    """The responses of a handler: 200 with that shape, 304 if it is among `statuses`, and an error for each other one.

    414 is added, 401 unless the handler `is_open` to everybody, and 403 if it may sync (then 429 is among `statuses`).
    """
    responses = {
        200: ResponseSpec(
            data_container=shape,
            media_type=media_type,
            generate_examples=False,
            description="the response",
            examples=[Example(value=EXAMPLES[shape])] if shape in EXAMPLES else None,
        )
    }
    if 304 in statuses:
        responses[304] = ResponseSpec(None, generate_examples=False, description="the client already has this page")
    refusals = ([] if is_open else [401]) + ([403] if 429 in statuses else [])
    responses |= errors(*refusals, 414, *(status for status in statuses if status != 304))
    return {"responses": responses, "operation_class": Answered}


def enumeration(values: Iterable[str]) -> dict[str, Any]:
    """The schema of a parameter that has one of these values."""
    return {"type": "string", "enum": list(values), "one_of": None}


def errors(*statuses: int) -> dict[int, ResponseSpec]:
    """Error responses for these statuses, each with an example."""
    return {
        status: ResponseSpec(
            Error,
            generate_examples=False,
            description=_MEANINGS[status][0],
            examples=[Example(value=_MEANINGS[status][1])],
        )
        for status in statuses
    }
