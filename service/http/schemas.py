"""The schemas of the API's responses, for the OpenAPI document.

The responses themselves are made as bytes in SQL; a test validates them against these schemas.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

_MOMENT = "ISO 8601, UTC, with a numeric offset"


class Shape(BaseModel):
    """Every listed key is present; clients must accept additional ones."""


class Source(Shape):
    """A source without its tables; never its password."""

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
    """The state of a source's replication, as the WAL monitor last recorded it."""

    wal_lsn: str | None
    wal_position: int | None
    last_wal_received: str | None = Field(description=_MOMENT)
    last_transaction_time: str | None = Field(description=_MOMENT)
    replication_slot_name: str | None
    replication_lag_bytes: int | None
    total_wal_size: str | None = Field(description="for display: 16 MB")
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
    """A published table, with its columns in the table's own order."""

    id: int
    table_name: str = Field(description="schema.table unless the schema is public")
    version: int
    schema_table: list[Column]


class Drift(Shape):
    """How published, registered and carried tables differ."""

    published: int = Field(
        description="tables in the publication: now, or at the last sync if the source does not answer"
    )
    registered: int = Field(description="tables known to the config database, published or not")
    carried: int = Field(description="published and registered tables that a running pipeline carries")
    not_registered: list[str] = Field(description="published, but not synced yet")
    not_published: list[str] = Field(description="registered, but no longer published")


class Meta(Shape):
    """How the page was read."""

    as_of: str = Field(description=_MOMENT)
    tables_from: Literal["source", "metadata"] = Field(description="where the list of published tables comes from")
    read_from: Literal["view", "live"]
    publication_check: str = Field(description="asked, remembered, or why the source did not answer")
    unregistered_tables: list[str] = Field(description="published, but not synced yet")
    drift: Drift
    sync: dict[str, Any] | None = Field(None, description="after a force_refresh: what the sync did")


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
    """What a version changed compared with the one before."""

    new_columns: list[str]
    dropped_columns: list[Column]
    type_changes: dict[str, TypeChange]


class TableSchema(Shape):
    """One version of a table."""

    columns: list[Column]
    diff: Difference | None


class Error(BaseModel):
    """The body of every error."""

    error: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
