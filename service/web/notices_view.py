"""The page of the notices: what webhooks were told, and what became of it."""

from litestar import Response, route
from litestar.enums import HttpMethod

from service.http.context import AppRequest, runtime_of
from service.http.templates import render
from service.web.answers import html, page_of

_SHOWN = 100


@route("/notices", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def notices_page(request: AppRequest) -> Response[bytes]:
    """The latest notices."""
    runtime = runtime_of(request)
    rows = await runtime.database.fetch_all("latest_notices", count=_SHOWN)
    names = [webhook.name for webhook in runtime.notices.webhooks]
    return await html(request, page_of(render("notices.html", notices=rows, webhooks=names)))


HANDLERS = [notices_page]
