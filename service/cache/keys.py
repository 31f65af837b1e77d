"""The names of the keys in Redis.

`source_details:{id}` is the page as a plain string with a TTL. `{source_details:{id}}:lease` names the fill that
computes it now, `{source_details:{id}}:seal` says that the page is this deployment's,
`{source_details:{id}}:publication` is the source's last answer about its publication, `{source_details:{id}}:tables`
the names of all its tables; all share the page's hash slot. A prefix may stand in front of `source_details`.
"""

import re

_NAME = "source_details:"


class Keys:
    """The keys of one deployment; `prefix` has no character that means something in a pattern or a hash tag."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = f"{prefix}{_NAME}"
        self.hot = f"{{{self.prefix}hot}}"
        self.mark = f"{{{self.prefix}deployment}}"
        # Of every lease and seal, then of every page.
        self.patterns = (f"{{{self.prefix}*}}:[ls]ea*", f"{self.prefix}*")
        self._page = re.compile(re.escape(self.prefix.encode()) + rb"([0-9]{1,10})")

    def page(self, source_id: int) -> str:
        """The key of a page, as operators know it."""
        return f"{self.prefix}{source_id}"

    def page_of(self, key: bytes) -> int | None:
        """The source whose page has this key; None if it is no page's key."""
        found = self._page.fullmatch(key)
        return int(found[1]) if found else None

    def lease(self, source_id: int) -> str:
        """The key of the lease to compute a page."""
        return self.companion(source_id, "lease")

    def seal(self, source_id: int) -> str:
        """The key of the page's seal."""
        return self.companion(source_id, "seal")

    def publication(self, source_id: int) -> str:
        """The key of the source's last answer about its publication."""
        return self.companion(source_id, "publication")

    def companion(self, source_id: int, name: str) -> str:
        """Another key of a page, in the page's hash slot."""
        return f"{{{self.page(source_id)}}}:{name}"

    def counter(self, name: str) -> str:
        """The key of a count."""
        return f"{{{self.prefix}count}}:{name}"
