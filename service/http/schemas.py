"""The schemas of the API's responses, for the OpenAPI document.

The responses themselves are made as bytes in SQL; a test validates them against these schemas.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

_MOMENT = "ISO 8601, UTC, with a numeric offset"


class Shape(BaseModel):
    """Every listed key is present; clients must accept additional ones."""


class WalThreshold(StrEnum):
    """Whether the WAL that a slot retains is too much."""

    OK = "OK"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Verdict(StrEnum):
    """Whether a change breaks anybody."""

    COMPATIBLE = "compatible"
    BREAKING = "breaking"
    UNKNOWN = "unknown"


class Identity(StrEnum):
    """How an identity column gets its values."""

    ALWAYS = "always"
    BY_DEFAULT = "by default"


class Generated(StrEnum):
    """When a generated column is computed."""

    STORED = "stored"
    VIRTUAL = "virtual"


class Partition(StrEnum):
    """Which part a table has in a partitioned one."""

    ROOT = "root"
    LEAF = "leaf"


class HealthLevel(StrEnum):
    """How a source is: ok if somebody looked and nothing is wrong."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    ERROR = "error"


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
    wal_threshold_status: WalThreshold | None
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
    data_type: str | None = Field(
        None, description="the exact type, as varchar(20)[]; left out until a sync has seen it"
    )
    base_type: str | None = Field(None, description="what its domain is made of; left out if it is no domain")
    key_position: int | None = Field(
        None, description="1 is the first column of the primary key; left out if not in it"
    )
    identity: Identity | None = Field(None, description="left out if it is no identity column")
    generated: Generated | None = Field(None, description="left out if it is not generated")
    generation_expression: str | None = Field(None, description="left out if it is not generated")
    is_published: bool | None = Field(None, description="false if it does not arrive; left out if it does")


class Replication(Shape):
    """How a table's rows are replicated."""

    replica_identity: Literal["default", "nothing", "full", "index"]
    identity_columns: list[str] | None = Field(description="by which UPDATE and DELETE name a row; null if by none")
    row_filter: str | None = Field(description="only rows for which it holds arrive; null: all")
    fails: str | None = Field(description="which statements fail at the source, and why; null if none does")
    partition: Partition | None = Field(
        None, description="root: partitions arrive under its name; leaf: a partition; left out if it is neither"
    )


class Table(Shape):
    """A published table, with its columns in the table's own order."""

    id: int
    table_name: str = Field(description="schema.table unless the schema is public")
    version: int
    schema_table: list[Column]
    schema_name: str | None = Field(None, description="left out until a sync has seen the table")
    replication: Replication | None = Field(None, description="left out until a sync has seen the table")


class Drift(Shape):
    """How published, registered and carried tables differ."""

    published: int = Field(
        description="tables in the publication: now, or at the last sync if the source does not answer"
    )
    registered: int = Field(description="tables known to the config database, published or not")
    carried: int = Field(description="published and registered tables that a running pipeline carries")
    not_registered: list[str] = Field(description="published, but not synced yet")
    not_published: list[str] = Field(description="registered, but no longer published")


class HealthReason(Shape):
    """One finding about a source."""

    level: HealthLevel = Field(description="never ok")
    says: str = Field(description="a sentence for a person")
    remedy: str | None = Field(description="SQL or a command, ready to copy")


class SourceHealth(Shape):
    """The health of a source's replication."""

    level: HealthLevel = Field(description="that of the worst reason; ok without any")
    reasons: list[HealthReason]


class Outlook(Shape):
    """What the WAL monitor concludes from its history; null where that says nothing."""

    lag_s: float | None = Field(description="seconds since the server's WAL is beyond what the slot's reader confirmed")
    lag_most_s: float | None = Field(description="seconds; surely no longer than that")
    lost_in_s: float | None = Field(
        description="seconds until the slot is lost if WAL grows as lately; null: it is not"
    )
    rate_bytes: float | None = Field(description="by which that comes nearer, in bytes a second")
    rate_over_s: float | None = Field(description="seconds over which that rate was measured")
    is_disk_limit: bool | None = Field(
        description="the disk of ROSETTA_WAL_DISK_GB is full then, and the slot not lost"
    )
    held_by: dict[str, Any] | None = Field(
        description="the transaction that the slot waits for: kind (session, prepared, or hidden from the source's "
        "role), pid or gid, role, database, since"
    )


class Meta(Shape):
    """How the page was read."""

    as_of: str = Field(description=_MOMENT)
    tables_from: Literal["source", "metadata"] = Field(description="where the list of published tables comes from")
    read_from: Literal["view", "live"]
    publication_check: str = Field(description="asked, remembered, or why the source did not answer")
    unregistered_tables: list[str] = Field(description="published, but not synced yet")
    drift: Drift
    outlook: Outlook | None = Field(description="null unless the service's own WAL monitor has looked lately")
    health: SourceHealth
    sync: dict[str, Any] | None = Field(None, description="after a force_refresh: what the sync did")


class Details(Shape):
    """One source's page."""

    source: Source
    wal_monitor: WalMonitor | None
    tables: list[Table]
    destinations: list[str]
    meta: Meta


class Unread(Shape):
    """What a source did not tell, and why."""

    what: str
    reason: str


class SyncReport(Shape):
    """What a sync did."""

    outcome: Literal["synced", "superseded"]
    tables_added: list[str]
    tables_dropped: list[str]
    tables_returned: list[str]
    tables_filled: list[str]
    tables_changed: list[dict[str, Any]] = Field(
        description="table_id, table_name, version, verdict, changes_type, columns"
    )
    publication_exists: bool
    slot: dict[str, Any] | None = Field(description="plugin, active; unfit: why it cannot carry this source, if so")
    wal_lsn: str | None
    set_back: bool = Field(description="the source was set back in time, or is a copy of the one recorded before")
    unread: list[Unread] = Field(description="what could not be read on the source")
    phases_ms: dict[str, float]


class TypeChange(Shape):
    """A column's type, before and after."""

    old_type: str
    new_type: str


class Change(Shape):
    """A change of a column, or of the table (column is null) that is none of its types."""

    column: str | None
    what: str = Field(
        description="column_name, is_nullable, default_value, is_primary_key, is_published, order, row_filter, ..."
    )
    old: Any
    new: Any
    says: str = Field(description="a sentence for a person")
    breaks: str | None = Field(description="whom the change breaks; null: nobody, or not known")


class More(Shape):
    """What the other three members of a difference do not say."""

    summary: str = Field(description="how many columns were added, dropped and changed: +1 -1 ~2")
    changes: list[Change]
    breaking: list[str] = Field(description="what breaks whom: a drop, a rename, a narrowed type, a lost key")
    verdict: Verdict | None = Field(description="null if nothing changed; unknown if a version was not seen by a sync")


class Difference(Shape):
    """What a version changed compared with the one before."""

    new_columns: list[str]
    dropped_columns: list[Column]
    type_changes: dict[str, TypeChange]
    more: More


class TableSchema(Shape):
    """One version of a table."""

    columns: list[Column]
    diff: Difference | None
    was_called: str | None = Field(description="the table's earlier name, if it was renamed while it was recorded")


class TimelineEntry(Shape):
    """Something that happened to a source."""

    id: int
    happened_at: str | None = Field(description=_MOMENT)
    kind: str = Field(description="schema, tables, state, reach, pipeline, destination, source or setting")
    what: str = Field(description="added, changed, removed, ...")
    count: int = Field(description="how many tables, pipelines, ... one statement changed; says names the first twenty")
    says: list[str] = Field(description="sentences for a person")
    verdict: Verdict | None = Field(description="of a schema change; null for anything else")
    role: str | None = Field(description="the database role; null: not known")
    program: str | None = Field(description="what the program calls itself (application_name); null: nothing")


class FoundColumn(Shape):
    """A column whose name has the text."""

    column_name: str
    type: str


class FoundTable(Shape):
    """A published table whose name, or a column's, has the text."""

    source_id: int
    source_name: str
    table_id: int
    table_name: str
    columns: list[FoundColumn] = Field(description="those whose name has the text")
    differs: list[str] = Field(description="how it differs from the most frequent form of this table, in sentences")


class Found(Shape):
    """What a search found."""

    tables: list[FoundTable] = Field(description="those that are called exactly so first")
    is_cut: bool = Field(description="whether there are more")


class TableActivity(Shape):
    """How busy a published table is."""

    table_id: int
    table_name: str
    bytes: int | None = Field(description="with TOAST, without indexes, at the last VACUUM or ANALYZE; null: not known")
    rows: int | None = Field(description="estimated; null: not known")
    writes_a_minute: float | None = Field(description="rows inserted, updated and deleted since the round before")
    last_write_at: str | None = Field(description=_MOMENT + ", as of a round; null: none was seen")


class Activity(Shape):
    """How busy a source's published tables are, the busiest first."""

    as_of: str | None = Field(description=_MOMENT)
    tables: list[TableActivity]


class Fate(StrEnum):
    """What became of a notice."""

    SENT = "sent"
    WAITING = "waiting"
    FAILING = "failing"
    GIVEN_UP = "given up"


class Notice(Shape):
    """A notice to a webhook: what happened to a source, of one kind, since the last such notice."""

    id: int
    webhook: str
    source_id: int = Field(description="0: all sources")
    source_name: str | None = Field(description="null: all sources, or one that is gone")
    kind: str = Field(description="as in the timeline")
    entries: int = Field(description="how many entries of the timeline it tells")
    made_at: str = Field(description=_MOMENT)
    attempts: int
    fate: Fate
    sent_at: str | None = Field(description=_MOMENT)
    due_at: str | None = Field(None, description="when it is sent, or sent again; null if it is not")
    last_error: str | None = Field(None, description="why the last attempt failed; null if it did not")


class Error(BaseModel):
    """The body of every error."""

    error: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
