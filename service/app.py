"""The application: the handlers, the gate and the hot path in front of them, and the answers to errors."""

import asyncio
from typing import Any, NamedTuple

import structlog
from litestar import Litestar, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.types import ASGIApp

import service
from service.config import tokens
from service.config.settings import Settings
from service.errors import ServiceError
from service.http import activity, find, notices, operations, sources, tables, timeline
from service.http.context import AppRequest
from service.http.error_answers import error_answer
from service.http.gate import Gate
from service.http.host_names import HostNames
from service.http.hot_path import HotPath
from service.http.openapi import CHAPTERS
from service.http.openapi_document import Document, with_heads_of_schema
from service.http.refusals import Refusals
from service.http.request_log import log_requests
from service.http.root_path import below
from service.runtime import Runtime
from service.web import activity_view, docs_view, find_view, list_view, notices_view, table_view, timeline_view, views
from service.web.live import Live
from service.web.lobby import Lobby
from service.web.seats import Seats


class App(NamedTuple):
    """The application as a server runs it (`asgi`), and its open pages."""

    asgi: ASGIApp
    live: Live


_API = [
    *sources.HANDLERS,
    *tables.HANDLERS,
    *find.HANDLERS,
    *activity.HANDLERS,
    *timeline.HANDLERS,
    *notices.HANDLERS,
    *operations.HANDLERS,
]
_PAGES = [
    *list_view.HANDLERS,
    *views.HANDLERS,
    *table_view.HANDLERS,
    *timeline_view.HANDLERS,
    *activity_view.HANDLERS,
    *notices_view.HANDLERS,
    *find_view.HANDLERS,
    *docs_view.HANDLERS,
]


def build(runtime: Runtime, settings: Settings) -> App:
    """The application over a runtime that its caller starts and stops."""

    known_tokens = tokens.parse(settings.access_tokens)
    origins = settings.cors_origin_list
    cors = _cors(origins)
    refusals = Refusals(runtime.metrics, cors)
    seats = Seats(settings.most_streams)
    live = Live(runtime.database, runtime.pages, runtime.connections, runtime.observer, seats)
    lobby = Lobby(seats, runtime.observer)
    runtime.metrics.gauge("live_streams", "open pages and other live streams", lambda: seats.taken)
    runtime.metrics.gauge("tasks", "asyncio tasks that have not ended", lambda: len(asyncio.all_tasks()))
    # A server that stops waits for its connections, and a live stream has no end of its own.
    runtime.on_stopping(live.close)
    runtime.on_stopping(lobby.close)

    framework = Litestar(
        route_handlers=[*_API, *_PAGES],
        state=State(
            {
                "runtime": runtime,
                "live": live,
                "lobby": lobby,
                "origins": origins,
                "is_guarded": bool(known_tokens),
            }
        ),
        exception_handlers={ServiceError: _answer_error, HTTPException: _answer_http_error, Exception: _answer_failure},
        cors_config=cors,
        openapi_config=OpenAPIConfig(
            title="Rosetta source details",
            version=service.__version__,
            servers=[Server(url=settings.root_path or "/")],
            path="/schema",
            # Litestar's own documentation pages load their scripts from other hosts: /docs is ours.
            render_plugins=[Document()],
            tags=CHAPTERS,
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer"),
                    "basic": SecurityScheme(
                        type="http", scheme="basic", description="the token as the password, with any user name"
                    ),
                }
            ),
            # No token is needed on loopback, or if something else guards the service.
            security=[{}, {"bearer": []}, {"basic": []}],
        ),
        logging_config=None,
        debug=False,
    )

    def count(status: int) -> None:
        runtime.metrics.responses.labels(str(status)).inc()

    # The framework's own middleware does not see a path that no handler has.
    logged = log_requests(with_heads_of_schema(framework), count)
    asgi: ASGIApp = HotPath(logged, runtime, is_cross_origin=bool(origins))
    if known_tokens:
        asgi = Gate(asgi, known_tokens, refusals)
    if not known_tokens or settings.host_name_list:
        asgi = HostNames(asgi, settings.host_name_list, refusals)
    return App(below(asgi, settings.root_path) if settings.root_path else asgi, live)


def _cors(origins: list[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        # Those that no path has too: a page gets our 404, and not a network error.
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Cache-Control",
            "Content-Type",
            "If-None-Match",
            "Last-Event-ID",
            "X-Request-ID",
        ],
        expose_headers=["Age", "Cache-Status", "ETag", "Link", "Retry-After", "X-Request-ID", "X-Total-Count"],
        max_age=600,
    )


def _answer_error(request: AppRequest, error: ServiceError) -> Response[bytes]:
    return _answer(request, error.status, error.body(), error.headers)


def _answer_http_error(request: AppRequest, error: HTTPException) -> Response[bytes]:
    status = 422 if error.status_code == 400 else error.status_code
    message = error.detail
    is_api = request.scope["path"].startswith("/api")
    if status == 405 and is_api:
        # The platform's application answers 404 to every method that a path does not have.
        status, message = 404, "Not Found"
    elif status == 404 and not is_api:
        message = "there is no page at this address"
    kinds = {404: "NotFound", 405: "MethodNotAllowed"}
    kind = kinds.get(status, "ValidationError" if status < 500 else "InternalError")
    return _answer(request, status, {"error": kind, "message": message}, error.headers or {})


def _answer_failure(request: AppRequest, error: Exception) -> Response[bytes]:
    structlog.get_logger().error("request failed", path=request.url.path, exc_info=error)
    message = "the request failed; the service's log has the reason"
    return _answer(request, 500, {"error": "InternalError", "message": message}, {})


def _answer(request: AppRequest, status: int, content: dict[str, Any], headers: dict[str, str]) -> Response[bytes]:
    answer = error_answer(status, content, path=request.scope["path"], accept=request.headers.get("accept", ""))
    return Response(answer.body, status_code=status, headers=answer.headers | headers, media_type=answer.media_type)
