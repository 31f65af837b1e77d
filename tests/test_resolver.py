"""Names that cannot be looked up hold up nobody else."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from service.resolver import Resolver

pytestmark = pytest.mark.faults


@pytest.fixture
def dead_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names that start with "dead" wait for their name server until the test is over; returns those asked for."""
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
    """However many there are, and however often they are asked for: one thread for each."""
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.address(f"dead{number % 50}")) for number in range(500)]
    assert await asyncio.wait_for(resolver.address("healthy"), 10) == "192.0.2.7"
    assert len(dead_names) == 51
    for task in waiting:
        task.cancel()


async def test_lookups_that_are_under_way_have_a_bound(dead_names: list[str]) -> None:
    """Beyond it a name is refused with a reason, not with a thread more."""
    assert dead_names == []
    resolver = Resolver()
    waiting = [asyncio.create_task(resolver.address(f"dead{number}")) for number in range(100)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many names"):
        await resolver.address("healthy")
    for task in waiting:
        task.cancel()


async def test_name_without_an_address_says_so(dead_names: list[str]) -> None:
    """And is asked for again the next time."""
    resolver = Resolver()
    for _ in range(2):
        with pytest.raises(OSError, match=r"cannot look up missing: .*not known"):
            await resolver.address("missing")
    assert dead_names == ["missing", "missing"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "/var/run/postgresql"])
async def test_what_needs_no_lookup_gets_none(dead_names: list[str], host: str) -> None:
    """Addresses, and folders of Unix sockets."""
    assert await Resolver().address(host) is None
    assert dead_names == []
