"""The API of sources. Each handler reads as the list of its steps."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Response, post, route
from litestar.datastructures import ResponseHeader
from litestar.enums import HttpMethod
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream

from service.cache.digests import LARGE
from service.errors import EntityNotFoundError, SyncError
from service.http import parameters
from service.http.caching_headers import GUESS_NOTHING, headers, matches, uncached_headers, wants_reload
from service.http.compression import form
from service.http.context import AppRequest, encoding_for, may_sync, runtime_of
from service.http.openapi import COUNT, FLAG, ID, TEXT, described, enumeration, named
from service.http.paging import page_links
from service.http.schemas import Details, Source, SyncReport
from service.pages.page import Page
from service.sources.health import LEVELS
from service.sources.overview import SORTS, select

_JSON = MediaType.JSON
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_LARGEST_SKIP = 2**31 - 1

_LIST_HEADERS = [
    ResponseHeader("X-Total-Count", description="how many sources match in all", documentation_only=True),
    ResponseHeader("Link", description="the next and the previous page (RFC 8288)", documentation_only=True),
]

SourceId = Annotated[str, Parameter(description="the source's id", schema_extra=ID)]


def _finished(body: bytes, more: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, media_type=_JSON, headers=GUESS_NOTHING | (more or {}))


async def _page(
    request: AppRequest, page: Page, page_headers: Callable[[str], dict[str, str]], weigh: Callable[[], None]
) -> Response[Any]:
    encoding = encoding_for(request, page)
    if matches(request.headers.get("if-none-match"), page):
        return Response(b"", status_code=304, headers=page_headers(encoding))
    more = {"Content-Encoding": encoding} if encoding else {}
    if request.method == HttpMethod.HEAD and encoding and len(page.body) >= LARGE and not page.is_made(encoding):
        # A large page is not compressed for its length alone, which HEAD may leave out (RFC 9110, section 9.3.2).
        return Stream(iter(()), media_type=_JSON, headers=GUESS_NOTHING | page_headers(encoding) | more)
    return _finished(await form(page, encoding, weigh), page_headers(encoding) | more)


@route(
    "/api/v1/sources",
    http_method=_READ,
    summary="List sources",
    response_headers=_LIST_HEADERS,
    **named("list_sources", "sources"),
    **described(list[Source], 422, 503),
)
async def list_sources(
    request: AppRequest,
    skip: Annotated[
        str | None, Parameter(description="how many sources to skip", schema_extra=COUNT | {"maximum": _LARGEST_SKIP})
    ] = None,
    limit: Annotated[
        str | None, Parameter(description="maximum number of sources", schema_extra=COUNT | {"maximum": 1000})
    ] = None,
    search: Annotated[
        str | None,
        Parameter(
            description="only sources with this in their name, address, state or reasons, in any case",
            schema_extra=TEXT,
        ),
    ] = None,
    level: Annotated[
        str | None,
        QueryParameter(name="state", description="only sources in this state", schema_extra=enumeration(LEVELS)),
    ] = None,
    sort: Annotated[
        str | None,
        Parameter(
            description="by what to sort; state: the worst first; default: name", schema_extra=enumeration(SORTS)
        ),
    ] = None,
) -> Response[bytes]:
    """The sources, as an array. `X-Total-Count` says how many match, and `Link` where the next ones are."""
    first = parameters.count("skip", skip, 0, _LARGEST_SKIP)
    most = parameters.count("limit", limit, 100, 1000)
    state = parameters.choice("state", level, LEVELS, "")
    order = parameters.choice("sort", sort, SORTS, "name")
    wanted = parameters.search("search", search or "")
    runtime = runtime_of(request)
    if wanted or state or order != "name":
        chosen = select(await runtime.overview.sources(), search=wanted, state=state, sort=order).sources
        ids = [source.id for source in chosen[first : first + most]]
        row = await runtime.database.fetch_one("chosen_sources", ids=ids)
        total = len(chosen)
    else:
        row = await runtime.database.fetch_one("sources", skip=first, limit=most)
        total = row["total"] if row else 0
    assert row is not None
    asked = {"search": search, "state": level, "sort": sort}
    return _finished(row["body"], {"X-Total-Count": str(total)} | page_links(asked, first, most, total))


@route(
    "/api/v1/sources/{source_id:str}",
    http_method=_READ,
    summary="One source",
    **named("get_source", "sources"),
    **described(Source, 404, 422, 503),
)
async def get_source(request: AppRequest, source_id: SourceId) -> Response[bytes]:
    """A source without its tables."""
    wanted = parameters.identifier("Source", source_id)
    row = await runtime_of(request).database.fetch_one("source", id=wanted)
    if row is None:
        raise EntityNotFoundError("Source", str(wanted))
    return _finished(row["body"])


@route(
    "/api/v1/sources/{source_id:str}/details",
    http_method=_READ,
    summary="One source's page",
    **named("get_source_details", "sources"),
    **described(Details, 304, 404, 422, 429, 503),
)
async def get_details(
    request: AppRequest,
    source_id: SourceId,
    force_refresh: Annotated[str | None, Parameter(description="sync with the source first", schema_extra=FLAG)] = None,
) -> Response[bytes]:
    """The source, its WAL monitor, its published tables with their schemas, and its destinations."""
    wanted = parameters.identifier("Source", source_id)
    if parameters.boolean("force_refresh", force_refresh):
        return await _synced_details(request, wanted)
    runtime = runtime_of(request)
    pages = runtime.pages
    is_reload = wants_reload(request.headers.get("cache-control"))
    answer = await (pages.reload(wanted) if is_reload else pages.read(wanted))
    runtime.count(wanted, answer)
    if answer.found in ("memory", "redis"):
        runtime.sampler.offer(wanted, answer.page)
    return await _page(
        request,
        answer.page,
        lambda encoding: headers(answer, encoding, bypass=is_reload),
        lambda: pages.memory.weigh(wanted, answer.page),
    )


async def _synced_details(request: AppRequest, source_id: int) -> Response[bytes]:
    runtime = runtime_of(request)
    await may_sync(request)
    try:
        sync = (await runtime.sync(source_id)).body()
    except SyncError as error:
        sync = {"outcome": "failed", "error": error.message}
    answer = await runtime.pages.reload(source_id)
    assert answer.computed is not None
    page = Page(answer.computed.body(sync=sync), answer.page.expires, answer.page.ttl_s)
    return await _page(
        request, page, lambda encoding: uncached_headers(page, encoding, is_stored=answer.is_stored), lambda: None
    )


@post(
    "/api/v1/sources/{source_id:str}/refresh",
    status_code=200,
    summary="Sync one source",
    **named("sync_source", "sources"),
    **described(SyncReport, 404, 422, 429, 502, 503, 504),
)
async def refresh_source(request: AppRequest, source_id: SourceId) -> Response[bytes]:
    """Syncs with the source database and reports what changed. The next read of the page shows it."""
    runtime = runtime_of(request)
    wanted = parameters.identifier("Source", source_id)
    # Only then: a request that is none costs the caller no sync.
    await may_sync(request)
    result = await runtime.synchronizer.sync(wanted)
    runtime.refresher.request()
    return _finished(msgspec.json.encode(result.body()))


@route(
    "/api/v1/sources/{source_id:str}/explanation",
    http_method=_READ,
    summary="Why the page is as it is",
    **named("explain_source", "operations"),
    **described(dict[str, Any], 404, 422, 503),
)
async def explain_source(request: AppRequest, source_id: SourceId) -> Response[bytes]:
    """What this process and Redis hold of the page, in which parts the database says otherwise, and the last evictions.

    Each process answers for itself.
    """
    runtime = runtime_of(request)
    wanted = parameters.identifier("Source", source_id)
    state = await runtime.database.fetch_one("source_state", id=wanted)
    if state is None:
        raise EntityNotFoundError("Source", str(wanted))
    return _finished(msgspec.json.encode({"id": wanted, **state, **await runtime.explainer.explain(wanted)}))


HANDLERS = [explain_source, list_sources, get_source, get_details, refresh_source]
