"""Sources may only be on allowed hosts."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from service.config.allowed_hosts import AllowedHosts
from service.config.settings import load
from service.errors import StartError
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import KEY, add_source
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.operations


@pytest.mark.parametrize(
    ("text", "host", "address", "allowed"),
    [
        ("", "anything", None, True),
        ("db.example.com", "DB.example.com", "10.0.0.1", True),
        ("db.example.com", "db2.example.com", "10.0.0.1", False),
        ("*.example.com", "db.example.com", None, True),
        ("*.example.com", "example.com.evil.org", None, False),
        ("*.example.com", "evil.org,db.example.com", None, False),
        ("*.example.com", "db.example.com,db2.example.com", None, True),
        ("10.0.0.0/8", "10.1.2.3", None, True),
        ("10.0.0.0/8", "inside.example.com", "10.1.2.3", True),
        ("10.0.0.0/8", "metadata.example.com", "169.254.169.254", False),
        ("10.0.0.0/8, fd00::/8", "fd00::1", None, True),
        ("10.0.0.0/8", "/var/run/postgresql", None, False),
        ("10.0.0.7", "10.0.0.7", None, True),
        ("10.0.0.7", "10.0.0.8", None, False),
        ("*", "db.example.com", None, True),
        ("*", "/var/run/postgresql", None, False),
        ("*", "@abstract", None, False),
        ("*", "", None, False),
        ("*", "db.example.com,/var/run/postgresql", None, False),
        ("*", "db.example.com,", None, False),
    ],
)
def test_hosts_are_told_apart(text: str, host: str, address: str | None, *, allowed: bool) -> None:
    """By name, by address, and by the address of a name."""
    assert AllowedHosts(text).allow(host, address) is allowed


@pytest.mark.parametrize("text", ["10.0.0.0/99", "a b", "http://x", "[x", ",", " "])
def test_wrong_entry_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The message is one line that names the entry."""
    for name, value in (("CONFIG_DSN", "postgresql://x"), ("SOURCE_HOSTS", text)):
        monkeypatch.setenv(f"ROSETTA_{name}", value)
    monkeypatch.setenv("CREDENTIAL_ENCRYPTION_KEY", KEY)
    with pytest.raises(StartError, match=r"ROSETTA_SOURCE_HOSTS: .*(neither a host|has no entry)"):
        load()


@pytest.mark.usefixtures("published")
async def test_source_elsewhere_is_never_called(start: Start, config: Sql, shop_dsn: str) -> None:
    """Its page shows the last known state, and a sync says why."""
    allowed: Service = await start(source_hosts=str(conninfo_to_dict(shop_dsn)["host"]))
    elsewhere: Service = await start(source_hosts="192.0.2.0/24")
    source = add_source(config, shop_dsn)
    assert (await allowed.client.post(f"/api/v1/sources/{source}/refresh")).status_code == 200
    refused = await elsewhere.client.post(f"/api/v1/sources/{source}/refresh")
    assert refused.status_code == 502
    assert "its host is not among ROSETTA_SOURCE_HOSTS" in refused.json()["message"]
    assert (await elsewhere.details(source)).status_code == 200
