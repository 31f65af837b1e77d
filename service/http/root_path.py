"""The service below a path of another site, such as https://control.example.com/rosetta/.

Links are relative: they lead to the right place whatever stands before them.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


def below(app: ASGIApp, root: str) -> ASGIApp:
    """Takes `root` (`/rosetta`) off each path. A request without it goes on as it is: health checks need no proxy."""

    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"] == root:
            # Without the slash, relative links would lead to the site above.
            head = [(b"location", root.encode() + b"/"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 308, "headers": head})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(f"{root}/"):
            scope["path"] = scope["path"].removeprefix(root)
            scope["raw_path"] = scope["raw_path"].removeprefix(root.encode())
        await app(scope, receive, send)

    return stripped
