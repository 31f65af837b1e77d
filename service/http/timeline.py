"""The API of a source's timeline."""

from typing import Annotated
from urllib.parse import urlencode

import msgspec
from litestar import MediaType, Response, route
from litestar.datastructures import ResponseHeader
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.config.webhooks import KINDS
from service.http import parameters
from service.http.caching_headers import GUESS_NOTHING
from service.http.context import AppRequest, runtime_of
from service.http.openapi import COUNT, ID, described, enumeration, named
from service.http.schemas import TimelineEntry
from service.sources.timeline import timeline

LARGEST_ENTRY = 2**53 - 1
_MOST = 200


@route(
    "/api/v1/sources/{source_id:str}/timeline",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    summary="What happened to a source",
    response_headers=[ResponseHeader("Link", description="the earlier entries (RFC 8288)", documentation_only=True)],
    **named("get_timeline", "sources"),
    **described(list[TimelineEntry], 404, 422, 503),
)
async def source_timeline(
    request: AppRequest,
    source_id: Annotated[str, Parameter(description="the source's id", schema_extra=ID)],
    before: Annotated[
        str | None,
        Parameter(description="only entries before that id", schema_extra=COUNT | {"maximum": LARGEST_ENTRY}),
    ] = None,
    limit: Annotated[
        str | None, Parameter(description="maximum number of entries", schema_extra=COUNT | {"maximum": _MOST})
    ] = None,
    kind: Annotated[
        str | None, Parameter(description="only entries of this kind", schema_extra=enumeration(KINDS))
    ] = None,
) -> Response[bytes]:
    """The latest first: schema changes, tables, states of the slot, pipelines and destinations, settings; by whom.

    Kept for 90 days, and at most 1,000 entries of a source."""
    wanted = parameters.identifier("Source", source_id)
    earlier = None if before is None else parameters.count("before", before, 0, LARGEST_ENTRY)
    most = parameters.count("limit", limit, 50, _MOST)
    chosen = parameters.choice("kind", kind, KINDS, "") or None
    # One more than is returned says whether there are earlier ones.
    _, entries = await timeline(runtime_of(request).database, wanted, count=most + 1, before=earlier, kind=chosen)
    shown = entries[:most]
    headers = dict(GUESS_NOTHING)
    if shown and len(entries) > most:
        asked = {"kind": chosen} if chosen else {}
        headers["Link"] = f'<?{urlencode(asked | {"before": shown[-1]["id"], "limit": most})}>; rel="next"'
    return Response(msgspec.json.encode(shown), media_type=MediaType.JSON, headers=headers)


HANDLERS = [source_timeline]
