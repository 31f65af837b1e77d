"""The web pages, and the live streams that keep them up to date."""

from time import monotonic
from typing import Annotated

from litestar import Response, get, head, post, route
from litestar.enums import HttpMethod
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from markupsafe import Markup

from service.errors import CrossSiteError, EntityNotFoundError
from service.http import parameters
from service.http.caching_headers import etag, matches
from service.http.compression import form
from service.http.context import AppRequest, encoding_for, is_cross_site, may_sync, may_watch, runtime_of
from service.http.openapi import FLAG, ID, described
from service.http.templates import SECURITY_HEADERS, SIGNS, render
from service.pages.page import Page
from service.sources.health import LEVELS
from service.sources.schema_diff import version_difference
from service.web import assets
from service.web.live import Live
from service.web.overview import SORTS as SORTED_BY
from service.web.overview import Overview, select
from service.web.portrait import SORTS, Portrait
from service.web.refresh import progress, sync_watched

_READ = [HttpMethod.GET, HttpMethod.HEAD]
_LISTED = 100
_VERSIONS = 20
_LARGEST_SKIP = 2**31 - 1

Text = Annotated[str, Parameter()]
MaybeText = Annotated[str | None, Parameter()]

_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CAME = {
    "memory": "from the cache",
    "redis": "from the cache",
    "computed": "from the database",
    "last known": "from this process, which keeps the last known page",
}


def _live(request: AppRequest) -> Live:
    live: Live = request.app.state.live
    return live


async def _html(request: AppRequest, page: Page) -> Response[bytes]:
    encoding = encoding_for(request, page)
    headers = SECURITY_HEADERS | {"ETag": etag(page, encoding)}
    if matches(request.headers.get("if-none-match"), page):
        return Response(b"", status_code=304, headers=headers, media_type="text/html")
    if encoding:
        headers["Content-Encoding"] = encoding
    return Response(await form(page, encoding, lambda: None), headers=headers, media_type="text/html")


def _page(text: str) -> Page:
    return Page(text.encode(), monotonic(), 0)


@route("/", http_method=_READ, include_in_schema=False)
async def list_page(
    request: AppRequest,
    q: Text = "",
    level: Annotated[str, QueryParameter(name="state")] = "",
    sort: Text = "state",
    skip: MaybeText = None,
) -> Response[bytes]:
    """The list of sources, the worst first."""
    first = parameters.count("skip", skip, 0, _LARGEST_SKIP)
    overview: Overview = request.app.state.overview
    sources = await overview.sources()
    chosen = {"q": parameters.search("q", q), "state": level if level in LEVELS else "", "sort": "state"}
    if sort in SORTED_BY:
        chosen["sort"] = sort
    selection = select(sources, search=chosen["q"], state=chosen["state"], sort=chosen["sort"])
    matching = len(selection.sources)
    text = render(
        "sources.html",
        sources=selection.sources[first : first + _LISTED],
        chosen=chosen,
        counts=selection.counts,
        found=selection.found,
        total=len(sources),
        first=first,
        matching=matching,
        before=max(first - _LISTED, 0) if first else None,
        after=first + _LISTED if first + _LISTED < matching else None,
    )
    return await _html(request, _page(text))


@route("/sources/{source_id:str}/details", http_method=_READ, include_in_schema=False)
async def details_page(
    request: AppRequest, source_id: Text, q: Text = "", sort: Text = "name", fresh: MaybeText = None
) -> Response[bytes]:
    """One source."""
    runtime = runtime_of(request)
    wanted = parameters.identifier("Source", source_id)
    # Another site's page must not make us read past the caches.
    is_reload = parameters.boolean("fresh", fresh) and not is_cross_site(request)
    portrait, answer = await _live(request).portrait(wanted, reload=is_reload)
    runtime.count(wanted, answer)
    order = sort if sort in SORTS else "name"
    freshness, came = _live(request).freshness(portrait, answer), _CAME[answer.found]
    if q or order != "name":
        return await _html(request, _page(_details(portrait, freshness, came, q, order)))
    # The page that everybody looks at is put together and compressed once per state.
    page = portrait.page(came + freshness, lambda: _page(_details(portrait, freshness, came, "", "name")))
    return await _html(request, page)


def _details(portrait: Portrait, freshness: str, came: str, search: str, sort: str) -> str:
    rows = portrait.selected(search, sort)
    return render(
        "details.html",
        name=portrait.name,
        level=portrait.level,
        sign=SIGNS[portrait.level],
        source_id=portrait.source_id,
        version=portrait.version,
        parts=portrait.marked_parts,
        freshness=Markup(freshness),  # noqa: S704  # from a template that escapes
        came=came,
        count=len(rows),
        listed=Markup("\n".join(rows)),  # noqa: S704  # from a template that escapes
        search=search,
        sort=sort,
    )


@route("/sources/tables/{table_id:str}", http_method=_READ, include_in_schema=False)
async def table_page(
    request: AppRequest, table_id: Text, before: MaybeText = None, fragment: MaybeText = None
) -> Response[bytes]:
    """The columns of a table, and what each version changed."""
    wanted = parameters.identifier("Table", table_id)
    highest = parameters.count("before", before, 0, _LARGEST_SKIP) - 1 if before is not None else None
    # One more than is shown, for the difference of the oldest version shown.
    row = await runtime_of(request).database.fetch_one(
        "table_versions", id=wanted, highest=highest, count=_VERSIONS + 1
    )
    if row is None:
        raise EntityNotFoundError("Table", str(wanted))
    known = row["versions"]
    shown = known[:_VERSIONS]
    for number, version in enumerate(shown):
        version["difference"] = version_difference(known[number + 1] if number + 1 < len(known) else None, version)
    text = render(
        "table.html",
        is_fragment=parameters.boolean("fragment", fragment),
        source_id=row["source_id"],
        table_id=wanted,
        table_name=row["table_name"],
        latest=row["latest"],
        replication=known[0]["replication"] if known and highest is None else None,
        versions=shown,
        earlier=shown[-1]["version"] if len(known) > len(shown) else None,
    )
    return await _html(request, _page(text))


@post("/sources/{source_id:str}/refresh", status_code=200, include_in_schema=False)
async def refresh_page(request: AppRequest, source_id: Text) -> Response[bytes] | Stream:
    """Syncs with the source, and answers with a page, or with events about its progress for the script."""
    if is_cross_site(request):
        # A form of another site: no setting allows an origin to send it.
        raise CrossSiteError
    runtime = runtime_of(request)
    wanted = parameters.identifier("Source", source_id)
    await may_sync(request)
    portrait, _ = await _live(request).portrait(wanted)
    if "text/event-stream" in request.headers.get("accept", ""):
        return Stream(progress(runtime, wanted), media_type="text/event-stream", headers=_STREAM_HEADERS)
    outcome = await sync_watched(runtime, wanted)
    text = render("outcome.html", is_fragment=False, name=portrait.name, source_id=wanted, **outcome.facts)
    return Response(
        text.encode(),
        status_code=outcome.status,
        headers=SECURITY_HEADERS | {"Cache-Control": "no-store"},
        media_type="text/html",
    )


@route("/assets/{digest:str}/{name:str}", http_method=_READ, include_in_schema=False)
async def asset(request: AppRequest, digest: Text, name: Text) -> Response[bytes]:
    """The script, the style sheet, the icon."""
    held = assets.found(digest, name)
    if held is None:
        raise EntityNotFoundError("File", name)
    page, headers = held
    encoding = encoding_for(request, page)
    more = {"Content-Encoding": encoding} if encoding else {}
    body = await form(page, encoding, lambda: None)
    return Response(body, headers=headers | more | {"Vary": "accept-encoding"}, media_type=headers["Content-Type"])


@get(
    "/api/v1/sources/{source_id:str}/events",
    summary="Live changes of a page",
    media_type="text/event-stream",
    **described(str, 403, 404, 422, 503, media_type="text/event-stream"),
)
async def events(
    request: AppRequest,
    source_id: Annotated[str, Parameter(description="the source's id", schema_extra=ID)],
    since: Annotated[
        str | None, Parameter(description="the version that the client shows; Last-Event-ID takes precedence")
    ] = None,
    parts: Annotated[str | None, Parameter(description="include the HTML of what changed", schema_extra=FLAG)] = None,
) -> Stream:
    """Server-sent events: `hello`, `changed` (which parts), `whole` (read everything again), `trouble`, `gone`.

    The id of a `changed` event is the version that it leads to. A client that reconnects with it as Last-Event-ID
    receives what it missed. `beat` if nothing happens for 5 s.
    """
    may_watch(request)
    stream = await _live(request).open(
        parameters.identifier("Source", source_id),
        request.headers.get("last-event-id", since),
        with_parts=parameters.boolean("parts", parts),
    )
    return Stream(stream, media_type="text/event-stream", headers=_STREAM_HEADERS)


@head("/api/v1/sources/{source_id:str}/events", include_in_schema=False)
async def events_head(request: AppRequest, source_id: Text) -> Response[None]:
    """The headers of such a stream, which would have no end."""
    await _live(request).portrait(parameters.identifier("Source", source_id))
    return Response(None, headers=_STREAM_HEADERS, media_type="text/event-stream")


HANDLERS = [list_page, details_page, table_page, refresh_page, asset, events, events_head]
