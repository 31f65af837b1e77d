"""The API of tables: the versions of a table's schema, and the names of all tables of a source."""

from typing import Annotated

import msgspec
from litestar import MediaType, Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.errors import EntityNotFoundError
from service.http import parameters
from service.http.caching_headers import GUESS_NOTHING
from service.http.context import AppRequest, may_sync, runtime_of
from service.http.openapi import COUNT, FLAG, ID, described, named
from service.http.schemas import TableSchema
from service.sources.schema_diff import version_difference

_READ = [HttpMethod.GET, HttpMethod.HEAD]
_LARGEST_VERSION = 2**31 - 1


@route(
    "/api/v1/sources/tables/{table_id:str}/schema",
    http_method=_READ,
    summary="One version of a table's schema",
    **named("get_table_schema", "tables"),
    **described(TableSchema, 404, 422, 503),
)
async def table_schema(
    request: AppRequest,
    table_id: Annotated[str, Parameter(description="the table's id", schema_extra=ID)],
    version: Annotated[
        str | None,
        Parameter(
            description="1 to the table's version; default: the table's version",
            schema_extra=COUNT | {"maximum": _LARGEST_VERSION},
        ),
    ] = None,
) -> Response[bytes]:
    """The columns of that version, and what it changed compared with the one before; null for the first."""
    wanted = parameters.identifier("Table", table_id)
    number = None if version is None else parameters.count("version", version, 0, _LARGEST_VERSION)
    row = await runtime_of(request).database.fetch_one("table_versions", id=wanted, highest=number, count=2)
    if row is None:
        raise EntityNotFoundError("Table", str(wanted))
    if number is not None and not 1 <= number <= row["latest"]:
        raise EntityNotFoundError("TableVersion", f"{wanted}/{number}")
    newer, older = row["versions"][0], row["versions"][1] if len(row["versions"]) > 1 else None
    was_called = row["was_called"] and row["was_called"]["table_name"]
    body = {"columns": newer["columns"], "diff": version_difference(older, newer), "was_called": was_called}
    return Response(msgspec.json.encode(body), media_type=MediaType.JSON, headers=GUESS_NOTHING)


@route(
    "/api/v1/sources/{source_id:str}/available_tables",
    http_method=_READ,
    summary="The names of the tables that can be published",
    **named("list_available_tables", "tables"),
    **described(list[str], 404, 422, 429, 503),
)
async def available_tables(
    request: AppRequest,
    source_id: Annotated[str, Parameter(description="the source's id", schema_extra=ID)],
    refresh: Annotated[
        str | None, Parameter(description="ask the source even if the names are cached", schema_extra=FLAG)
    ] = None,
) -> Response[bytes]:
    """Published or not: the tables of schema `public` that can be replicated, by their plain names. Cached for 5
    minutes. If the source does not answer, these are those that the last syncs found, and Cache-Status says so."""
    wanted = parameters.identifier("Source", source_id)
    is_forced = parameters.boolean("refresh", refresh)
    if is_forced:
        await may_sync(request)
    names, found = await runtime_of(request).table_lists.of(wanted, refresh=is_forced)
    statuses = {"redis": "rosetta; hit; detail=redis", "source": f"rosetta; fwd={'bypass' if is_forced else 'miss'}"}
    status = statuses.get(found, 'rosetta; fwd=stale; detail="the source does not answer"')
    return Response(
        msgspec.json.encode(names),
        media_type=MediaType.JSON,
        headers=GUESS_NOTHING | {"Cache-Status": status, "Cache-Control": "private, no-cache"},
    )


HANDLERS = [table_schema, available_tables]
