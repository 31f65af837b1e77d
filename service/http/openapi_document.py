"""The OpenAPI document as it is served: no operation of HEAD is in it, and HEAD is answered for it."""

from typing import Any

from litestar import Request
from litestar.enums import HttpMethod, ScopeType
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ASGIApp, Message, Receive, Scope, Send


class Document(JsonRenderPlugin):
    """The OpenAPI document, without a double of every GET for HEAD."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document as JSON."""
        return super().render(request, without_heads(openapi_schema))


def without_heads(document: dict[str, Any]) -> dict[str, Any]:
    """The same document without the operations of HEAD."""
    paths = {
        path: {method: operation for method, operation in item.items() if method != "head"}
        for path, item in document["paths"].items()
    }
    return document | {"paths": paths}


def with_heads_of_schema(app: ASGIApp) -> ASGIApp:
    """Answers HEAD for the OpenAPI documents, which the framework itself serves to GET alone."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD" or not scope["path"].startswith("/schema"):
            await app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        await app({**scope, "method": HttpMethod.GET}, receive, send_head)

    return asked
