"""The page of a source, the live stream that keeps it up to date, and the files that pages load."""

from typing import Annotated

from litestar import Response, get, head, post, route
from litestar.enums import HttpMethod
from litestar.params import Parameter
from litestar.response import Stream
from markupsafe import Markup

from service.errors import CrossSiteError, EntityNotFoundError
from service.http import parameters
from service.http.compression import form
from service.http.context import AppRequest, encoding_for, is_cross_site, may_sync, may_watch, runtime_of
from service.http.openapi import FLAG, ID, TEXT, described, named
from service.http.templates import SECURITY_HEADERS, SIGNS, render
from service.web import assets
from service.web.answers import STREAM_HEADERS, html, page_of
from service.web.chart import SHORTEST, SPANS
from service.web.lag import lag_part
from service.web.live import Live
from service.web.portrait import SORTS, Portrait
from service.web.refresh import progress, sync_watched

_READ = [HttpMethod.GET, HttpMethod.HEAD]

Text = Annotated[str, Parameter()]
MaybeText = Annotated[str | None, Parameter()]

_CAME = {
    "memory": "from the cache",
    "redis": "from the cache",
    "computed": "from the database",
    "last known": "from this process, which keeps the last known page",
}


def _live(request: AppRequest) -> Live:
    live: Live = request.app.state.live
    return live


@route("/sources/{source_id:str}/details", http_method=_READ, include_in_schema=False)
async def details_page(
    request: AppRequest,
    source_id: Text,
    search: Text = "",
    sort: Text = "name",
    span: Text = SHORTEST.name,
    fresh: MaybeText = None,
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
    parts = portrait.marked_parts
    shown = SPANS.get(span, SHORTEST)
    if shown is not SHORTEST:
        parts = parts | {"part-lag": await lag_part(runtime.database, wanted, shown)}
    if search or order != "name" or shown is not SHORTEST:
        return await html(request, page_of(_details(portrait, parts, freshness, came, search, order)))
    # The page that everybody looks at is put together and compressed once per state.
    page = portrait.page(came + freshness, lambda: page_of(_details(portrait, parts, freshness, came, "", "name")))
    return await html(request, page)


def _details(portrait: Portrait, parts: dict[str, Markup], freshness: str, came: str, search: str, sort: str) -> str:
    rows = portrait.selected(search, sort)
    return render(
        "details.html",
        name=portrait.name,
        level=portrait.level,
        sign=SIGNS[portrait.level],
        source_id=portrait.source_id,
        version=portrait.version,
        parts=parts,
        freshness=Markup(freshness),  # noqa: S704  # from a template that escapes
        came=came,
        count=len(rows),
        listed=Markup("\n".join(rows)),  # noqa: S704  # from a template that escapes
        search=search,
        sort=sort,
    )


@route("/sources/{source_id:str}/lag", http_method=_READ, include_in_schema=False)
async def lag_fragment(request: AppRequest, source_id: Text, span: Text = SHORTEST.name) -> Response[bytes]:
    """The chart of the lag over a span, for the script of a page."""
    wanted = parameters.identifier("Source", source_id)
    return await html(request, page_of(await lag_part(runtime_of(request).database, wanted, SPANS.get(span, SHORTEST))))


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
        return Stream(progress(runtime, wanted), media_type="text/event-stream", headers=STREAM_HEADERS)
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
    **named("watch_source", "sources"),
    summary="Live changes of a page",
    media_type="text/event-stream",
    **described(str, 403, 404, 422, 503, media_type="text/event-stream"),
)
async def events(
    request: AppRequest,
    source_id: Annotated[str, Parameter(description="the source's id", schema_extra=ID)],
    since: Annotated[
        str | None,
        Parameter(description="the version that the client shows; Last-Event-ID takes precedence", schema_extra=TEXT),
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
    return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS)


@head("/api/v1/sources/{source_id:str}/events", include_in_schema=False)
async def events_head(request: AppRequest, source_id: Text) -> Response[None]:
    """The headers of such a stream, which would have no end."""
    await _live(request).portrait(parameters.identifier("Source", source_id))
    return Response(None, headers=STREAM_HEADERS, media_type="text/event-stream")


HANDLERS = [details_page, lag_fragment, refresh_page, asset, events, events_head]
