"""The names of the keys in Redis.

`source_details:{id}` is the page as a plain string with a TTL. `{source_details:{id}}:lease` names the fill that
computes it now, `{source_details:{id}}:publication` is the source's last answer about its publication,
`{source_details:{id}}:tables` the names of all its tables; all share the page's hash slot.
"""

import re

PREFIX = "source_details:"
HOT = f"{{{PREFIX}hot}}"
_PAGE = re.compile(rb"source_details:([0-9]{1,10})")


def page_key(source_id: int) -> str:
    """The key of a page, as operators know it."""
    return f"{PREFIX}{source_id}"


def page_of(key: bytes) -> int | None:
    """The source whose page has this key; None if it is no page's key."""
    found = _PAGE.fullmatch(key)
    return int(found[1]) if found else None


def page_keys(source_id: int) -> tuple[str, str, str]:
    """The keys of a page, of its lease and of its publication: one hash slot."""
    return page_key(source_id), companion(source_id, "lease"), companion(source_id, "publication")


def companion(source_id: int, name: str) -> str:
    """Another key of a page, in the page's hash slot."""
    return f"{{{page_key(source_id)}}}:{name}"


def counter(name: str) -> str:
    """The key of a count."""
    return f"{{{PREFIX}count}}:{name}"
