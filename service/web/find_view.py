"""The page that finds tables and columns in all sources."""

from typing import Annotated

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.http import parameters
from service.http.context import AppRequest, runtime_of
from service.http.templates import render
from service.sources.find import find
from service.web.answers import html, page_of


@route("/find", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def find_page(request: AppRequest, q: Annotated[str, Parameter()] = "") -> Response[bytes]:
    """Which sources have it, of which type, and where the same table differs."""
    wanted = parameters.search("q", q).strip()[:255]
    tables, is_cut = await find(runtime_of(request).database, wanted) if wanted else ([], False)
    return await html(request, page_of(render("find.html", q=wanted, tables=tables, is_cut=is_cut)))


HANDLERS = [find_page]
