"""Digests of pages, and from which size on a page takes noticeable time."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b

from blake3 import blake3

# Bytes from which on storing a page is worth a task of its own, and its digest a thread: some milliseconds.
LARGE, _LONG = 2**20, 2**22


def digest_of(body: bytes) -> str:
    """A digest of a page: equal bytes have the same digest in every process. 26 MB take 5 ms."""
    return blake3(body).hexdigest(length=16)


def former_digest_of(body: bytes) -> str:
    """The digest with which version 0.1.0 seals."""
    return blake2b(body, digest_size=16).hexdigest()


async def long_digest(body: bytes, make: Callable[[bytes], str] = digest_of) -> str:
    """The digest; that of a very large page is made in a thread, so that nobody else waits for it."""
    return make(body) if len(body) < _LONG else await asyncio.to_thread(make, body)
