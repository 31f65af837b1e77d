"""What a sync reads on a source: its server, its publication and slot, and every published table."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from types import MappingProxyType
from typing import Any

import msgspec
import psycopg
from psycopg.rows import DictRow

from service.sources.answer_shapes import check_described
from service.sources.questions import Limits, Parameters, again_if_passing, ask, each_row
from service.sources.slots import unfit
from service.sources.source_connection import SourceConnection, UnreadableText

_QUESTIONS = ("remote_server", "remote_slot", "remote_position", "remote_incarnation", "remote_publication")
# What may be refused, in words.
_NAMES = {
    "remote_slot": "its replication slot",
    "remote_position": "its WAL position",
    "remote_incarnation": "which server it is",
}
# Up to so many tables come in the same message as all else, so that a sync takes one round trip; more come one by one.
_AT_ONCE = 1000
_ANY = 2**31 - 1
_NOTHING: Mapping[str, str] = MappingProxyType({})
# To be changed with what record_sync stores of a description (`shown` is finished text): then every table is new.
_FORMAT = b"1"
# How many tables with trouble are kept by name.
_TOLD = 100
# PostgreSQL's widest table, of 1,600 columns, takes some 500 kB.
_MOST_BYTES_OF_TABLE = 4 * 2**20
# The most that a source may say of its tables: about fifty thousand of them. It goes through memory once.
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source, as it was in one snapshot. `tables` is the JSON for record_sync.

    `unread`: the published tables that could not be read, by key, with the reason. `fails`: those on which statements
    fail. `not_known`: what else could not be asked, with the reason.
    """

    server: DictRow
    incarnation: str | None
    publication: DictRow
    source_snapshot: str
    slot: DictRow | None
    wal_lsn: str | None
    tables: bytes
    table_count: int
    unread: Mapping[str, str]
    fails: Mapping[str, str]
    not_known: Mapping[str, str]

    @property
    def has_slot(self) -> bool | None:
        """Whether the slot exists and can carry this source; None if that could not be asked."""
        if _NAMES["remote_slot"] in self.not_known:
            return None
        return self.slot is not None and unfit(self.slot) is None

    def slot_body(self) -> dict[str, Any] | None:
        """The slot as a report shows it: plugin, active, and `unfit` if it cannot carry this source."""
        if self.slot is None:
            return None
        why = unfit(self.slot)
        return {"plugin": self.slot["plugin"], "active": self.slot["is_active"]} | ({"unfit": why} if why else {})

    def seen(self) -> dict[str, Any]:
        """The part that the config database keeps besides the tables."""
        return {
            "server": self.server, "slot": self.slot, "not_known": self.not_known,
            "is_all_tables": self.publication["is_all_tables"],
            # Some of them tell a person what kind of trouble it is.
            "unread": dict(islice(self.unread.items(), _TOLD)), "fails": dict(islice(self.fails.items(), _TOLD)),
        }  # fmt: skip


def _plain(row: DictRow) -> dict[str, Any]:
    """A row without texts of a kind of their own, which cannot be encoded."""
    return {key: str(value) if isinstance(value, str) else value for key, value in row.items()}


async def read_state(
    connection: SourceConnection, publication: str, slot: str, limits: Limits, known: Mapping[str, str] = _NOTHING
) -> SourceState:
    """Asks everything. psycopg.Error if the server or its publication cannot be read at all.

    `known`: the digests of tables that are recorded already, by key. Of those that are still the same only the names
    are kept: a source of many tables takes little memory unless they are new.
    """
    parameters = {"publication": publication, "slot": slot, "most_tables": _AT_ONCE}
    answers = await ask(connection, [*_QUESTIONS, "remote_described"], parameters, limits)
    for name in ("remote_server", "remote_publication", "remote_described"):
        if name in answers.refused:
            raise psycopg.OperationalError(answers.refused[name])
    server, published = answers.one("remote_server"), answers.one("remote_publication")
    assert server is not None
    assert published is not None
    tables = _Tables(known)
    # Each statement has its own snapshot: the publication may have grown beyond the limit between the two.
    if published["published_tables"] and not answers.rows["remote_described"]:
        tables = await again_if_passing(
            connection, lambda: _one_by_one(connection, parameters | {"most_tables": _ANY}, limits, known)
        )
    else:
        for row in answers.rows["remote_described"]:
            tables.add(row)
    incarnation, position = answers.one("remote_incarnation"), answers.one("remote_position")
    slot_row = answers.one("remote_slot")
    return SourceState(
        server=_plain(server),
        incarnation=incarnation["incarnation"] if incarnation else None,
        publication=published,
        source_snapshot=tables.source_snapshot or published["source_snapshot"],
        slot=slot_row and _plain(slot_row),
        wal_lsn=position["wal_lsn"] if position else None,
        tables=b"[" + b",".join(tables.described) + b"]",
        table_count=len(tables.described),
        unread=tables.unread,
        fails=tables.fails,
        not_known={_NAMES[name]: why for name, why in answers.refused.items()},
    )


async def _one_by_one(
    connection: SourceConnection, parameters: Parameters, limits: Limits, known: Mapping[str, str]
) -> "_Tables":
    tables = _Tables(known)
    async with aclosing(each_row(connection, "remote_described", parameters, limits)) as rows:
        async for row in rows:
            tables.add(row)
    return tables


class _Tables:
    """What has been read of a publication's tables so far."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self._size = 0
        self.described: list[bytes] = []
        self.unread: dict[str, str] = {}
        self.fails: dict[str, str] = {}
        self.source_snapshot: str | None = None

    def add(self, row: DictRow) -> None:
        """Takes a row of remote_described. psycopg.DataError if there are too many bytes."""
        self.source_snapshot = row["source_snapshot"]
        name = str(row["key"])
        if isinstance(row["key"], UnreadableText):
            self.unread[name] = "its name is not UTF-8"
            return
        if row["unread"]:
            self.unread[name] = str(row["unread"])
        elif isinstance(row["described"], UnreadableText):
            self.unread[name] = "a name or default in it is not UTF-8, and is recorded with \N{REPLACEMENT CHARACTER}"
        if row["fails"]:
            self.fails[name] = str(row["fails"])
        described = row["described"].encode()
        if len(described) > _MOST_BYTES_OF_TABLE:
            raise psycopg.DataError(f"table {name} takes more than {_MOST_BYTES_OF_TABLE // 2**20} MB to describe")
        digest = blake2b(_FORMAT + described, digest_size=16).hexdigest()
        is_recorded = row["unread"] or self._known.get(name) == digest
        table = {key: row[key] for key in ("schema_name", "relation_name", "key")}
        if not is_recorded:
            check_described(described)
            table |= {"digest": digest, "described": msgspec.Raw(described)}
        self.described.append(msgspec.json.encode(table))
        self._size += len(self.described[-1])
        if self._size > MOST_BYTES:
            raise psycopg.DataError(f"its tables take more than {MOST_BYTES // 2**20} MB to describe")
