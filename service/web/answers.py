"""Answers that are web pages."""

from time import monotonic

from litestar import Response

from service.http.caching_headers import etag, matches
from service.http.compression import form
from service.http.context import AppRequest, encoding_for
from service.http.templates import SECURITY_HEADERS, asset, root_of
from service.pages.page import Page

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def page_of(text: str) -> Page:
    """A page of HTML that nobody keeps."""
    return Page(text.encode(), monotonic(), 0)


async def html(request: AppRequest, page: Page) -> Response[bytes]:
    """The page in the encoding that the browser takes, or 304 if it has it."""
    encoding = encoding_for(request, page)
    # The style sheet, before which nothing is painted, comes beside the page and not after it.
    styles = f"<{root_of(request.scope['path'])}{asset('page.css')}>; rel=preload; as=style"
    headers = SECURITY_HEADERS | {"ETag": etag(page, encoding), "Link": styles}
    if matches(request.headers.get("if-none-match"), page):
        return Response(b"", status_code=304, headers=headers, media_type="text/html")
    if encoding:
        headers["Content-Encoding"] = encoding
    return Response(await form(page, encoding, lambda: None), headers=headers, media_type="text/html")
