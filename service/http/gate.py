"""Access control: tokens with a scope. The settings hold only their hashes.

A client sends `Authorization: Bearer TOKEN` (RFC 6750). A person's browser sends the token as the password of HTTP
Basic (RFC 7617), with any user name.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from service.config.tokens import Token, digest
from service.http.refusals import Headers, Refusals
from service.http.request_log import shown_client

# For load balancers, and for pages before their first request.
_OPEN = re.compile(r"/health/(live|ready)|/assets/.*")
_CHALLENGES: Headers = [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="rosetta"')]
# Parameters that make the service call a source for a GET.
_COSTLY = {"force_refresh", "refresh"}
_FALSE = {"false", "0", "off", "no", "n", "f"}


def is_known(scope: Any) -> bool:
    """Whether the request has a valid token."""
    return "rosetta_caller" in scope


def caller(scope: Any) -> str:
    """Who made a request: the token's name, or else the client's address, as a trusted proxy says if there is one."""
    named: str | None = scope.get("rosetta_caller")
    return named or shown_client(scope)


class Gate:
    """An ASGI application that passes on only what a token allows."""

    def __init__(self, app: ASGIApp, tokens: Sequence[Token], refusals: Refusals) -> None:
        self._app = app
        self._tokens = tokens
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 without a valid token, and 403 if its scope is not enough."""
        if scope["type"] != ScopeType.HTTP or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        token = self._find(dict(scope["headers"]).get(b"authorization", b""))
        if token is None and _OPEN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
        elif token is None:
            await self._refusals.answer(
                scope,
                send,
                why="token",
                status=401,
                error="UnauthorizedError",
                message="a token is needed: Authorization: Bearer TOKEN",
                title="A token is needed",
                more=_CHALLENGES,
            )
        elif token.scope == "read" and _operates(scope["method"], scope["query_string"]):
            await self._refusals.answer(
                scope,
                send,
                why="scope",
                status=403,
                error="ForbiddenError",
                message="this token may only read; a sync needs one of scope operate",
                title="This token may not do that",
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
