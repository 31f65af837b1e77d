"""`--against URL`: another implementation of the details page beside ours, with as many tables, in the same minutes.

The load on it is bounded: at most `CONNECTIONS` connections, for as many seconds as `duration` says.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from service.printable import one_line
from tests.bench.load import PLAIN, Load, LoadError, load
from tests.bench.rig import Rig, fill
from tests.bench.rows import Row, at_least, at_most, fact, in_turn

CONNECTIONS = 32
_MOST_BYTES = 64 * 2**20
_MOST_TABLES = 20_000
# What `fill` makes of a table, for an answer that has no list of tables.
_BYTES_OF_A_TABLE = 2_660
_TIMEOUT_S = 30
# RFC 9110, 5.6.2; values are what every server takes.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")


class AgainstError(Exception):
    """The other one cannot be measured; the message is one line without any header."""


@dataclass(frozen=True, slots=True)
class Other:
    """A URL to measure. `headers` may be secret; `shown` is the URL without its query, which may be secret as well."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    shown: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What an answer is like."""

    bytes: int
    tables: int | None
    answers_304: str


def wanted(url: str, headers: Sequence[str]) -> Other:
    """Checks the arguments. AgainstError."""
    try:
        parts = urlsplit(url)
        # The port is read only when it is asked for.
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise AgainstError("--against takes a URL: this one cannot be read") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[^\x21-\x7e]", url):
        raise AgainstError("--against takes the full URL of a details page: http://HOST:PORT/PATH")
    if parts.username or parts.password:
        raise AgainstError("--against takes a URL without a user: say --header 'Authorization: ...' instead")
    return Other(url, dict(map(_header, headers)), f"{parts.scheme}://{parts.netloc}{parts.path}")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip()
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        # What was given may be the secret alone.
        raise AgainstError("--header takes 'NAME: VALUE', in printable ASCII")
    return name, value


async def probe(other: Other) -> Probe:
    """Asks twice: for the page, and whether it is unchanged. AgainstError."""
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            httpx.AsyncClient(headers=PLAIN | dict(other.headers), timeout=_TIMEOUT_S) as client,
        ):
            status, headers, body = await _get(client, other.url, {})
            if status != httpx.codes.OK:
                where = "; give the URL that it leads to" if httpx.codes.is_redirect(status) else ""
                raise AgainstError(f"{other.shown} answers {status}, not 200{where}")
            said = "no, it has no ETag"
            if etag := headers.get("etag"):
                status, _, _ = await _get(client, other.url, {"If-None-Match": etag})
                said = "yes" if status == httpx.codes.NOT_MODIFIED else f"no, {status}"
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        why = one_line(str(error)) or type(error).__name__
        raise AgainstError(f"{other.shown} cannot be asked: {why}") from None
    return Probe(len(body), tables(body), said)


async def _get(client: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> tuple[int, httpx.Headers, bytes]:
    body = bytearray()
    async with client.stream("GET", url, headers=headers) as answer:
        # As on the wire: wrk unpacks nothing either.
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise AgainstError(f"the page has more than {_MOST_BYTES // 2**20} MiB")
    return answer.status_code, answer.headers, bytes(body)


def tables(body: bytes) -> int | None:
    """How many tables a page has: the length of the first list called "tables", the outermost first; None without."""
    try:
        level: list[Any] = [msgspec.json.decode(body)]
    except msgspec.DecodeError:
        return None
    while level:
        objects = [value for value in level if isinstance(value, dict)]
        for value in objects:
            if isinstance(value.get("tables"), list):
                return len(value["tables"])
        level = [inner for value in objects for inner in value.values()]
    return None


def duration(rig: Rig) -> float:
    """How many seconds the other one is under load, all in all."""
    return 2 * rig.rounds * rig.seconds


async def rows(rig: Rig, other: Other, theirs: Probe) -> AsyncIterator[Row]:
    """Throughput; the latency of both at half the rate of the slower one; bytes; 304. AgainstError, LoadError."""
    count = theirs.tables
    if count is None:
        count = round(theirs.bytes / _BYTES_OF_A_TABLE)
        rig.say(f"its answer has no list of tables: ours gets {count:,}, for about as many bytes")
    with ExitStack() as stack:
        config = stack.enter_context(rig.database())
        (source,) = fill(config, 1, min(max(count, 1), _MOST_TABLES))
        served = stack.enter_context(rig.served(config))
        ours = wanted(f"{served}/api/v1/sources/{source}/details", [])
        own = await probe(ours)
        rig.say(
            f"{other.shown}: {theirs.bytes:,} bytes; ours of {own.tables:,} tables: {own.bytes:,} bytes. It gets load "
            f"for {duration(rig):.0f} s in all, by at most {CONNECTIONS} connections at a time"
        )
        yield fact(
            "bytes of a page", other.shown, f"{own.bytes:,} and {theirs.bytes:,} bytes", own.bytes / theirs.bytes
        )
        yield fact("answers 304 to If-None-Match", other.shown, f"{own.answers_304}; {theirs.answers_304}")

        async def rate(which: Other) -> float:
            return (await _load(rig, which)).rate

        rates = await in_turn(rig.rounds, partial(rate, ours), partial(rate, other))
        yield at_least("requests/s", other.shown, 1, *rates, "/s")
        connections, pause_ms = pace(min(map(median, rates)) / 2)
        at_half = await in_turn(
            rig.rounds,
            partial(_load, rig, ours, connections, pause_ms),
            partial(_load, rig, other, connections, pause_ms),
        )
        for name, of in (("p50", lambda load: load.p50_s), ("p99", lambda load: load.p99_s)):
            yield at_most(
                f"{name} at half the slower one's rate", other.shown, 1, *(list(map(of, side)) for side in at_half)
            )


def pace(rate: float) -> tuple[int, int]:
    """Connections, and how long each pauses before a request (ms), for at most that many requests a second."""
    # A slow one gets fewer connections, so that each still asks several times a second.
    connections = min(max(int(rate / 10), 1), CONNECTIONS)
    return connections, ceil(connections / rate * 1000)


async def _load(rig: Rig, which: Other, connections: int = CONNECTIONS // 2, pause_ms: int = 0) -> Load:
    try:
        return await load(which.url, rig.seconds, headers=which.headers, connections=connections, pause_ms=pause_ms)
    except LoadError as error:
        raise AgainstError(f"{which.shown}: {error}") from None
    finally:
        # The sockets of the one must not cost the other one anything either.
        await rig.watch.rest()
