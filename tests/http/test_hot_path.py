"""The hot path answers exactly as the framework does; and pages in compressed forms."""

import asyncio
import gzip
import sys
from typing import Any

import httpx
import pytest

from service.http import compression
from service.http.compression import chosen
from service.pages.memory import Memory
from service.pages.page import Page
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Any query bypasses the hot path; this one has no effect.
BY_THE_FRAMEWORK = {"force_refresh": "false"}


@pytest.fixture
async def source(service: Service, config: Sql) -> int:
    """A source whose page is in this process."""
    made = add_source(config)
    for number in range(20):
        add_table(config, made, f"table_{number}")
    await service.settled(config)
    plain = {"Accept-Encoding": "identity"}
    while "detail=memory" not in (await service.details(made, headers=plain)).headers["cache-status"]:
        continue
    return made


async def raw(service: Service, source: int, headers: dict[str, str], **options: Any) -> tuple[httpx.Response, bytes]:
    """The answer, and its bytes before decoding."""
    path = f"http://localhost/api/v1/sources/{source}/details"
    async with httpx.AsyncClient(transport=service.client._transport) as client:
        request = client.build_request("GET", path, headers={"Accept-Encoding": "identity"} | headers, **options)
        response = await client.send(request, stream=True)
        return response, b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd, gzip, br", "gzip;q=0.5, zstd;q=0"])
@pytest.mark.parametrize("conditional", ["", "no such tag", "*", "known", "weak"])
async def test_same_answer_as_the_framework(service: Service, source: int, encoding: str, conditional: str) -> None:
    """Status, headers and bytes; a 304 if the client has the page in any form."""
    known = (await service.details(source)).headers["etag"]
    tag = {"known": known, "weak": f'"other", W/{known}'}.get(conditional, conditional)
    wishes = {"Accept-Encoding": encoding, "X-Request-ID": "own-id"} | ({"If-None-Match": tag} if tag else {})
    hot, hot_bytes = await raw(service, source, wishes)
    cold, cold_bytes = await raw(service, source, wishes, params=BY_THE_FRAMEWORK)
    assert hot.status_code == cold.status_code == (304 if conditional in ("*", "known", "weak") else 200)
    ticking = ("age", "cache-status", "content-length")
    assert {name: value for name, value in hot.headers.items() if name not in ticking} == {
        name: value for name, value in cold.headers.items() if name not in ticking
    }
    assert hot_bytes == cold_bytes
    if hot.status_code == 200:
        assert int(hot.headers["content-length"]) == len(hot_bytes)


async def test_compressed_forms_hold_the_same_page(service: Service, source: int) -> None:
    """Each form has its own ETag."""
    plain, body = await raw(service, source, {})
    packed, gzipped = await raw(service, source, {"Accept-Encoding": "gzip"})
    other, squeezed = await raw(service, source, {"Accept-Encoding": "gzip, zstd"})
    assert gzip.decompress(gzipped) == zstd.decompress(squeezed) == body
    assert (packed.headers["content-encoding"], other.headers["content-encoding"]) == ("gzip", "zstd")
    assert len({answer.headers["etag"] for answer in (plain, packed, other)}) == 3
    assert plain.headers["vary"] == "accept-encoding"
    assert len(squeezed) < len(body) / 5


async def test_form_is_made_once_and_counted(service: Service, source: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients ask for it; the limit of the process cache includes all forms."""
    made = []
    encoder = compression._ENCODERS["gzip"]

    def encode(body: bytes) -> bytes:
        made.append(len(body))
        return encoder(body)

    monkeypatch.setitem(compression._ENCODERS, "gzip", encode)
    memory = service.runtime.pages.memory
    before = memory.bytes
    for _ in range(5):
        _, body = await raw(service, source, {"Accept-Encoding": "gzip"})
    assert len(made) == 1
    assert memory.bytes == before + len(body)
    memory.drop(None)
    assert memory.bytes == 0


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", ""), ("gzip", "gzip"), ("GZIP", "gzip"), ("br", ""), ("gzip, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.001", "gzip"), ("gzip;q=0", ""), ("gzip;q=0.0", ""), ("*", ""),
        (",,;q=1", ""), ("x" * 5000, ""),
    ],
)  # fmt: skip
def test_choice_of_a_form(header: str, form: str) -> None:
    """By RFC 9110, 12.5.3; a header that makes no sense gets the plain form."""
    assert chosen(Page(b"x" * 5000, 0, 0), header.encode()) == form
    assert chosen(Page(b"x", 0, 0), header.encode()) == ""


async def test_page_that_grows_past_the_bound_leaves() -> None:
    """Its compressed forms count as well, and evict the least recently used page."""
    memory = Memory(100, 0)
    first, second = Page(b"x" * 40, 1e18, 0), Page(b"y" * 40, 1e18, 0)
    memory.put(1, first, is_current=True)
    memory.put(2, second, is_current=True)
    memory.weigh(1, Page(b"z" * 90, 1e18, 0))
    assert memory.bytes == 80

    await second.encoded("gzip", lambda _: b"g" * 30, lambda: memory.weigh(2, second))
    await asyncio.sleep(0)
    assert memory.get(1) is None
    assert memory.get(2) is second
    assert memory.bytes == 70


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 404), ("DELETE", 404)])
async def test_other_methods_are_the_frameworks(service: Service, source: int, method: str, status: int) -> None:
    """And so is every path other than the plain one."""
    response = await service.client.request(method, f"/api/v1/sources/{source}/details")
    assert response.status_code == status
    assert (await service.client.get(f"/api/v1/sources/0{source}/details")).status_code == 200
    assert (await service.client.get(f"/api/v1/sources/{source}/details/")).status_code in (200, 404)
