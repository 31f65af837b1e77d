"""Names that cannot be looked up do not delay other lookups."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from service.sources.resolver import Resolver
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.faults


@pytest.fixture
def dead_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Lookups of names that start with "dead" hang until the test is over; returns all names that were looked up."""
    asked: list[str] = []
    over = threading.Event()

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host.startswith("dead"):
            over.wait(30)
        if host.endswith("missing"):
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    over.set()


async def test_dead_names_hold_up_no_other(dead_names: list[str]) -> None:
    """Each name has one thread, however many names there are and however often each is requested."""
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.addresses(f"dead{number % 50}")) for number in range(500)]
    assert await asyncio.wait_for(resolver.addresses("healthy"), 10) == ("192.0.2.7",)
    assert len(dead_names) == 51
    for task in waiting:
        task.cancel()


async def test_lookups_that_are_under_way_have_a_bound(dead_names: list[str]) -> None:
    """Beyond it a name is refused with a reason, and gets no thread."""
    assert dead_names == []
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.addresses(f"dead{number}")) for number in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many names"):
        await resolver.addresses("healthy")
    for task in waiting:
        task.cancel()


async def test_name_without_an_address_says_so(dead_names: list[str]) -> None:
    """The next call looks it up again."""
    resolver = Resolver()
    for _ in range(2):
        with pytest.raises(OSError, match=r"cannot look up missing: .*not known"):
            await resolver.addresses("missing")
    assert dead_names == ["missing", "missing"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "/var/run/postgresql"])
async def test_what_needs_no_lookup_gets_none(dead_names: list[str], host: str) -> None:
    """Neither addresses nor folders of Unix sockets are looked up."""
    assert await Resolver().addresses(host) == ()
    assert dead_names == []


async def test_lookup_that_cannot_begin_is_no_lookup_for_ever(
    dead_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no thread can be started, the name can be looked up again later."""
    resolver = Resolver()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="cannot look up healthy: can't start new thread"):
            await resolver.addresses("healthy")
    assert await resolver.addresses("healthy") == ("192.0.2.7",)
    assert dead_names == ["healthy"]


async def test_every_address_of_a_source_is_tried(
    service: Service, config: Sql, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first may be of a kind on which its server does not listen."""
    there = str(conninfo_to_dict(shop_dsn)["host"])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.9", there)]
    if there == "localhost":
        found = [found[0], (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    source = add_source(config, shop_dsn, pg_host="two-places")
    assert (await service.sync(source))["meta"]["sync"]["outcome"] == "synced"
