"""The headers of a page: validators (RFC 9110), freshness (RFC 9111) and Cache-Status (RFC 9211)."""

from functools import cache

from service.pages.page import Answer, Page

Headers = list[tuple[bytes, bytes]]

# Browsers must not guess another type than Content-Type says.
GUESS_NOTHING = {"x-content-type-options": "nosniff"}

# Private: a page names hosts and users. No-cache: only this service knows when a page has changed, so clients
# revalidate with If-None-Match, which costs next to nothing.
_ALWAYS = [
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"accept-encoding"),
    *((name.lower().encode(), value.encode()) for name, value in GUESS_NOTHING.items()),
]
_JSON = (b"content-type", b"application/json")


def headers(answer: Answer, encoding: str, *, bypass: bool = False) -> dict[str, str]:
    """The headers of an answer in that encoding; `bypass` if the client asked to read past the caches."""
    return _headers(answer.page, encoding, cache_status(answer, bypass=bypass))


def uncached_headers(page: Page, encoding: str, *, is_stored: bool) -> dict[str, str]:
    """The headers of a page that was made for this client alone, with a report of its sync."""
    status = f"rosetta; fwd=bypass; stored; ttl={page.ttl}" if is_stored else "rosetta; fwd=bypass"
    return _headers(page, encoding, status)


def hit_headers(page: Page, encoding: str) -> Headers:
    """The headers of a 304 for a page from this process: one list for all requests within a second."""

    def make(age: int, ttl: int) -> Headers:
        varying = _varying(page, encoding, age, _hit_status(ttl, "memory"))
        return [*_ALWAYS, *((name.lower().encode(), text.encode()) for name, text in varying.items())]

    return page.head(encoding, make)


@cache
def page_headers(encoding: str) -> Headers:
    """The additional headers of a 200, without its length."""
    return [_JSON, (b"content-encoding", encoding.encode())] if encoding else [_JSON]


def _headers(page: Page, encoding: str, status: str) -> dict[str, str]:
    always = {name.decode(): value.decode() for name, value in _ALWAYS}
    return always | _varying(page, encoding, page.age, status)


def _varying(page: Page, encoding: str, age: int, status: str) -> dict[str, str]:
    return {"ETag": etag(page, encoding), "Age": str(age), "Cache-Status": status}


def etag(page: Page, encoding: str) -> str:
    """A strong validator (RFC 9110, 8.8.3): each encoding has its own."""
    return f'"{page.digest}-{encoding}"' if encoding else f'"{page.digest}"'


def cache_status(answer: Answer, *, bypass: bool) -> str:
    """`rosetta; hit; ttl=21; detail=redis`, `rosetta; fwd=miss; stored; ttl=30`, and the like.

    `fwd=stale` with a negative ttl is an expired page, served because the config database is away (RFC 5861, 4).
    """
    if answer.found == "last known":
        return f'rosetta; fwd=stale; ttl={answer.page.ttl}; detail="the config database cannot be reached"'
    if answer.found != "computed":
        return _hit_status(answer.page.ttl, answer.found)
    parts = ["rosetta", "fwd=bypass" if bypass else "fwd=miss"]
    if answer.is_stored:
        parts += ["stored", f"ttl={answer.page.ttl}"]
    if answer.is_collapsed:
        parts.append("collapsed")
    return "; ".join(parts)


def _hit_status(ttl: int, found: str) -> str:
    return f"rosetta; hit; ttl={ttl}; detail={found}"


def matches(if_none_match: str | None, page: Page) -> bool:
    """Whether the client already has the page, in any encoding (RFC 9110, 13.1.2: weak comparison)."""
    if not if_none_match:
        return False
    if if_none_match == etag(page, "") or if_none_match.strip() == "*":
        return True
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(","))
    return any(tag.partition("-")[0] == page.digest for tag in tags)


def wants_reload(cache_control: str | None) -> bool:
    """Whether the client asks to read past the caches (RFC 9111, 5.2.1.4)."""
    directives = (directive.strip().lower() for directive in (cache_control or "").split(","))
    return any(directive == "no-cache" for directive in directives)
