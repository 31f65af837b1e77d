"""Compressed pages: each encoding is made once per page, in a thread, for the first client that accepts it.

zstd and gzip. Brotli would be a third encoding of the same size as zstd: clients that lack zstd get gzip.
"""

import gzip
import sys
from collections.abc import Callable
from functools import lru_cache

from service.pages.page import Page

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Best first.
_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstd.compress(body, level=6),
    # Without a time stamp, so that the same page gives the same bytes.
    "gzip": lambda body: gzip.compress(body, compresslevel=6, mtime=0),
}
_SMALLEST = 1024


def chosen(page: Page, accept_encoding: bytes) -> str:
    """The best encoding that a client accepts (RFC 9110, 12.5.3); "" for none, as for every small page."""
    return _accepted(accept_encoding) if len(page.body) >= _SMALLEST else ""


@lru_cache(maxsize=256)
def _accepted(accept_encoding: bytes) -> str:
    weights: dict[str, str] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = parameter.replace(" ", "").removeprefix("q=") or "1"
    for name in _ENCODERS:
        if weights.get(name, "0").strip("0."):
            return name
    return ""


async def form(page: Page, encoding: str, on_made: Callable[[], None]) -> bytes:
    """The page in that encoding. `on_made` is called if it is new, and the page takes more memory."""
    return await page.encoded(encoding, _ENCODERS[encoding], on_made) if encoding else page.body
