"""What handlers need of a request: the running service, the encoding, and whether it may sync."""

from typing import Any

from litestar import Request
from litestar.datastructures import State

from service.errors import CrossSiteError
from service.http.compression import chosen
from service.http.gate import caller
from service.pages.page import Page
from service.runtime import Runtime

AppRequest = Request[Any, Any, State]


def runtime_of(request: AppRequest) -> Runtime:
    """The running service."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def encoding_for(request: AppRequest, page: Page) -> str:
    """The encoding in which the client gets a page; "" for none."""
    return chosen(page, request.headers.get("accept-encoding", "").encode("latin-1"))


async def may_sync(request: AppRequest) -> None:
    """Returns if this request may make the service call a source, and counts it for its caller.

    Raises CrossSiteError or TooManyRequestsError.
    """
    runtime = runtime_of(request)
    headers = request.headers
    # A browser sends the password that it has stored for this service with any request of another site's page, even for
    # an image.
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("origin") not in request.app.state.origins:
        raise CrossSiteError
    await runtime.rate_limit.spend(caller(request.scope))
