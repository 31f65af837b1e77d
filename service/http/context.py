"""What handlers need of a request: the running service, the encoding, and whether it may sync."""

from typing import Any

from litestar import Request
from litestar.datastructures import State

from service.errors import CrossSiteError, TooManyRequestsError
from service.http.compression import chosen
from service.http.gate import caller
from service.http.host_names import is_same_host
from service.pages.page import Page
from service.runtime import Runtime

AppRequest = Request[Any, Any, State]
_OWN_SITE = ("same-origin", "none")


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
    if is_cross_site(request) and request.headers.get("origin") not in request.app.state.origins:
        runtime.metrics.refusals.labels("site").inc()
        raise CrossSiteError
    try:
        await runtime.rate_limit.spend(caller(request.scope))
    except TooManyRequestsError:
        runtime.metrics.refusals.labels("rate").inc()
        raise


def may_watch(request: AppRequest) -> None:
    """Returns if this request may hold a live stream, of which there are few; CrossSiteError for another site's page.

    A page's own stream has no Origin, and over plain HTTP nothing else that it could be told by: it may.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None:
        is_other = origin is not None and not is_same_host(headers.get("host", ""), origin)
    else:
        is_other = site not in _OWN_SITE
    if is_other and origin not in request.app.state.origins:
        runtime_of(request).metrics.refusals.labels("site").inc()
        raise CrossSiteError


def is_cross_site(request: AppRequest) -> bool:
    """Whether a page of another site may have made a browser send this request.

    A browser sends the password that it has stored for this service with any request of any page, even for an image.
    It sends Sec-Fetch-Site only to https:// and loopback (https://www.w3.org/TR/fetch-metadata/, section 2.1).
    """
    headers = request.headers
    site = headers.get("sec-fetch-site")
    if site is not None:
        # Another port of this host is "same-site", and may be anybody's.
        return site not in _OWN_SITE
    if "x-requested-with" in headers or headers.get("authorization", "")[:7].lower() == "bearer ":
        # Another site's page needs our leave to send these (https://fetch.spec.whatwg.org/, CORS-safelisted headers).
        return False
    place = headers.get("origin") or headers.get("referer")
    if place is not None:
        return not is_same_host(headers.get("host", ""), place)
    # A page can keep its address from us. Programs have none; every browser begins with this word.
    return headers.get("user-agent", "").startswith("Mozilla/")
