"""The page of a source's timeline."""

from typing import Annotated

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.config.webhooks import KINDS
from service.http import parameters
from service.http.context import AppRequest, runtime_of
from service.http.templates import render
from service.http.timeline import LARGEST_ENTRY
from service.sources.timeline import timeline
from service.web.answers import html, page_of

_SHOWN = 50
MaybeText = Annotated[str | None, Parameter()]


@route("/sources/{source_id:str}/timeline", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def timeline_page(
    request: AppRequest,
    source_id: Annotated[str, Parameter()],
    before: MaybeText = None,
    kind: Annotated[str, Parameter()] = "",
) -> Response[bytes]:
    """What happened to one source."""
    wanted = parameters.identifier("Source", source_id)
    earlier = None if before is None else parameters.count("before", before, 0, LARGEST_ENTRY)
    chosen = kind if kind in KINDS else None
    name, entries = await timeline(runtime_of(request).database, wanted, count=_SHOWN + 1, before=earlier, kind=chosen)
    shown = entries[:_SHOWN]
    text = render(
        "timeline.html",
        source_id=wanted,
        name=name,
        kinds=KINDS,
        kind=chosen,
        entries=shown,
        is_latest=earlier is None,
        earlier=shown[-1]["id"] if len(entries) > len(shown) else None,
    )
    return await html(request, page_of(text))


HANDLERS = [timeline_page]
