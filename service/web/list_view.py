"""The page with the list of sources, and the stream that keeps it up to date."""

from typing import Annotated

from litestar import Response, get, head, route
from litestar.enums import HttpMethod
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream

from service.http import parameters
from service.http.context import AppRequest, may_watch, runtime_of
from service.http.openapi import described, named
from service.http.templates import render
from service.sources.health import LEVELS
from service.sources.overview import SORTS, select
from service.web.answers import STREAM_HEADERS, html, page_of
from service.web.lobby import Lobby

_READ = [HttpMethod.GET, HttpMethod.HEAD]
_LISTED = 100
_LARGEST_SKIP = 2**31 - 1

Text = Annotated[str, Parameter()]


@route("/", http_method=_READ, include_in_schema=False)
async def list_page(
    request: AppRequest,
    search: Text = "",
    level: Annotated[str, QueryParameter(name="state")] = "",
    sort: Text = "",
    skip: Annotated[str | None, Parameter()] = None,
) -> Response[bytes]:
    """The list of sources, the worst first."""
    first = parameters.count("skip", skip, 0, _LARGEST_SKIP)
    sources = await runtime_of(request).overview.sources()
    chosen = {
        "search": parameters.search("search", search),
        "state": level if level in LEVELS else "",
        # The first order is not in the URL.
        "sort": sort if sort in SORTS and sort != "state" else "",
    }
    selection = select(sources, search=chosen["search"], state=chosen["state"], sort=chosen["sort"] or "state")
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
    return await html(request, page_of(text))


@get(
    "/api/v1/events",
    **named("watch_sources", "sources"),
    summary="Live changes of the list of sources",
    media_type="text/event-stream",
    **described(str, 403, 503, media_type="text/event-stream"),
)
async def list_events(request: AppRequest) -> Stream:
    """Server-sent events: `hello`, `changed` (some source has changed: read the list again), `beat` if nothing happens
    for 5 s, and `gone`."""
    may_watch(request)
    lobby: Lobby = request.app.state.lobby
    return Stream(lobby.open(), media_type="text/event-stream", headers=STREAM_HEADERS)


@head("/api/v1/events", include_in_schema=False)
async def list_events_head() -> Response[None]:
    """The headers of such a stream, which would have no end."""
    return Response(None, headers=STREAM_HEADERS, media_type="text/event-stream")


HANDLERS = [list_page, list_events, list_events_head]
