"""Answers pages from the process cache before the framework: the same responses at a fraction of the cost.

Anything but a plain GET of a page in the process cache goes on to the framework.
"""

import re
from time import monotonic

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from service.http import request_log
from service.http.caching_headers import hit_headers, matches, page_headers
from service.http.compression import chosen, form
from service.pages.page import Page
from service.runtime import Runtime

_PATH = re.compile(r"/api/v1/sources/([1-9][0-9]{0,9})/details")


class HotPath:
    """An ASGI application in front of another one."""

    def __init__(self, app: ASGIApp, runtime: Runtime, *, is_cross_origin: bool) -> None:
        self._app = app
        self._hits = runtime.metrics.served.labels("memory")
        self._responses = {status: runtime.metrics.responses.labels(str(status)) for status in (200, 304)}
        self._sampler = runtime.sampler
        self._warming = runtime.warming
        self._memory = runtime.pages.memory
        self._is_verbose = request_log.is_verbose()
        # Requests from other sites' pages need CORS headers, which the framework adds.
        self._shuns = {b"cache-control", b"origin"} if is_cross_origin else {b"cache-control"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers from the process cache if possible."""
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET" and not scope["query_string"]:
            found = _PATH.fullmatch(scope["path"])
            if found is not None and (page := self._memory.get(int(found[1]))):
                wishes = dict(scope["headers"])
                if self._shuns.isdisjoint(wishes):
                    await self._answer(scope, send, int(found[1]), page, wishes)
                    return
        await self._app(scope, receive, send)

    async def _answer(
        self, scope: HTTPScope, send: Send, source_id: int, page: Page, wishes: dict[bytes, bytes]
    ) -> None:
        started = monotonic()
        encoding = chosen(page, wishes.get(b"accept-encoding", b""))
        status, body = 304, b""
        known = wishes.get(b"if-none-match")
        if known is None or not matches(known.decode("latin-1"), page):
            status = 200
            body = await form(page, encoding, lambda: self._memory.weigh(source_id, page))
        headers = hit_headers(page, encoding)
        if status == 200:
            headers = [*page_headers(encoding), (b"content-length", b"%d" % len(body)), *headers]
        # A request id is for the log: without a log line only the caller's own id is useful.
        given = wishes.get(b"x-request-id")
        if given is not None or self._is_verbose:
            given = request_log.request_id(given or b"")
            headers = [*headers, (b"x-request-id", given)]
        self._hits.inc()
        self._responses[status].inc()
        self._warming.touch(source_id)
        self._sampler.offer(source_id, page)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        if self._is_verbose:
            request_log.write("debug", scope, started, status=status, request_id=(given or b"").decode())
