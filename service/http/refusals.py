"""Requests that are refused in front of the framework: answered, counted, and logged a limited number of times."""

from typing import Literal

import structlog
from litestar.config.cors import CORSConfig
from litestar.types import HTTPScope, Send

from service.http.error_answers import error_answer
from service.http.request_log import shown_client, shown_path
from service.telemetry.metrics import Metrics
from service.telemetry.rare_lines import RareLines

Headers = list[tuple[bytes, bytes]]
Why = Literal["token", "scope", "host"]


class Refusals:
    """Refuses requests. `cors` as the framework has it: a page that may read answers may read refusals."""

    def __init__(self, metrics: Metrics, cors: CORSConfig | None) -> None:
        self._metrics = metrics
        self._cors = cors
        self._lines = RareLines()

    async def answer(
        self,
        scope: HTTPScope,
        send: Send,
        *,
        why: Why,
        status: int,
        error: str,
        message: str,
        title: str,
        more: Headers | None = None,
    ) -> None:
        """Sends the refusal. `title` is that of its page for a person."""
        sent = dict(scope["headers"])
        self._metrics.responses.labels(str(status)).inc()
        self._metrics.refusals.labels(why).inc()
        if (left_out := self._lines.next(why)) is not None:
            structlog.get_logger().warning(
                "refused",
                why=why,
                method=scope["method"],
                path=shown_path(scope),
                client=shown_client(scope),
                left_out=left_out,
            )
        answer = error_answer(
            status,
            {"error": error, "message": message},
            path=scope["path"],
            accept=sent.get(b"accept", b"").decode("latin-1"),
            title=title,
        )
        headers = {"Content-Type": answer.media_type} | answer.headers
        headers |= {"Content-Length": str(len(answer.body)), "Cache-Control": "no-store"}
        headers |= self._cross_origin(sent.get(b"origin", b"").decode("latin-1"))
        raw = [(name.lower().encode(), text.encode("latin-1")) for name, text in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw + (more or [])})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _cross_origin(self, origin: str) -> dict[str, str]:
        if self._cors is None or not self._cors.is_origin_allowed(origin):
            return {}
        return self._cors.simple_headers | {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
