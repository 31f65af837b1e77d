"""The API of the activity of a source's tables."""

from typing import Annotated

import msgspec
from litestar import MediaType, Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.http import parameters
from service.http.caching_headers import GUESS_NOTHING
from service.http.context import AppRequest, runtime_of
from service.http.openapi import COUNT, ID, described, named
from service.http.schemas import Activity
from service.sources.activity import MOST, activity


@route(
    "/api/v1/sources/{source_id:str}/activity",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    summary="How busy a source's tables are",
    **named("get_activity", "sources"),
    **described(Activity, 404, 422, 503),
)
async def source_activity(
    request: AppRequest,
    source_id: Annotated[str, Parameter(description="the source's id", schema_extra=ID)],
    limit: Annotated[
        str | None, Parameter(description="maximum number of tables", schema_extra=COUNT | {"maximum": MOST})
    ] = None,
) -> Response[bytes]:
    """Published tables by their writes a minute, from the statistics that the source keeps, as of the last round of the
    service's own WAL monitor; none if that does not run."""
    wanted = parameters.identifier("Source", source_id)
    most = parameters.count("limit", limit, 100, MOST)
    _, as_of, tables = await activity(runtime_of(request).database, wanted, count=most)
    body = msgspec.json.encode({"as_of": as_of, "tables": tables})
    return Response(body, media_type=MediaType.JSON, headers=GUESS_NOTHING)


HANDLERS = [source_activity]
