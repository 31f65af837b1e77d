"""Redis URLs: one server, the primary that Sentinels name, or the primaries of a cluster.

`redis://user:password@host:6379/0`, `rediss://` with TLS, `unix:///path`; and with several hosts (TLS by `rediss+`)
`redis+sentinel://user:password@host:26379,host:26379/SERVICE/0?sentinel_username=...&sentinel_password=...` and
`redis+cluster://user:password@host:6379,host:6379`. Other options are those of redis-py: `?ssl_ca_certs=/ca.pem`.
"""

from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

Address = tuple[str, int]

_PORTS = {"sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """`server` is a URL for redis-py; for Sentinels and clusters its host is a placeholder.

    `sentinel_login` holds the user name and password for the Sentinels themselves.
    """

    kind: Literal["server", "sentinel", "cluster"]
    server: str = field(repr=False)
    hosts: tuple[Address, ...] = ()
    service: str = ""
    sentinel_login: dict[str, str] = field(default_factory=dict, repr=False)
    is_tls: bool = False


def parse(url: str) -> RedisUrl:
    """The parts of the URL. Raises ValueError, whose message quotes no part of it.

    `cache.deployment` checks the options in the query, which are redis-py's.
    """
    parts = urlsplit(url)
    transport, _, kind = parts.scheme.partition("+")
    if parts.scheme in ("redis", "rediss", "unix"):
        return RedisUrl("server", url, is_tls=transport == "rediss")
    if transport not in ("redis", "rediss") or kind not in _PORTS:
        raise ValueError(
            "is not a Redis URL (redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; "
            "with TLS rediss+sentinel:// or rediss+cluster://)"
        )
    login, _, hosts = parts.netloc.rpartition("@")
    addresses = tuple(_address(host, _PORTS[kind]) for host in hosts.split(","))
    service, _, number = parts.path.strip("/").partition("/")
    if kind == "cluster" and service not in ("", "0"):
        raise ValueError("names a database; a cluster has only number 0")
    if kind == "sentinel" and not service:
        raise ValueError("lacks the service that the Sentinels watch: redis+sentinel://HOST:26379/SERVICE")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    sentinel_login = {
        name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query
    }
    return RedisUrl(
        cast("Literal['sentinel', 'cluster']", kind),
        f"{transport}://{login + '@' if login else ''}host/{number}?{urlencode(query)}",
        addresses,
        unquote(service),
        sentinel_login,
        transport == "rediss",
    )


def secrets(url: str) -> list[str]:
    """The passwords in a URL, both as written there and percent-decoded."""
    parts = urlsplit(url)
    found = [values[0] for name, values in parse_qs(parts.query).items() if name.endswith("password")]
    if parts.password:
        found += [parts.password, unquote(parts.password)]
    return found


def _address(text: str, port: int) -> Address:
    place = urlsplit(f"//{text}")
    if not place.hostname:
        raise ValueError("lacks a host")
    return place.hostname, place.port or port
