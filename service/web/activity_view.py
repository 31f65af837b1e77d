"""The page of the activity of a source's tables."""

from typing import Annotated

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.params import Parameter

from service.http import parameters
from service.http.context import AppRequest, runtime_of
from service.http.templates import render
from service.sources.activity import activity
from service.web.answers import html, page_of

_SHOWN = 200


@route("/sources/{source_id:str}/activity", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def activity_page(request: AppRequest, source_id: Annotated[str, Parameter()]) -> Response[bytes]:
    """The busiest tables of one source."""
    wanted = parameters.identifier("Source", source_id)
    name, as_of, tables = await activity(runtime_of(request).database, wanted, count=_SHOWN)
    text = render("activity.html", source_id=wanted, name=name, as_of=as_of, tables=tables)
    return await html(request, page_of(text))


HANDLERS = [activity_page]
