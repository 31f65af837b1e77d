"""`python -m tests.bench.beside KIND BYTES PORT`: servers that do nothing but answer, to measure ours against.

`bare` is an ASGI function, `framework` a Litestar handler, both with constant bytes; `unchanged` a bare 304. All on the
same server and event loop as `rosetta serve`.
"""

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop
from litestar import Litestar, MediaType, Response, get


def application(kind: str, size: int) -> Any:
    """The ASGI application of that kind."""
    body = b"x" * size
    if kind == "framework":

        @get("/")
        async def constant() -> Response[bytes]:
            return Response(body, media_type=MediaType.JSON)

        return Litestar([constant], openapi_config=None, logging_config=None)

    status = 304 if kind == "unchanged" else 200
    headers = [(b"content-type", b"application/json")]
    if kind != "unchanged":
        headers.append((b"content-length", str(size).encode()))
    start = {"type": "http.response.start", "status": status, "headers": headers}
    finish = {"type": "http.response.body", "body": b"" if kind == "unchanged" else body}

    async def bare(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start)
        await send(finish)

    return bare


def main() -> None:
    kind, size, port = sys.argv[1:]
    config = uvicorn.Config(
        application(kind, int(size)), port=int(port), log_config=None, access_log=False, lifespan="off",
        server_header=False,
    )  # fmt: skip
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
