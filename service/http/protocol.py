"""uvicorn's HTTP protocol, with limits on the size of a request and on the time that a client takes.

Everything that a handler waits for has a budget of its own; these limits are for clients that never stop sending or
never read.
"""

import asyncio
import sys
from array import array
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.error_answers import json_body

if sys.platform != "win32":
    import fcntl
    import termios

_LONGEST_HEAD = 64 * 1024
# The framework keeps the paths of a thousand requests, and their queries as the pairs that they were parsed into.
_LONGEST_PATH = 1024
_LONGEST_QUERY = 2048
_MOST_PARAMETERS = 20
# How long an idle connection stays open once the process stops.
_LINGER_S = 0.5
# No operation needs a body, but some clients send one.
_LONGEST_BODY = 64 * 1024
# Requests that wait on one connection for the answers before them. Each takes some kilobytes, and a packet of 256 KB
# brings ten thousand. A client sends again what a closed connection has not answered (RFC 9112, section 9.3.2).
_MOST_AHEAD = 64
# Python 3.13 has other words for two of these (RFC 9110). Clients know an error by its name.
_NAMES = {
    HTTPStatus.BAD_REQUEST: "BadRequest",
    HTTPStatus.REQUEST_TIMEOUT: "RequestTimeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RequestEntityTooLarge",
    HTTPStatus.REQUEST_URI_TOO_LONG: "Request-URITooLong",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "RequestHeaderFieldsTooLarge",
}


class Protocol(HttpToolsProtocol):
    """One connection. A subclass sets how many seconds a client has to send a request or to read its response
    (`request_timeout_s`), and how long the response itself may take (`answer_timeout_s`).
    """

    request_timeout_s: float
    answer_timeout_s: float

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # When (loop time) the current request or response began to make progress; None while idle, and during a live
        # stream.
        self._since: float | None = None
        self._is_stream = False
        self._is_head_complete = False
        # Bytes received of the current request.
        self._arrived = 0
        # Bytes of the response that the client had not read at the last check.
        self._untaken = 0
        self._refusal = HTTPStatus.BAD_REQUEST
        self._look: asyncio.TimerHandle | None = None
        self._is_last = False
        self._is_arriving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look = self.loop.call_later(self.request_timeout_s, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # uvicorn's timer for idle connections stops at any byte, even one that begins no request.
        if self._since is None and not self._is_stream:
            self._since = self.loop.time()
        self._arrived += len(data)
        super().data_received(data)
        if self._arrived > _LONGEST_HEAD + _LONGEST_BODY and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    # A ValueError in one of these: the parser turns it into an error, for which uvicorn calls send_400_response.

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= _MOST_AHEAD:
            raise ValueError
        super().on_message_begin()
        self._arrived = 0
        self._is_head_complete = False
        self._is_arriving = True
        if self._is_between:
            self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        path, _, query = self.url.partition(b"?")
        if (
            len(path) > _LONGEST_PATH
            or len(query) > _LONGEST_QUERY
            or query.count(b"&") + query.count(b";") >= _MOST_PARAMETERS
        ):
            self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if name.lower() == b"content-length" and int(value) > _LONGEST_BODY:
            self._refusal = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise ValueError

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._is_head_complete = True
        if self._is_last and self.cycle is not None:
            # The answer says so: Connection: close.
            self.cycle.keep_alive = False
        if self.scope["path"].endswith("/events"):
            self._since, self._is_stream = None, True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_arriving = False

    def on_response_complete(self) -> None:
        is_next_here = bool(self.pipeline) or not self._is_head_complete
        super().on_response_complete()
        if self.pipeline:
            # uvicorn has begun to read again, although requests wait.
            self.flow.pause_reading()
        self._is_stream = False
        is_taken = not self.transport.get_write_buffer_size()
        self._untaken = 0 if is_taken else self._count_untaken()
        self._since = None if is_taken and not is_next_here else self.loop.time()

    def shutdown(self) -> None:
        """Called when the process begins to stop: the next answer is the last one on this connection.

        An idle connection stays open for a moment. Its client may be sending a request right now, which would be lost
        if the connection were closed meanwhile (RFC 9112, section 9.5); it is answered, and the client told to go.
        """
        self._is_last = True
        if self._is_between:
            self.loop.call_later(_LINGER_S, self._close_if_idle)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text, the same for every error
        """Answers in JSON what is not a valid request, and closes the connection."""
        if not self._is_between or self.transport.get_write_buffer_size():
            # In the middle of a response, or behind one that the client does not read.
            self.transport.abort()
            return
        message = self._refusal.description or self._refusal.phrase
        body = json_body(_NAMES[self._refusal], message)
        head = (
            f"HTTP/1.1 {self._refusal.value} {self._refusal.phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._refusal = status
        if self._is_head_complete:
            # A response has begun already.
            self.transport.abort()
        else:
            self.send_400_response("")

    def _close_if_idle(self) -> None:
        # A request that has begun to arrive is answered; it has its own time limit.
        if self._is_between and not self._is_arriving:
            self.transport.close()

    @property
    def _is_between(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _count_untaken(self) -> int:
        # The kernel accepts megabytes at once: only its unsent byte count shows that a slow client is still reading.
        held = array("i", [0])
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + held[0]

    def _look_after(self) -> None:
        # One timer for the connection, not one for each request: it checks how long the current one has taken.
        now = self.loop.time()
        if self._untaken and self._is_between:
            # The response is complete: a slow line may take any time as long as bytes keep moving.
            before, self._untaken = self._untaken, self._count_untaken()
            if self._untaken < before:
                is_over = not self._untaken and self._is_head_complete
                self._since = None if is_over else now
        limit = self.request_timeout_s if self._is_between else self.answer_timeout_s
        left = limit - (now - self._since if self._since is not None else 0)
        if left > 0:
            self._look = self.loop.call_later(left, self._look_after)
            return
        path = self.scope["path"][:200] if self.scope and "path" in self.scope else None
        structlog.get_logger().warning("client too slow", path=path, is_arriving=not self._is_head_complete)
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        # In case the client does not read even that.
        self._look = self.loop.call_later(self.request_timeout_s, self.transport.abort)
