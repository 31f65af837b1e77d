"""Redis URLs of every kind, and what is wrong with others."""

import pytest
from redis.asyncio.connection import SSLConnection

from service import redis_url


def test_sentinels() -> None:
    """Several hosts, some without a port; each with the credentials of its own kind."""
    url = redis_url.parse(
        "rediss+sentinel://u:p%40s@one,two:5000,[::1]:5001/my%20pages/3?sentinel_password=s&ssl_ca_certs=/ca"
    )
    assert (url.kind, url.service) == ("sentinel", "my pages")
    assert url.hosts == (("one", 26379), ("two", 5000), ("::1", 5001))
    assert {"username": "u", "password": "p@s", "db": 3, "ssl_ca_certs": "/ca"}.items() <= url.options.items()
    assert url.options["connection_class"] is SSLConnection
    assert url.sentinel_options == {"password": "s", "ssl": True, "ssl_ca_certs": "/ca"}


def test_cluster() -> None:
    """Plain, with a name and password for every server."""
    url = redis_url.parse("redis+cluster://u:p@one:7000,two")
    assert (url.kind, url.hosts) == ("cluster", (("one", 7000), ("two", 6379)))
    assert (url.options["username"], url.options["password"]) == ("u", "p")
    assert "connection_class" not in url.options


def test_server_is_what_redis_py_knows() -> None:
    """redis://, rediss:// and unix://, with options."""
    assert redis_url.parse("redis://:p@host:1/2?health_check_interval=3").options["health_check_interval"] == 3
    assert redis_url.parse("rediss://host").options["connection_class"] is SSLConnection
    assert redis_url.parse("unix:///run/redis.sock?db=1").options["path"] == "/run/redis.sock"


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
    """Without a word of the URL itself, which may hold a password."""
    with pytest.raises(ValueError, match=why) as caught:
        redis_url.parse(url)
    assert url not in str(caught.value)
