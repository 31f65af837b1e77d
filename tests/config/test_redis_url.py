"""Redis URLs of every kind, and the errors of invalid ones."""

from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection

from service.cache.deployment import Deployment, sentinel_options, server_options
from service.config import redis_url
from service.errors import StartError


def test_sentinels() -> None:
    """Several hosts, some without a port; each with the credentials of its own kind."""
    url = redis_url.parse(
        "rediss+sentinel://u:p%40s@one,two:5000,[::1]:5001/my%20pages/3?sentinel_password=s&ssl_ca_certs=/ca"
    )
    assert (url.kind, url.service) == ("sentinel", "my pages")
    assert url.hosts == (("one", 26379), ("two", 5000), ("::1", 5001))
    options = server_options(url)
    assert {"username": "u", "password": "p@s", "db": 3, "ssl_ca_certs": "/ca"}.items() <= options.items()
    assert options["connection_class"] is SSLConnection
    assert sentinel_options(url, options) == {"password": "s", "ssl": True, "ssl_ca_certs": "/ca"}


def test_cluster() -> None:
    """Plain, with a name and password for every server."""
    url = redis_url.parse("redis+cluster://u:p@one:7000,two")
    assert (url.kind, url.hosts) == ("cluster", (("one", 7000), ("two", 6379)))
    options = server_options(url)
    assert (options["username"], options["password"]) == ("u", "p")
    assert "connection_class" not in options


def test_server_is_what_redis_py_knows() -> None:
    """redis://, rediss:// and unix://, with options."""

    def options(url: str) -> dict[str, Any]:
        return server_options(redis_url.parse(url))

    assert options("redis://:p@host:1/2?health_check_interval=3")["health_check_interval"] == 3
    assert options("rediss://host")["connection_class"] is SSLConnection
    assert options("unix:///run/redis.sock?db=1")["path"] == "/run/redis.sock"


def test_option_that_redis_py_does_not_understand_stops_the_start() -> None:
    """The message names the variable and the option, but not its value."""
    with pytest.raises(StartError, match=r"^ROSETTA_REDIS_URL: .*socket_timeout") as caught:
        Deployment("redis://:secret@host?socket_timeout=soon", 1)
    assert "secret" not in str(caught.value)


def test_passwords_are_known_in_both_spellings() -> None:
    """So that no log line holds either; those of the Sentinels too."""
    url = "redis+sentinel://u:p%40s@one,two/pages?sentinel_password=w"
    assert set(redis_url.secrets(url)) == {"p%40s", "p@s", "w"}
    assert "p@s" not in repr(redis_url.parse(url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://host", "is not a Redis URL"),
        ("memcached+cluster://host", "is not a Redis URL"),
        ("redis+sentinel://host", "lacks the service"),
        ("redis+sentinel://host,/pages", "lacks a host"),
        ("redis+sentinel:///pages", "lacks a host"),
        ("redis+cluster://host/1", "only number 0"),
        ("redis+cluster://", "lacks a host"),
    ],
)
def test_what_is_wrong_is_told(url: str, why: str) -> None:
    """The message quotes no part of the URL, which may contain a password."""
    with pytest.raises(ValueError, match=why) as caught:
        redis_url.parse(url)
    assert url not in str(caught.value)
