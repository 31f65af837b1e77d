"""Whatever listens on a source's address: it wants the password, never stops sending, or answers nonsense."""

import json
import re
from typing import Any

import pytest

from service.config.credentials import encrypt
from service.telemetry.events import WalRound
from tests.fixtures.databases import Sql
from tests.fixtures.impostor import (
    BOOL,
    INT8,
    JSONB,
    MD5,
    OPEN,
    PASSWORD,
    SCRAM,
    TEXT,
    TEXTS,
    TIMESTAMP,
    TIMESTAMPTZ,
    error,
    impostor,
    message,
    result,
)  # fmt: skip
from tests.fixtures.metadata import KEY, add_source, add_table
from tests.fixtures.runtime import Service, Start
from tests.fixtures.shop import tables

pytestmark = pytest.mark.faults

_WORD = "correct-horse"
_DONE = message(b"C", b"OK\0")
_COLUMN = {
    "column_name": "id", "is_nullable": "NO", "numeric_precision": 64, "numeric_scale": 0, "real_data_type": "BIGINT",
    "is_primary_key": True, "has_default": False, "default_value": None,
}  # fmt: skip
_TABLE: dict[str, Any] = {
    "is_seen": True,
    "relation": 16_384,
    "attnums": {"id": 1},
    "columns": [{"recorded": _COLUMN, "actual": _COLUMN | {"data_type": "bigint"}}],
    "replication": {"replica_identity": "default", "identity_columns": ["id"], "row_filter": None, "fails": None},
}
# A whole answer, as an honest source gives it.
_HONEST: dict[str, dict[str, tuple[int, str | bytes | None]]] = {
    "settings": {"a": (TEXT, "1"), "b": (TEXT, "1"), "c": (TEXT, "1")},
    "server": {
        "database": (TEXT, "shop"), "server_version": (TEXT, "18.0"), "wal_level": (TEXT, "logical"),
        "is_standby": (BOOL, "f"), "encoding": (TEXT, "UTF8"),
    },
    "incarnation": {"incarnation": (TEXT, "1/1")},
    "position": {"wal_lsn": (TEXT, "0/100"), "wal_position": (INT8, "256")},
    "publication": {
        "has_publication": (BOOL, "t"), "is_all_tables": (BOOL, "f"), "names": (TEXTS, "{orders}"),
        "published_tables": (INT8, "1"), "named_alike": (INT8, "1"), "source_snapshot": (TEXT, "10:10:"),
    },
    "described": {
        "source_snapshot": (TEXT, "10:10:"), "schema_name": (TEXT, "public"), "relation_name": (TEXT, "orders"),
        "key": (TEXT, "orders"), "unread": (TEXT, None), "fails": (TEXT, None), "described": (TEXT, json.dumps(_TABLE)),
    },
    "tables": {"names": (TEXTS, "{orders}")},
}  # fmt: skip


def answer(statement: str, **wrong: bytes) -> bytes:
    """The honest answer to a statement, or what is wrong instead."""
    named = re.match(r"/\* remote_(\w+) ", statement)
    if named is None or named[1] in ("begin", "end"):
        return _DONE
    if named[1] in wrong:
        return wrong[named[1]]
    if named[1] in ("slot", "holder", "activity"):
        return result({"slot_type": (TEXT, None)}, times=0)
    return result(_HONEST[named[1]])


def changed(name: str, column: str, value: str | bytes | None, oid: int | None = None) -> dict[str, bytes]:
    """The honest answer with one value replaced."""
    honest = _HONEST[name]
    return {name: result(honest | {column: (honest[column][0] if oid is None else oid, value)})}


def described(**wrong: Any) -> dict[str, bytes]:
    """A table's description with something else in it."""
    return changed("described", "described", json.dumps(_TABLE | wrong))


def column(**wrong: Any) -> dict[str, bytes]:
    """The description of a table with such a column."""
    return described(columns=[{"recorded": None, "actual": _COLUMN | {"data_type": "bigint"} | wrong}])


def here(config: Sql, port: int, password: str | None = None) -> int:
    """A source where an impostor listens."""
    sealed = encrypt(KEY.encode(), password) if password else None
    return add_source(config, pg_port=port, pg_password=sealed, publication_name="rosetta")


@pytest.mark.parametrize("ask_for", [PASSWORD, MD5, OPEN])
async def test_no_password_goes_to_whoever_asks(start: Start, config: Sql, ask_for: str) -> None:
    """Neither itself nor a hash that can be used like it, and none is wasted on a server that wants none."""
    service: Service = await start()
    async with impostor(answer, ask_for=ask_for) as other:
        source = here(config, other.port, _WORD)
        page = await service.sync(source)
    assert other.told == []
    said = page["meta"]["sync"]["error"]
    assert "does not let this service log in by scram-sha-256" in said
    assert "ROSETTA_SOURCE_REQUIRE_AUTH" in said


async def test_scram_tells_no_password(start: Start, config: Sql) -> None:
    """Only a proof that is worth nothing to anybody else; the server has to prove that it knows the password, too."""
    service: Service = await start()
    async with impostor(answer, ask_for=SCRAM) as other:
        await service.sync(here(config, other.port, _WORD))
    assert len(other.told) == 1
    assert other.told[0].startswith(b"SCRAM-SHA-256\0")
    assert _WORD.encode() not in other.told[0]


@pytest.mark.parametrize("settings", [{"source_require_auth": "md5,password"}, {"source_sslmode": "verify-full"}])
async def test_setting_allows_other_ways(start: Start, config: Sql, settings: dict[str, str]) -> None:
    """By name; or because the server's certificate says who it is."""
    service: Service = await start(**settings)
    async with impostor(answer, ask_for=PASSWORD) as other:
        page = await service.sync(here(config, other.port, _WORD))
    is_verified = "source_sslmode" in settings
    assert other.told == ([] if is_verified else [f"{_WORD}\0".encode()])
    assert ("SSL" in page["meta"]["sync"]["error"]) if is_verified else (page["meta"]["sync"]["outcome"] == "synced")


async def test_honest_impostor_is_synced(service: Service, config: Sql) -> None:
    """What the tests below change is all that is wrong."""
    async with impostor(answer) as other:
        page = await service.sync(here(config, other.port))
    assert page["meta"]["sync"].get("error") is None
    assert tables(page) == {"orders": 1}


_DEEP = "[" * 100_000 + "]" * 100_000
_NONSENSE: dict[str, dict[str, bytes]] = {
    "missing columns": {"publication": result({"x": (TEXT, "1")})},
    "no row": {"server": result({"database": (TEXT, "x")}, times=0)},
    "no publication": {
        "publication": result(_HONEST["publication"], times=0),
        "tables": result({"x": (TEXT, "")}, times=0),
    },
    "two servers": {"server": result(_HONEST["server"], times=2)},
    "null": changed("publication", "has_publication", None),
    "wrong type": changed("server", "is_standby", "12", INT8),
    "number for text": changed("publication", "source_snapshot", "12", INT8),
    "no number": changed("publication", "published_tables", "many"),
    "huge number": changed("publication", "named_alike", "9" * 4000),
    "number out of range": changed("publication", "named_alike", "9" * 30),
    "negative place": changed("position", "wal_position", "-1"),
    "no LSN": changed("position", "wal_lsn", "here"),
    "zero byte": changed("server", "server_version", b"18\0"),
    "long text": changed("server", "server_version", "18" * 50_000),
    "zero byte in a name": changed("publication", "names", b'{"a\0b"}'),
    "null in a list": changed("publication", "names", "{NULL}"),
    "deep list": changed("publication", "names", "{" * 500 + "}" * 500),
    "deep JSON": changed("publication", "source_snapshot", _DEEP, JSONB),
    "deep description": changed("described", "described", _DEEP),
    "no JSON": changed("described", "described", "{"),
    "more than a table": changed("described", "described", f"{json.dumps(_TABLE)}, 1"),
    "unknown part": described(more=1),
    "columns that are none": described(columns={}),
    "column without a name": column(column_name=""),
    "column of a long name": column(column_name="x" * 256),
    "column of a zero byte": column(column_name="a\0"),
    "column of a number": column(column_name=1),
    "flag of a text": column(is_primary_key="yes"),
    "10,000 columns": described(columns=_TABLE["columns"] * 10_000),
    "table of a long name": changed("described", "relation_name", "x" * 256),
    "table of a zero byte": changed("described", "key", b"a\0b"),
    "huge description": described(replication=_TABLE["replication"] | {"row_filter": "x" * (4 * 2**20)}),
    "a million rows": {"publication": result(_HONEST["publication"], times=20_000)},
    "no snapshot": changed("described", "source_snapshot", "now"),
}


@pytest.mark.parametrize("wrong", _NONSENSE.values(), ids=_NONSENSE)
async def test_nonsense_is_a_source_that_cannot_be_asked(
    service: Service, config: Sql, wrong: dict[str, bytes]
) -> None:
    """A 502, and the page with what was known. Each statement, by whoever runs it."""
    async with impostor(lambda statement: answer(statement, **wrong)) as other:
        source = here(config, other.port)
        add_table(config, source)
        synced = await service.client.post(f"/api/v1/sources/{source}/refresh")
        assert synced.status_code == 502, synced.text
        assert len(synced.json()["message"]) < 700
        page = await service.sync(source)
        assert page["meta"]["sync"]["outcome"] == "failed"
        assert tables(page) == {"orders": 1}
        assert (await service.client.get(f"/sources/{source}/details")).status_code == 200
        assert (await service.client.get("/")).status_code == 200
        named = await service.client.get(f"/api/v1/sources/{source}/available_tables?refresh=true")
        assert named.status_code == 200


@pytest.mark.parametrize("value", ["{NULL}", b'{"a\0b"}', "{" * 500 + "}" * 500, None])
async def test_nonsense_about_names_leaves_those_that_are_registered(
    service: Service, config: Sql, value: str | bytes | None
) -> None:
    """The list of tables, and the page's own question about the publication."""
    wrong = changed("tables", "names", value) | changed("publication", "names", value)
    async with impostor(lambda statement: answer(statement, **wrong)) as other:
        source = here(config, other.port)
        add_table(config, source)
        named = await service.client.get(f"/api/v1/sources/{source}/available_tables?refresh=true")
        assert (named.status_code, named.json()) == (200, ["orders"])
        assert tables((await service.details(source)).json()) == {"orders": 1}


_SLOT: dict[str, tuple[int, str | bytes | None]] = {
    "slot_type": (TEXT, "logical"), "plugin": (TEXT, "pgoutput"), "database": (TEXT, "shop"), "is_here": (BOOL, "t"),
    "is_temporary": (BOOL, "f"), "is_active": (BOOL, "f"), "restart_lsn": (TEXT, "0/1"), "confirmed_lsn": (TEXT, "0/1"),
    "restart_position": (INT8, "1"), "confirmed_position": (INT8, "1"), "wal_status": (TEXT, None),
    "safe_wal_size": (INT8, None), "two_phase": (BOOL, None), "conflicting": (BOOL, None),
    "invalidation_reason": (TEXT, None), "inactive_since": (TIMESTAMPTZ, None), "failover": (BOOL, None),
    "synced": (BOOL, None),
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        changed("position", "wal_lsn", "here"),
        {"slot": result(_SLOT), "publication": result(_HONEST["publication"], times=0)},
        {"slot": result(_SLOT | {"inactive_since": (TIMESTAMP, "0001-01-01 00:00:00")})},
        {"slot": result(_SLOT | {"inactive_since": (TIMESTAMPTZ, "0001-01-01 00:00:00+01")})},
    ],
    ids=["place", "no publication", "time without a zone", "time before all others"],
)
async def test_round_of_the_wal_monitor_outlives_nonsense(start: Start, config: Sql, wrong: dict[str, bytes]) -> None:
    """What one source says costs no other its check."""
    async with impostor(lambda statement: answer(statement, **wrong)) as other, impostor(answer) as honest:
        bad, good = here(config, other.port), here(config, honest.port)
        service: Service = await start(wal_interval_s=1)
        await service.events.until(WalRound)
    rows = config.execute("SELECT source_id, error_message FROM wal_monitor ORDER BY source_id").fetchall()
    said = {one["source_id"]: one["error_message"] for one in rows}
    assert "unknown form" in said[bad]
    assert said[good] == "its replication slot does not exist"


async def test_names_that_nobody_can_tell_apart_are_no_nonsense(start: Start, config: Sql) -> None:
    """They are those of an honest source with the encoding SQL_ASCII: only its tables' activity is not recorded."""
    names = b'[["caf\xe9", 1, 1, 1, 1], ["caf\xe8", 1, 1, 1, 1]]'
    activity = result({"tables": (TEXT, names), "basis": (TEXT, "1")})
    async with impostor(lambda statement: answer(statement, activity=activity)) as other:
        here(config, other.port)
        service: Service = await start(wal_interval_s=1)
        await service.events.until(WalRound)
    (row,) = config.execute("SELECT error_message FROM wal_monitor").fetchall()
    assert row == {"error_message": "its replication slot does not exist"}
    assert not service.runtime.connections.failures.reasons


async def test_texts_that_nobody_can_read_are_told_as_far_as_they_can(service: Service, config: Sql) -> None:
    """In a report as well: a source with the encoding SQL_ASCII sends any bytes."""
    wrong = changed("described", "fails", b"caf\xe9") | {"slot": result(_SLOT | {"plugin": (TEXT, b"caf\xe9")})}
    async with impostor(lambda statement: answer(statement, **wrong)) as other:
        page = await service.sync(here(config, other.port))
    sync = page["meta"]["sync"]
    assert sync["outcome"] == "synced"
    assert sync["slot"]["plugin"] == "caf\N{REPLACEMENT CHARACTER}"


_MESSAGE = "\x1b[31mit \u202efails " + "x" * 5_000_000


async def test_long_message_is_kept_as_one_short_line(service: Service, config: Sql) -> None:
    """In the answer, in the config database, in health and in the list."""
    async with impostor(lambda statement: _DONE if statement.startswith("ROLL") else error(_MESSAGE)) as other:
        source = here(config, other.port)
        said = (await service.client.post(f"/api/v1/sources/{source}/refresh")).json()["message"]
        assert 400 < len(said) < 600
        assert "\\x1b[31mit \\u202efails xxx" in said
        for path in ("/", f"/sources/{source}/details", f"/api/v1/sources/{source}/details", "/health/ready"):
            assert len((await service.client.get(path)).content) < 50_000
