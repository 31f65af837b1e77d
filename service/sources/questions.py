"""Questions to a source: named statements, in one read-only transaction and as few messages as possible.

They also run behind a pooler in transaction mode: no startup options, no prepared statements, settings for the
transaction alone. If the transaction fails, each question is asked on its own, so that one that the source refuses
takes nothing else with it.
"""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow, dict_row

from service.database.connection import reason
from service.database.queries import query
from service.sources.answer_shapes import check, check_all
from service.sources.source_connection import SourceConnection

OLDEST = 10
# A table was dropped or altered while a statement looked at it, or a lock was not free: asking again may do.
_PASSING = {"55P03", "XX000", "42P01", "42704"}
_ATTEMPTS = 5
_TIMED_OUT = "57014"
# An answer that is in memory as a whole: in bytes, and in values, which take far more room than bytes.
_MOST_BYTES = 32 * 2**20
_MOST_VALUES = 100_000
# One row of a long answer. A table of 1,600 columns takes some 500 kB to describe.
_MOST_BYTES_OF_ROW = 16 * 2**20

Parameters = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a statement may run and wait for a lock."""

    statement_timeout_s: float
    lock_timeout_s: float = 1.0

    def parameters(self) -> dict[str, str]:
        """For the statement remote_settings."""
        return {
            "statement_timeout_ms": str(round(self.statement_timeout_s * 1000)),
            "lock_timeout_ms": str(round(self.lock_timeout_s * 1000)),
        }


@dataclass(frozen=True, slots=True)
class Answers:
    """The rows that each question brought, and why a question was refused."""

    rows: dict[str, list[DictRow]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def one(self, name: str) -> DictRow | None:
        """The first row; None if there is none, or if the question was refused."""
        rows = self.rows.get(name)
        return rows[0] if rows else None


async def ask(connection: SourceConnection, names: Sequence[str], parameters: Parameters, limits: Limits) -> Answers:
    """The answers to all questions. psycopg.Error if the connection is lost or sends too much.

    LookupError or ValueError if an answer is none to its question.
    """
    try:
        return Answers(await _together(connection, names, parameters, limits))
    except psycopg.Error as error:
        await _end(connection, error)
    rows: dict[str, list[DictRow]] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            single = functools.partial(_together, connection, [name], parameters, limits)
            rows |= await again_if_passing(connection, single)
        except psycopg.Error as error:
            await _end(connection, error)
            refused[name] = why_refused(error)
    return Answers(rows, refused)


async def each_row(
    connection: SourceConnection, name: str, parameters: Parameters, limits: Limits
) -> AsyncGenerator[DictRow, None]:
    """Every row of a long answer, one by one, so that it is never in memory as a whole.

    As `ask`. After an error, and if the caller leaves early, the connection is in the middle of a transaction.
    """
    await _run(connection, ["remote_begin", "remote_settings"], parameters, limits)
    cursor = psycopg.AsyncClientCursor(connection, row_factory=dict_row)
    connection.allow(_MOST_BYTES_OF_ROW)
    async for row in cursor.stream(query(name, major(connection)), parameters):
        check(name, row)
        yield row
        connection.allow(_MOST_BYTES_OF_ROW)
    await connection.execute(query("remote_end"))


async def again_if_passing(connection: SourceConnection, work: Callable[[], Awaitable[T]]) -> T:
    """The outcome of `work`, which runs again if what made it fail passes by itself. psycopg.Error."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await work()
        except psycopg.Error as error:
            await _end(connection, error)
            if error.sqlstate not in _PASSING:
                raise
    return await work()


def why_refused(error: psycopg.Error) -> str:
    """Why a question was refused, in one line, with the setting that would help."""
    if error.sqlstate == _TIMED_OUT:
        return "it takes longer than ROSETTA_SOURCE_STATEMENT_TIMEOUT_MS allows"
    return reason(error)


def major(connection: SourceConnection) -> int:
    """The major version of the server."""
    return connection.info.server_version // 10_000


async def _together(
    connection: SourceConnection, names: Sequence[str], parameters: Parameters, limits: Limits
) -> dict[str, list[DictRow]]:
    found = await _run(connection, ["remote_begin", "remote_settings", *names, "remote_end"], parameters, limits)
    answers = dict(zip(names, found[2:-1], strict=True))
    for name, rows in answers.items():
        check_all(name, rows)
    return answers


async def _run(
    connection: SourceConnection, names: Sequence[str], parameters: Parameters, limits: Limits
) -> list[list[DictRow]]:
    """The rows of each statement. Sent as one message, in which only the client can bind values."""
    cursor = psycopg.AsyncClientCursor(connection, row_factory=dict_row)
    text = ";\n".join(query(name, major(connection)) for name in names)
    connection.allow(_MOST_BYTES)
    await cursor.execute(text, {**parameters, **limits.parameters()})
    found = []
    while True:
        if cursor.rowcount * len(cursor.description or ()) > _MOST_VALUES:
            raise ValueError("too many values")
        found.append(await cursor.fetchall() if cursor.description else [])
        if not cursor.nextset():
            return found


async def _end(connection: SourceConnection, error: psycopg.Error) -> None:
    """Ends the transaction of a statement that failed; raises the error again if the connection is lost."""
    if connection.broken or connection.closed:
        raise error
    await connection.rollback()
