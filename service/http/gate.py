"""Access control: tokens with a scope. The settings hold only their hashes.

A client sends `Authorization: Bearer TOKEN` (RFC 6750). A person's browser sends the token as the password of HTTP
Basic (RFC 7617), with any user name.
"""

import base64
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from service.config.tokens import Token, digest
from service.http.error_answers import error_answer

# For load balancers, and for pages before their first request.
_OPEN = re.compile(r"/health/(live|ready)|/assets/.*")
# Parameters that make the service call a source for a GET.
_COSTLY = {"force_refresh", "refresh"}
# An IPv6 address with a zone. A proxy may pass on any text.
_LONGEST_ADDRESS = 64
_FALSE = {"false", "0", "off", "no", "n", "f"}


def is_known(scope: Any) -> bool:
    """Whether the request has a valid token."""
    return "rosetta_caller" in scope


def caller(scope: Any) -> str:
    """Who made a request: the token's name, or else the client's address, as a trusted proxy says if there is one."""
    named: str | None = scope.get("rosetta_caller")
    return named or (scope["client"][0][:_LONGEST_ADDRESS] if scope.get("client") else "unknown")


class Gate:
    """An ASGI application that passes on only what a token allows. `count` gets the status of each refusal."""

    def __init__(self, app: ASGIApp, tokens: Sequence[Token], count: Callable[[int], None]) -> None:
        self._app = app
        self._tokens = tokens
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 without a valid token, and 403 if its scope is not enough."""
        if scope["type"] != ScopeType.HTTP or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        token = self._find(dict(scope["headers"]).get(b"authorization", b""))
        if token is None and _OPEN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
        elif token is None:
            self._count(401)
            await _refuse(scope, send, 401, "UnauthorizedError", "a token is needed: Authorization: Bearer TOKEN")
        elif token.scope == "read" and _operates(scope["method"], scope["query_string"]):
            self._count(403)
            await _refuse(
                scope, send, 403, "ForbiddenError", "this token may only read; a sync needs one of scope operate"
            )
        else:
            scope["rosetta_caller"] = token.name  # type: ignore[typeddict-unknown-key]  # ours, see caller()
            await self._app(scope, receive, send)

    def _find(self, header: bytes) -> Token | None:
        given = digest(_credential(header))
        found = None
        # Compares with all of them, each in constant time, so that the time taken reveals nothing.
        for token in self._tokens:
            if hmac.compare_digest(token.digest, given):
                found = token
        return found


def _credential(header: bytes) -> str:
    kind, _, value = header.decode("latin-1").partition(" ")
    value = value.strip()
    if kind.lower() == "bearer":
        return value
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            # No base64, or text of another encoding.
            return ""
    return ""


def _operates(method: str, query: bytes) -> bool:
    if method not in ("GET", "HEAD"):
        return True
    asked = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(name in _COSTLY and value.lower() not in _FALSE for name, value in asked)


async def _refuse(scope: HTTPScope, send: Send, status: Literal[401, 403], error: str, message: str) -> None:
    answer = error_answer(
        status,
        {"error": error, "message": message},
        path=scope["path"],
        accept=dict(scope["headers"]).get(b"accept", b"").decode("latin-1"),
        title="A token is needed" if status == 401 else "This token may not do that",
    )
    headers = {"Content-Type": answer.media_type} | answer.headers
    headers |= {"Content-Length": str(len(answer.body)), "Cache-Control": "no-store"}
    raw = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
    if status == 401:
        raw += [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="rosetta"')]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
