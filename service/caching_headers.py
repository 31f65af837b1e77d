"""The headers of a cached page: validators (RFC 9110), freshness (RFC 9111) and Cache-Status (RFC 9211)."""

from service.answer import Answer
from service.memory import Page

# Private: a page tells of hosts and users. No-cache: only this service knows when a page has changed, so clients ask
# with If-None-Match, which costs next to nothing.
_CACHE_CONTROL = "private, no-cache"


def headers(answer: Answer, *, bypass: bool = False) -> dict[str, str]:
    """The headers of an answer; `bypass` where the caller asked to read past the caches."""
    return _headers(answer.page, cache_status(answer, bypass=bypass))


def uncached_headers(page: Page, *, is_stored: bool) -> dict[str, str]:
    """The headers of a page made for this very caller, with a report of its sync in it."""
    status = f"rosetta; fwd=bypass; stored; ttl={page.ttl}" if is_stored else "rosetta; fwd=bypass"
    return _headers(page, status)


def _headers(page: Page, status: str) -> dict[str, str]:
    return {"ETag": page.etag, "Age": str(page.age), "Cache-Control": _CACHE_CONTROL, "Cache-Status": status}


def cache_status(answer: Answer, *, bypass: bool) -> str:
    """`rosetta; hit; ttl=21; detail=redis`, `rosetta; fwd=miss; stored; ttl=30`, and the like.

    `fwd=stale` with a negative ttl is a page past its life, served since the config database is away (RFC 5861, 4).
    """
    if answer.found == "last known":
        return f'rosetta; fwd=stale; ttl={answer.page.ttl}; detail="the config database cannot be reached"'
    if answer.found != "computed":
        return f"rosetta; hit; ttl={answer.page.ttl}; detail={answer.found}"
    parts = ["rosetta", "fwd=bypass" if bypass else "fwd=miss"]
    if answer.is_stored:
        parts += ["stored", f"ttl={answer.page.ttl}"]
    if answer.is_collapsed:
        parts.append("collapsed")
    return "; ".join(parts)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has the page already (RFC 9110, 13.1.2: weak comparison)."""
    if not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in if_none_match.split(","))


def wants_fresh(cache_control: str | None) -> bool:
    """Whether the client asks to read past the caches (RFC 9111, 5.2.1.4)."""
    directives = (directive.strip().lower() for directive in (cache_control or "").split(","))
    return any(directive == "no-cache" for directive in directives)
