"""The HTTP interface. Each handler reads as the list of its steps."""

import json
from collections.abc import Callable
from time import monotonic
from typing import Annotated, Any

from litestar import MediaType, Request, Response, get, post, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from service import parameters
from service.caching_headers import headers, matches, uncached_headers, wants_fresh
from service.compression import chosen, form
from service.errors import EntityNotFoundError, SyncError
from service.memory import Page
from service.runtime import Runtime

_JSON = MediaType.JSON
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_LARGEST_SKIP = 2**31 - 1

SourceId = Annotated[str, Parameter(description="the source's id, an integer")]
AppRequest = Request[Any, Any, State]


def _responses(*statuses: int) -> dict[int, ResponseSpec]:
    meanings = {
        304: "the client has this page already",
        404: "there is no such source",
        422: "a parameter is not what it has to be",
        502: "the source database cannot be reached",
        503: "the config database cannot be reached, or is busy with this source",
        504: "the sync takes longer than its budget, and goes on",
    }
    return {
        status: ResponseSpec(
            data_container=dict[str, Any] if status != 304 else None,
            generate_examples=False,
            description=meanings[status],
        )
        for status in statuses
    }


def _runtime(request: AppRequest) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def _finished(body: bytes, more: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, media_type=_JSON, headers=more)


async def _page(
    request: AppRequest, page: Page, page_headers: Callable[[str], dict[str, str]], weigh: Callable[[], None]
) -> Response[bytes]:
    encoding = chosen(page, request.headers.get("accept-encoding", "").encode("latin-1"))
    if matches(request.headers.get("if-none-match"), page):
        return Response(b"", status_code=304, headers=page_headers(encoding))
    more = {"Content-Encoding": encoding} if encoding else {}
    return _finished(await form(page, encoding, weigh), page_headers(encoding) | more)


@route("/api/v1/sources", http_method=_READ, summary="List sources", responses=_responses(422, 503))
async def list_sources(
    request: AppRequest,
    skip: Annotated[str | None, Parameter(description="how many to leave out")] = None,
    limit: Annotated[str | None, Parameter(description="how many at most, up to 1000")] = None,
) -> Response[bytes]:
    """The sources, oldest first, as an array."""
    row = await _runtime(request).database.fetch_patiently(
        "sources",
        skip=parameters.count("skip", skip, 0, _LARGEST_SKIP),
        limit=parameters.count("limit", limit, 100, 1000),
    )
    assert row is not None
    return _finished(row["body"])


@route("/api/v1/sources/{source_id:str}", http_method=_READ, summary="One source", responses=_responses(404, 422, 503))
async def get_source(request: AppRequest, source_id: SourceId) -> Response[bytes]:
    """A source's own facts."""
    wanted = parameters.source_id(source_id)
    row = await _runtime(request).database.fetch_patiently("source", id=wanted)
    if row is None:
        raise EntityNotFoundError("Source", str(wanted))
    return _finished(row["body"])


@route(
    "/api/v1/sources/{source_id:str}/details",
    http_method=_READ,
    summary="One source's page",
    responses=_responses(304, 404, 422, 503),
)
async def get_details(
    request: AppRequest,
    source_id: SourceId,
    force_refresh: Annotated[str | None, Parameter(description="sync with the source first: true or false")] = None,
) -> Response[bytes]:
    """The source, its WAL monitor, its published tables with their schemas, and its destinations."""
    wanted = parameters.source_id(source_id)
    if parameters.boolean("force_refresh", force_refresh):
        return await _synced_details(request, wanted)
    runtime = _runtime(request)
    details = runtime.details
    fresh = wants_fresh(request.headers.get("cache-control"))
    answer = await (details.read_fresh(wanted) if fresh else details.read(wanted))
    runtime.count(answer)
    if answer.found in ("memory", "redis"):
        runtime.sampler.offer(wanted, answer.page)
    return await _page(
        request,
        answer.page,
        lambda encoding: headers(answer, encoding, bypass=fresh),
        lambda: details.memory.weigh(wanted, answer.page),
    )


async def _synced_details(request: AppRequest, source_id: int) -> Response[bytes]:
    runtime = _runtime(request)
    try:
        report = await runtime.synchronizer.sync(source_id)
        sync = report.body()
        # Where nothing changed the view has nothing to catch up with; other sources' changes are no reason to wait.
        if report.count:
            started = monotonic()
            sync["view_refreshed"] = await runtime.refresher.wait_until_covered(runtime.refresh_wait_s)
            sync["phases_ms"]["refresh"] = round((monotonic() - started) * 1000, 3)
    except SyncError as error:
        sync = {"outcome": "failed", "error": error.message}
    answer = await runtime.details.read_fresh(source_id)
    assert answer.computed is not None
    page = Page(answer.computed.body(sync=sync), answer.page.expires, answer.page.ttl_s)
    return await _page(
        request, page, lambda encoding: uncached_headers(page, encoding, is_stored=answer.is_stored), lambda: None
    )


@post(
    "/api/v1/sources/{source_id:str}/refresh",
    status_code=200,
    summary="Sync one source",
    responses=_responses(404, 422, 502, 503, 504),
)
async def refresh_source(request: AppRequest, source_id: SourceId) -> Response[bytes]:
    """Syncs with the source database and says what changed. The next read of the page shows it."""
    runtime = _runtime(request)
    report = await runtime.synchronizer.sync(parameters.source_id(source_id))
    runtime.refresher.request()
    return _finished(json.dumps(report.body()).encode())


@get("/health/live", summary="Is the process alive")
async def live() -> dict[str, str]:
    """Answers as long as the process runs."""
    return {"status": "live"}


@get("/health/ready", summary="Can pages be answered, and how well", responses=_responses(503))
async def ready(request: AppRequest) -> Response[dict[str, Any]]:
    """Each dependency with its state, and what is degraded; 503 while the config database cannot be reached."""
    report = await _runtime(request).health()
    return Response(report, status_code=200 if report["status"] != "unavailable" else 503)


@get("/metrics", summary="Metrics for Prometheus", media_type=MediaType.TEXT)
async def metrics(request: AppRequest) -> Response[bytes]:
    """In Prometheus's text format."""
    return Response(_runtime(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


HANDLERS = [list_sources, get_source, get_details, refresh_source, live, ready, metrics]
