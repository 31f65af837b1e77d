"""The page of a table: its versions, and two of them compared."""

from typing import Annotated, Any

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter, QueryParameter

from service.database.pool import ConfigDatabase
from service.errors import EntityNotFoundError
from service.http import parameters
from service.http.context import AppRequest, runtime_of
from service.http.templates import render
from service.sources.schema_diff import version_difference
from service.web.answers import html, page_of

_READ = [HttpMethod.GET, HttpMethod.HEAD]
_VERSIONS = 20
_LARGEST = 2**31 - 1

MaybeText = Annotated[str | None, Parameter()]


@route("/sources/tables/{table_id:str}", http_method=_READ, include_in_schema=False)
async def table_page(
    request: AppRequest,
    table_id: Annotated[str, Parameter()],
    before: MaybeText = None,
    fragment: MaybeText = None,
    older: Annotated[str | None, QueryParameter(name="from")] = None,
    newer: Annotated[str | None, QueryParameter(name="to")] = None,
) -> Response[bytes]:
    """The columns of a table, and what each version changed; with `from` and `to`, what changed between those two."""
    wanted = parameters.identifier("Table", table_id)
    is_fragment = parameters.boolean("fragment", fragment)
    database = runtime_of(request).database
    if older is not None or newer is not None:
        between = parameters.count("from", older, 1, _LARGEST), parameters.count("to", newer, 1, _LARGEST)
        facts = await _compared(database, wanted, *between)
    else:
        highest = parameters.count("before", before, 0, _LARGEST) - 1 if before is not None else None
        facts = await _versions(database, wanted, highest)
    return await html(request, page_of(render("table.html", is_fragment=is_fragment, table_id=wanted, **facts)))


async def _versions(database: ConfigDatabase, table_id: int, highest: int | None) -> dict[str, Any]:
    # One more than is shown, for the difference of the oldest version shown.
    row = await _read(database, table_id, highest, _VERSIONS + 1)
    known = row["versions"]
    shown = known[:_VERSIONS]
    for number, version in enumerate(shown):
        version["difference"] = version_difference(known[number + 1] if number + 1 < len(known) else None, version)
    return _head(row) | {
        "replication": known[0]["replication"] if known and highest is None else None,
        "versions": shown,
        "earlier": shown[-1]["version"] if len(known) > len(shown) else None,
        "compared": None,
    }


async def _compared(database: ConfigDatabase, table_id: int, older: int, newer: int) -> dict[str, Any]:
    rows = [await _read(database, table_id, number, 1) for number in (older, newer)]
    for number, row in zip((older, newer), rows, strict=True):
        if not 1 <= number <= row["latest"]:
            raise EntityNotFoundError("TableVersion", f"{table_id}/{number}")
    before, after = (row["versions"][0] for row in rows)
    return _head(rows[1]) | {
        "replication": None,
        "versions": [],
        "earlier": None,
        "compared": (older, newer),
        "difference": version_difference(before, after),
        "columns": after["columns"],
    }


async def _read(database: ConfigDatabase, table_id: int, highest: int | None, count: int) -> dict[str, Any]:
    row = await database.fetch_one("table_versions", id=table_id, highest=highest, count=count)
    if row is None:
        raise EntityNotFoundError("Table", str(table_id))
    return row


def _head(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("source_id", "source_name", "table_name", "latest", "was_called")}


HANDLERS = [table_page]
