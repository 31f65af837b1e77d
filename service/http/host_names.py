"""The names under which the service may be called.

A page of another site can have its own name lead to this machine (DNS rebinding). For the browser the service is then
part of that site, whose scripts may call it and read its answers; only the Host header shows it.
"""

from collections.abc import Collection
from ipaddress import ip_address

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from service.http.refusals import Refusals

# Host headers that were found to be allowed: so many are remembered.
_MOST_REMEMBERED = 64


def host_of(header: str) -> str:
    """The host of a Host header (RFC 9110, section 7.2), or of an origin without its scheme, in lower case."""
    name, colon, port = header.rpartition(":")
    if not colon or not port.isascii() or not (port.isdecimal() or not port):
        name = header
    return name.strip("[]").rstrip(".").lower()


def is_same_host(header: str, origin: str) -> bool:
    """Whether an origin (or the URL of a page) is that of the service, as its Host header says. Ports count."""
    scheme, _, rest = origin.partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme.lower())
    if usual is None or not header:
        return False
    place = rest.partition("/")[0].lower()
    return place.removesuffix(usual) == header.lower().removesuffix(usual)


class HostNames:
    """An ASGI application that passes on only requests to `names`, to localhost, and to addresses.

    A name can lead anywhere. An address is what it is.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], refusals: Refusals) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._refusals = refusals
        self._allowed: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 421 (RFC 9110, section 15.5.20) to any other name."""
        if scope["type"] != ScopeType.HTTP or scope["path"] == "/health/live":
            await self._app(scope, receive, send)
            return
        # A health check may have no name at all. A browser always has one, and only one.
        given = [value for name, value in scope["headers"] if name == b"host"]
        if not given or (len(given) == 1 and self._is_allowed(given[0])):
            await self._app(scope, receive, send)
            return
        await self._refusals.answer(
            scope,
            send,
            why="host",
            status=421,
            error="MisdirectedRequest",
            message="ROSETTA_HOST_NAMES does not list the name under which this service was called",
            title="Not under this name",
        )

    def _is_allowed(self, header: bytes) -> bool:
        if header in self._allowed:
            return True
        host = host_of(header.decode("latin-1"))
        if not (host in self._names or host == "localhost" or host.endswith(".localhost") or _is_address(host)):
            return False
        if len(self._allowed) < _MOST_REMEMBERED:
            self._allowed.add(header)
        return True


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
