"""What a source may answer: whatever listens there need not be PostgreSQL. All that follows relies on these types."""

import re
from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from psycopg.rows import DictRow

from service.sources.source_connection import UnreadableText

_NONE = type(None)
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_LARGEST = 2**63 - 1
# How many tables' activity is asked for: those that are written most.
MOST_ACTIVE = 10_000
# Characters. PostgreSQL's longest words here are far shorter.
_LONGEST_TEXT = 1000
# PostgreSQL's own limit (https://www.postgresql.org/docs/current/limits.html).
_MOST_COLUMNS = 1600

Kinds = tuple[type, ...]
_TEXT: Kinds = (str,)
_MAYBE_TEXT: Kinds = (str, _NONE)
_FLAG: Kinds = (bool,)
_MAYBE_FLAG: Kinds = (bool, _NONE)
_COUNT: Kinds = (int,)
_MAYBE_COUNT: Kinds = (int, _NONE)

_SHAPES: dict[str, Mapping[str, Kinds]] = {
    "remote_server": {
        "database": _TEXT, "server_version": _TEXT, "wal_level": _TEXT, "is_standby": _FLAG, "encoding": _TEXT,
    },
    "remote_incarnation": {"incarnation": _TEXT},
    "remote_position": {"wal_lsn": _MAYBE_TEXT, "wal_position": _MAYBE_COUNT},
    "remote_slot": {
        "slot_type": _TEXT, "plugin": _MAYBE_TEXT, "database": _MAYBE_TEXT, "is_here": _MAYBE_FLAG,
        "is_temporary": _FLAG, "is_active": _FLAG, "restart_lsn": _MAYBE_TEXT, "confirmed_lsn": _MAYBE_TEXT,
        "restart_position": _MAYBE_COUNT, "confirmed_position": _MAYBE_COUNT, "wal_status": _MAYBE_TEXT,
        "safe_wal_size": _MAYBE_COUNT, "two_phase": _MAYBE_FLAG, "conflicting": _MAYBE_FLAG,
        "invalidation_reason": _MAYBE_TEXT, "inactive_since": (datetime, _NONE), "failover": _MAYBE_FLAG,
        "synced": _MAYBE_FLAG,
    },
    "remote_holder": {
        "kind": _MAYBE_TEXT, "pid": _MAYBE_COUNT, "gid": _MAYBE_TEXT, "role": _MAYBE_TEXT, "database": _MAYBE_TEXT,
        "since": (datetime, _NONE), "sent_position": _MAYBE_COUNT, "is_hidden": _FLAG,
    },
    "remote_publication": {
        "has_publication": _FLAG, "is_all_tables": _FLAG, "names": (list,), "published_tables": _COUNT,
        "named_alike": _COUNT, "source_snapshot": _TEXT,
    },
    "remote_tables": {"names": (list,)},
    "remote_activity": {"tables": _TEXT, "basis": _TEXT},
    "remote_described": {
        "source_snapshot": _TEXT, "schema_name": _TEXT, "relation_name": _TEXT, "key": _TEXT, "unread": _MAYBE_TEXT,
        "fails": _MAYBE_TEXT, "described": _TEXT,
    },
}  # fmt: skip

# These bring one row, whatever the source holds.
_OF_ONE_ROW = {"remote_server", "remote_incarnation", "remote_position", "remote_publication", "remote_tables"}

Name = Annotated[str, Meta(min_length=1, max_length=255)]


_Amount = Annotated[int, Meta(ge=0, le=_LARGEST)]
_ActiveTable = tuple[Annotated[str, Meta(min_length=1)], _Amount | None, _Amount | None, _Amount, _Amount]
# Two quoted names of 63 bytes, each a quote, and a dot.
_LONGEST_KEY = 2 * (2 * 63 + 2) + 1


class _Recorded(msgspec.Struct, forbid_unknown_fields=True):
    column_name: Name
    is_nullable: str
    numeric_precision: int | None
    numeric_scale: int | None
    real_data_type: str | None
    is_primary_key: bool
    has_default: bool
    default_value: str | None


class _Actual(_Recorded, forbid_unknown_fields=True):
    data_type: str | None
    base_type: str | None = None
    key_position: int | None = None
    identity: str | None = None
    generated: str | None = None
    generation_expression: str | None = None
    is_published: bool | None = None


class _Column(msgspec.Struct, forbid_unknown_fields=True):
    recorded: _Recorded | None
    actual: _Actual


class _Replication(msgspec.Struct, forbid_unknown_fields=True):
    replica_identity: str
    identity_columns: list[Name] | None
    row_filter: str | None
    fails: str | None
    partition: Literal["root", "leaf"] | None = None


class Described(msgspec.Struct, forbid_unknown_fields=True):
    """A table as remote_described has it. Decoding to it is the check."""

    is_seen: bool
    relation: Annotated[int, Meta(ge=0, lt=2**32)]
    attnums: Annotated[dict[Name, Annotated[int, Meta(ge=1, le=_MOST_COLUMNS)]], Meta(max_length=_MOST_COLUMNS)]
    columns: Annotated[list[_Column], Meta(max_length=_MOST_COLUMNS)]
    replication: _Replication


def check_all(name: str, rows: Sequence[DictRow]) -> None:
    """Returns if these are rows that the statement called `name` returns; LookupError or ValueError if not."""
    if name in _OF_ONE_ROW and len(rows) != 1:
        raise LookupError(f"{name} brings {len(rows)} rows")
    for row in rows:
        check(name, row)


def check(name: str, row: DictRow) -> None:
    """Returns if a row is one that the statement called `name` returns; LookupError or ValueError if not."""
    for column, kinds in _SHAPES[name].items():
        value = row[column]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{column} is {type(value).__name__}")
        if isinstance(value, datetime):
            _check_time(column, value)
        elif column == "tables":
            # Names that are not UTF-8 may have become the same.
            if not isinstance(value, UnreadableText):
                _check_activity(str(value))
        elif isinstance(value, str) and column != "described":
            _check_text(column, value)
        elif isinstance(value, int) and not (0 if column.endswith("_position") else -_LARGEST) <= value <= _LARGEST:
            # The distance between two places in the WAL has to fit as well.
            raise ValueError(f"{column} is out of range")
        elif isinstance(value, list):
            for item in value:
                if not isinstance(item, str):
                    raise ValueError(f"{column} holds {type(item).__name__}")
                _check_text(column, item)


def _check_text(column: str, text: str) -> None:
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise ValueError(f"{column} is no text of PostgreSQL")
    if column.endswith("_lsn") and not _LSN.fullmatch(text):
        raise ValueError(f"{column} is no LSN")


def _check_time(column: str, value: datetime) -> None:
    # In any time zone it has to be one of Python's.
    if value.tzinfo is None or not MINYEAR < value.year < MAXYEAR:
        raise ValueError(f"{column} is no time")


def _check_activity(text: str) -> None:
    tables = msgspec.json.decode(text, type=Annotated[list[_ActiveTable], Meta(max_length=MOST_ACTIVE)])
    keys = {key for key, *_ in tables}
    # A NUL passes through JSON, and not into PostgreSQL.
    if len(keys) < len(tables) or any(len(key.encode()) > _LONGEST_KEY or "\0" in key for key in keys):
        raise ValueError("a table's name is none, or there twice")


def check_described(text: bytes) -> None:
    """Returns if a table's description is one; ValueError or RecursionError if not."""
    msgspec.json.decode(text, type=Described)
