"""The API of the search across sources."""

from typing import Annotated

import msgspec
from litestar import MediaType, Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.http import parameters
from service.http.caching_headers import GUESS_NOTHING
from service.http.context import AppRequest, runtime_of
from service.http.openapi import COUNT, TEXT, described, named
from service.http.schemas import Found
from service.sources.find import MOST, find


@route(
    "/api/v1/find",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    summary="Tables and columns of all sources by name",
    **named("find_tables", "tables"),
    **described(Found, 422, 503),
)
async def find_tables(
    request: AppRequest,
    q: Annotated[
        str | None,
        Parameter(description="a part of the name of a table or a column, in any case", schema_extra=TEXT),
    ] = None,
    limit: Annotated[
        str | None, Parameter(description="maximum number of tables", schema_extra=COUNT | {"maximum": MOST})
    ] = None,
) -> Response[bytes]:
    """The published tables whose name, or a column's, contains the text; and how each differs from the most frequent
    form of the same table among these."""
    wanted = parameters.something("q", q)
    most = parameters.count("limit", limit, MOST, MOST)
    tables, is_cut = await find(runtime_of(request).database, wanted, most=most)
    body = msgspec.json.encode({"tables": tables, "is_cut": is_cut})
    return Response(body, media_type=MediaType.JSON, headers=GUESS_NOTHING)


HANDLERS = [find_tables]
