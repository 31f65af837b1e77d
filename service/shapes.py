"""The shapes of the API's answers, for its OpenAPI description.

Answers themselves are made as bytes in SQL; a test holds that they are as described here.
"""

from dataclasses import dataclass
from typing import Any, Literal

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, Operation
from pydantic import BaseModel, Field

_MOMENT = "ISO 8601, UTC, with a numeric offset"

# How parameters are described; they come as text, so that what is wrong with one is told in our own words.
ID: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
# Left out is null to Litestar, and nothing in a URL.
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "one_of": None}
FLAG: dict[str, Any] = {"type": "boolean", "one_of": None}


class Shape(BaseModel):
    """All of what is listed; clients have to bear additions."""


class Source(Shape):
    """A source's own facts; never its password."""

    created_at: str = Field(description=_MOMENT)
    updated_at: str = Field(description=_MOMENT)
    name: str
    pg_host: str
    pg_port: int
    pg_database: str
    pg_username: str
    publication_name: str
    replication_name: str = Field(description="the replication slot")
    id: int
    is_publication_enabled: bool
    is_replication_enabled: bool
    last_check_replication_publication: str | None = Field(description=_MOMENT)
    total_tables: int | None


class WalMonitor(Shape):
    """What the platform's WAL monitor last saw of a source."""

    wal_lsn: str | None
    wal_position: int | None
    last_wal_received: str | None = Field(description=_MOMENT)
    last_transaction_time: str | None = Field(description=_MOMENT)
    replication_slot_name: str | None
    replication_lag_bytes: int | None
    total_wal_size: str | None = Field(description="for people: 16 MB")
    wal_size_bytes: int | None
    wal_threshold_status: Literal["OK", "WARNING", "ERROR"] | None
    status: str
    error_message: str | None
    id: int
    source_id: int
    source: Source
    created_at: str = Field(description=_MOMENT)
    updated_at: str = Field(description=_MOMENT)


class Column(Shape):
    """A column of a table."""

    column_name: str
    is_nullable: Literal["YES", "NO"]
    real_data_type: str | None = Field(description="upper case: BIGINT, ARRAY, GEOMETRY")
    numeric_precision: float | None
    numeric_scale: float | None
    is_primary_key: bool
    has_default: bool
    default_value: str | None


class Table(Shape):
    """A published table; columns are in the table's own order."""

    id: int
    table_name: str = Field(description="schema.table outside of public")
    version: int
    schema_table: list[Column]


class Drift(Shape):
    """Where what is published, registered and carried differs."""

    published: int = Field(description="tables in the publication: now, or at the last sync where the source is silent")
    registered: int = Field(description="tables that are known here, published or not")
    carried: int = Field(description="published and registered ones that a pipeline which is not paused carries")
    not_registered: list[str] = Field(description="published, and not synced yet")
    not_published: list[str] = Field(description="registered, and no longer published")


class Meta(Shape):
    """How the page was read."""

    as_of: str = Field(description=_MOMENT)
    tables_from: Literal["source", "metadata"] = Field(description="who said which tables are published")
    read_from: Literal["view", "live"]
    publication_check: str = Field(description="asked, remembered, or why the source did not say")
    unregistered_tables: list[str] = Field(description="published, and not synced yet")
    drift: Drift
    sync: dict[str, Any] | None = Field(None, description="after a force_refresh: what it did")


class Details(Shape):
    """One source's page."""

    source: Source
    wal_monitor: WalMonitor | None
    tables: list[Table]
    destinations: list[str]
    meta: Meta


class SyncReport(Shape):
    """What a sync did."""

    outcome: Literal["synced", "superseded"]
    tables_added: list[str]
    tables_dropped: list[str]
    tables_returned: list[str]
    tables_filled: list[str]
    tables_changed: list[dict[str, Any]] = Field(description="table_name, version, changes_type, columns")
    publication_exists: bool
    slot: dict[str, Any] | None = Field(description="plugin, active")
    wal_lsn: str
    phases_ms: dict[str, float]


class TypeChange(Shape):
    """A column's type, before and after."""

    old_type: str
    new_type: str


class Difference(Shape):
    """What a version changed against the one before."""

    new_columns: list[str]
    dropped_columns: list[Column]
    type_changes: dict[str, TypeChange]


class TableSchema(Shape):
    """One version of a table."""

    columns: list[Column]
    diff: Difference | None


class Error(BaseModel):
    """Every error; `details` says more where there is more to say."""

    error: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


_MEANINGS: dict[int, tuple[str, dict[str, Any]]] = {
    401: (
        "access is by token, and none that is known came with the request",
        {"error": "UnauthorizedError", "message": "a token is needed: Authorization: Bearer TOKEN"},
    ),
    403: (
        "a sync takes a token of scope operate, and may not be asked for by another site's page",
        {"error": "ForbiddenError", "message": "this token may read; to sync takes one of scope operate"},
    ),
    404: (
        "there is no such thing",
        {
            "error": "EntityNotFoundError",
            "message": "Source with id '999' not found",
            "details": {"entity_type": "Source", "entity_id": "999"},
        },
    ),
    422: (
        "a parameter is not what it has to be",
        {
            "error": "ValidationError",
            "message": "source id must be an integer, not 'abc'",
            "details": {"parameter": "source_id", "value": "abc"},
        },
    ),
    429: (
        "this caller has had sources asked as often as it may; Retry-After says when to try again",
        {"error": "TooManyRequestsError", "message": "at most 120 syncs a minute; try again in 17 s"},
    ),
    502: (
        "the source database cannot be reached",
        {
            "error": "SourceUnreachableError",
            "message": "the source database cannot be asked: no connection within 2000 ms",
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
        "the sync takes longer than its budget, and goes on",
        {
            "error": "SyncUnfinishedError",
            "message": "the sync has not finished within 5000 ms; it goes on, and pages will show its outcome",
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
}  # fmt: skip
_TOTAL: dict[str, Any] = {
    "column_name": "total", "is_nullable": "YES", "real_data_type": "NUMERIC", "numeric_precision": 10,
    "numeric_scale": 2, "is_primary_key": False, "has_default": True, "default_value": "0",
}  # fmt: skip
# Without a null anywhere: the description leaves such keys out.
EXAMPLES: dict[Any, Any] = {
    Source: _SOURCE,
    list[Source]: [_SOURCE],
    Details: {
        "source": _SOURCE,
        "wal_monitor": {
            "wal_lsn": "0/16B3748", "wal_position": 23803720, "last_wal_received": _THEN,
            "last_transaction_time": _THEN, "replication_slot_name": "rosetta_slot", "replication_lag_bytes": 1024,
            "total_wal_size": "16 MB", "wal_size_bytes": 16777216, "wal_threshold_status": "OK", "status": "ERROR",
            "error_message": "the slot is in use", "id": 1, "source_id": 1, "source": _SOURCE,
            "created_at": _THEN, "updated_at": _THEN,
        },
        "tables": [{"id": 1, "table_name": "orders", "version": 2, "schema_table": [_COLUMN, _TOTAL]}],
        "destinations": ["warehouse"],
        "meta": {
            "as_of": "2026-11-23T22:54:00.000000+00:00", "tables_from": "source", "read_from": "view",
            "publication_check": "remembered", "unregistered_tables": [],
            "drift": {"published": 1, "registered": 2, "carried": 1, "not_registered": [], "not_published": ["old"]},
        },
    },
    SyncReport: {
        "outcome": "synced", "tables_added": ["orders"], "tables_dropped": [], "tables_returned": [],
        "tables_filled": [], "tables_changed": [], "publication_exists": True,
        "slot": {"plugin": "pgoutput", "active": True}, "wal_lsn": "0/16B3748",
        "phases_ms": {"connect": 2.1, "source": 10.4, "record": 5.3},
    },
    TableSchema: {
        "columns": [_COLUMN, _TOTAL],
        "diff": {"new_columns": ["total"], "dropped_columns": [], "type_changes": {}},
    },
    str: 'event: changed\nid: 1f0c\ndata: {"version":"1f0c","as_of":"...","changed":["table-17"]}\n\n',
    list[str]: ["customers", "orders", "sales.invoices"],
}  # fmt: skip


@dataclass
class Answered(Operation):
    """An operation that never answers 400: what is wrong with a parameter is a 422."""

    def __post_init__(self) -> None:
        if self.responses:
            self.responses.pop("400", None)


def described(
    shape: Any, *statuses: int, media_type: str = "application/json", is_open: bool = False
) -> dict[str, Any]:
    """For a handler: its answer of that shape, 304 where it is among `statuses`, and the errors of the others; beside
    them 401 where it is not `is_open` to all, and 403 where it may sync (what is limited, 429, does).
    """
    responses = {
        200: ResponseSpec(
            data_container=shape,
            media_type=media_type,
            generate_examples=False,
            description="the answer",
            examples=[Example(value=EXAMPLES[shape])] if shape in EXAMPLES else None,
        )
    }
    if 304 in statuses:
        responses[304] = ResponseSpec(None, generate_examples=False, description="the client has it already")
    refusals = ([] if is_open else [401]) + ([403] if 429 in statuses else [])
    responses |= errors(*refusals, *(status for status in statuses if status != 304))
    return {"responses": responses, "operation_class": Answered}


def errors(*statuses: int) -> dict[int, ResponseSpec]:
    """What they mean, with an example each."""
    return {
        status: ResponseSpec(
            Error,
            generate_examples=False,
            description=_MEANINGS[status][0],
            examples=[Example(value=_MEANINGS[status][1])],
        )
        for status in statuses
    }
