"""Looks up host names of sources. A name server that does not answer delays only the callers that need that name.

The event loop's own lookups share a few threads of the process, and a thread that waits for a dead name server cannot
be cancelled: a few such names would stop every lookup, including those of Redis and the config database. Here each name
that is being looked up has a thread of its own.
"""

import asyncio
import ipaddress
import socket
import threading

_MOST_AT_ONCE = 100
_MOST_ADDRESSES = 8

Addresses = tuple[str, ...]


class Resolver:
    """Looks names up. Callers that need the same name at the same time share one lookup."""

    def __init__(self) -> None:
        self._pending: dict[str, asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str) -> Addresses:
        """The host's addresses, best first; none if it needs no lookup (an address, the folder of a Unix socket).

        OSError if it has none, or if too many other names are being looked up.
        """
        if host.startswith("/") or _is_address(host):
            return ()
        pending = self._pending.get(host)
        if pending is None:
            if len(self._pending) >= _MOST_AT_ONCE:
                raise OSError(f"cannot look up {host}: too many names are being looked up")
            pending = asyncio.get_running_loop().create_future()
            try:
                # A daemon thread: the process does not wait for it at its end.
                threading.Thread(target=_look_up, args=(host, pending), name="resolver", daemon=True).start()
            except RuntimeError as error:
                raise OSError(f"cannot look up {host}: {error}") from None
            self._pending[host] = pending
            pending.add_done_callback(lambda done: self._forget(host, done))
        # Shielded: a caller that gives up must not cancel the lookup for the others.
        return await asyncio.shield(pending)

    def _forget(self, host: str, done: "asyncio.Future[Addresses]") -> None:
        del self._pending[host]
        if not done.cancelled():
            # Retrieved, so that the event loop does not log a failure for which nobody waits any more.
            done.exception()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(host: str, pending: "asyncio.Future[Addresses]") -> None:
    loop = pending.get_loop()
    outcome: Addresses | OSError
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        outcome = tuple(dict.fromkeys(str(place[0]) for *_, place in found))[:_MOST_ADDRESSES]
    except (OSError, UnicodeError) as error:
        outcome = OSError(f"cannot look up {host}: {error}")
    # The loop may have been closed during the lookup.
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, pending, outcome)


def _settle(pending: "asyncio.Future[Addresses]", outcome: Addresses | OSError) -> None:
    if pending.done():
        return
    if isinstance(outcome, OSError):
        pending.set_exception(outcome)
    else:
        pending.set_result(outcome)
