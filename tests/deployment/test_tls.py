"""TLS to Redis and to sources: certificates are verified if the setting says so, and failures name the reason."""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from service.telemetry.events import CacheUp
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start
from tests.fixtures.shop import tables

pytestmark = pytest.mark.faults
MakeProxy = Callable[..., Awaitable[Proxy]]


class Authority:
    """Signs certificates; `file` is the one that its clients trust."""

    def __init__(self, folder: Path, name: str) -> None:
        self._authority = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def context(self, *names: str) -> ssl.SSLContext:
        """The context of a server with these host names or addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture
def trusted(tmp_path: Path) -> Authority:
    """The authority that the settings name."""
    return Authority(tmp_path, "trusted")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path, "stranger")


async def test_rediss_with_a_good_certificate(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str, trusted: Authority
) -> None:
    """With rediss:// and the authority's file in the URL."""
    place = urlsplit(redis_url)
    between = await proxy(place.hostname, place.port, tls=trusted.context("127.0.0.1"))
    url = SecretStr(f"rediss://127.0.0.1:{between.port}/0?ssl_ca_certs={trusted.file}")
    service: Service = await start(redis_url=url)
    await service.events.until(CacheUp)
    source = add_source(config)
    await service.settled(config)
    assert "stored" in (await service.details(source)).headers["cache-status"]


async def test_rediss_with_a_certificate_of_a_stranger_is_not_used(
    start: Start, config: Sql, proxy: MakeProxy, redis_url: str, trusted: Authority, stranger: Authority
) -> None:
    """Pages come from PostgreSQL, and the health report says why."""
    place = urlsplit(redis_url)
    between = await proxy(place.hostname, place.port, tls=stranger.context("127.0.0.1"))
    url = SecretStr(f"rediss://127.0.0.1:{between.port}/0?ssl_ca_certs={trusted.file}")
    service: Service = await start(redis_url=url)
    source = add_source(config)
    assert (await service.details(source)).json()["source"]["id"] == source
    assert "certificate verify failed" in (await service.client.get("/health/ready")).json()["redis"]["reason"]
    assert not service.events.of(CacheUp)


async def source_behind(
    config: Sql, proxy: MakeProxy, shop_dsn: str, context: ssl.SSLContext, host: str = "127.0.0.1"
) -> int:
    """A source whose server speaks TLS with that certificate."""
    place: dict[str, Any] = conninfo_to_dict(shop_dsn)
    between = await proxy(place["host"], int(place["port"]), tls=context, is_asked=True)
    return add_source(config, shop_dsn, pg_host=host, pg_port=between.port)


async def test_source_with_a_good_certificate(
    start: Start, config: Sql, published: Sql, proxy: MakeProxy, shop_dsn: str, trusted: Authority
) -> None:
    """verify-full checks the chain and the name."""
    assert published
    service: Service = await start(source_sslmode="verify-full", source_sslrootcert=str(trusted.file))
    source = await source_behind(config, proxy, shop_dsn, trusted.context("localhost"), "localhost")
    page = await service.sync(source)
    assert "error" not in page["meta"]["sync"]
    assert tables(page)


@pytest.mark.parametrize("what", ["a stranger's certificate", "another name", "no TLS"])
async def test_source_with_a_bad_certificate_is_told(
    start: Start,
    config: Sql,
    published: Sql,
    proxy: MakeProxy,
    shop_dsn: str,
    trusted: Authority,
    stranger: Authority,
    what: str,
) -> None:
    """The page shows the last known state; a refresh is a 502 with the reason."""
    assert published
    service: Service = await start(source_sslmode="verify-full", source_sslrootcert=str(trusted.file))
    if what == "no TLS":
        source, why = add_source(config, shop_dsn), "does not support SSL"
    elif what == "another name":
        source, why = (
            await source_behind(config, proxy, shop_dsn, trusted.context("elsewhere.example")),
            "does not match",
        )
    else:
        source, why = (
            await source_behind(config, proxy, shop_dsn, stranger.context("127.0.0.1")),
            "certificate verify failed",
        )
    assert (await service.details(source)).json()["source"]["id"] == source
    response = await service.client.post(f"/api/v1/sources/{source}/refresh")
    assert response.status_code == 502
    assert why in response.json()["message"]
