"""The scripts, the style sheet and the icons of the web pages."""

from functools import cache
from time import monotonic

from service.http.templates import asset, content
from service.pages.page import Page

_TYPES = {
    **{f"{name}.js": "text/javascript" for name in ("plain", "list", "source")},
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
    **{f"icon-{level}.svg": "image/svg+xml" for level in ("ok", "warning", "error", "unknown")},
}
_FOREVER_S = 31_536_000


def found(digest: str, name: str) -> tuple[Page, dict[str, str]] | None:
    """A static file by the two parts of its URL, with its headers; None for another name or version."""
    if name not in _TYPES or asset(name) != f"assets/{digest}/{name}":
        return None
    return _held(name)


@cache
def _held(name: str) -> tuple[Page, dict[str, str]]:
    # Only our own names come here: what a URL says would fill the memory.
    page = Page(content(name), monotonic() + _FOREVER_S, _FOREVER_S)
    headers = {"Content-Type": _TYPES[name], "Cache-Control": f"public, max-age={_FOREVER_S}, immutable"}
    return page, headers
