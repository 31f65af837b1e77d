"""The web application: routes, errors as JSON, and the hot path in front of them."""

from typing import Any

import structlog
from litestar import Litestar, MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin

import service
from service.errors import ServiceError
from service.hot_path import HotPath
from service.request_log import log_requests
from service.routes import HANDLERS
from service.runtime import Runtime


def build(runtime: Runtime) -> HotPath:
    """The application over a runtime that somebody else starts and stops."""
    framework = Litestar(
        route_handlers=HANDLERS,
        state=State({"runtime": runtime}),
        exception_handlers={ServiceError: _answer_error, HTTPException: _answer_http_error, Exception: _answer_failure},
        middleware=[log_requests],
        openapi_config=OpenAPIConfig(
            title="Rosetta source details",
            version=service.__version__,
            path="/schema",
            render_plugins=[JsonRenderPlugin(), SwaggerRenderPlugin()],
        ),
        logging_config=None,
        debug=False,
    )
    return HotPath(framework, runtime)


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
