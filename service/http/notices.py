"""The API of notices: what webhooks were told, and what became of it."""

from typing import Annotated

import msgspec
from litestar import MediaType, Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.http import parameters
from service.http.caching_headers import GUESS_NOTHING
from service.http.context import AppRequest, runtime_of
from service.http.openapi import COUNT, described, named
from service.http.schemas import Notice

_MOST = 1000


@route(
    "/api/v1/notices",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    summary="What webhooks were told",
    **named("list_notices", "operations"),
    **described(list[Notice], 422, 503),
)
async def list_notices(
    request: AppRequest,
    limit: Annotated[
        str | None, Parameter(description="maximum number of notices", schema_extra=COUNT | {"maximum": _MOST})
    ] = None,
) -> Response[bytes]:
    """The latest notices, and their fate. Kept for 30 days."""
    most = parameters.count("limit", limit, 100, _MOST)
    rows = await runtime_of(request).database.fetch_all("latest_notices", count=most)
    return Response(msgspec.json.encode(rows), media_type=MediaType.JSON, headers=GUESS_NOTHING)


HANDLERS = [list_notices]
