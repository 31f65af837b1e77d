"""The web application: routes, errors as JSON, one log line and one id per request."""

import re
import secrets
from time import monotonic
from typing import Any

import structlog
from litestar import Litestar, MediaType, Request, Response
from litestar.datastructures import MutableScopeHeaders, State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.types import ASGIApp, Message, Receive, Scope, Send

import service
from service.errors import ServiceError
from service.routes import HANDLERS
from service.runtime import Runtime

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def build(runtime: Runtime) -> Litestar:
    """The application over a runtime that somebody else starts and stops."""
    return Litestar(
        route_handlers=HANDLERS,
        state=State({"runtime": runtime}),
        exception_handlers={ServiceError: _answer_error, HTTPException: _answer_http_error, Exception: _answer_failure},
        middleware=[_log_requests],
        openapi_config=OpenAPIConfig(
            title="Rosetta source details",
            version=service.__version__,
            path="/schema",
            render_plugins=[JsonRenderPlugin(), SwaggerRenderPlugin()],
        ),
        logging_config=None,
        debug=False,
    )


def _answer_error(_: Request[Any, Any, State], error: ServiceError) -> Response[dict[str, Any]]:
    return Response(error.body(), status_code=error.status, headers=error.headers, media_type=MediaType.JSON)


def _answer_http_error(_: Request[Any, Any, State], error: HTTPException) -> Response[dict[str, Any]]:
    kinds = {404: "NotFound", 405: "MethodNotAllowed"}
    kind = kinds.get(error.status_code, "ValidationError" if error.status_code < 500 else "InternalError")
    status = 422 if error.status_code == 400 else error.status_code
    body = {"error": kind, "message": error.detail}
    return Response(body, status_code=status, headers=error.headers or {}, media_type=MediaType.JSON)


def _answer_failure(request: Request[Any, Any, State], error: Exception) -> Response[dict[str, Any]]:
    structlog.get_logger().error("request failed", path=request.url.path, exc_info=error)
    body = {"error": "InternalError", "message": "the request failed for a reason that is in the service's log"}
    return Response(body, status_code=500, media_type=MediaType.JSON)


def _log_requests(app: ASGIApp) -> ASGIApp:
    log = structlog.get_logger()

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        started = monotonic()
        facts: dict[str, Any] = {}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                headers["X-Request-ID"] = request_id
                facts.update(status=message["status"], cache=headers.get("cache-status"))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await app(scope, receive, send_with_id)
            finally:
                took_ms = round((monotonic() - started) * 1000, 3)
                log.info("request", method=scope["method"], path=scope["path"][:200], took_ms=took_ms, **facts)

    return logged
