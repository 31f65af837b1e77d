"""What Redis answers, and what it means if it cannot be used."""

import re
from dataclasses import dataclass

from redis.exceptions import RedisError

# What a command fails with if its connection does. uvloop raises RuntimeError if something is written to a transport
# that has just been closed.
FAILURES = RedisError, OSError, TimeoutError, RuntimeError

_PUBLICATION = re.compile(rb"([0-9]{1,18})(\{.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A publication as it was kept; `number` as in `remember_publication`."""

    number: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What Redis answers a reader: a page with its digest and remaining TTL, or whether this reader has the lease.

    `is_known`: it is the page that the reader has.
    """

    page: bytes | None = None
    is_known: bool = False
    digest: str = ""
    ttl_ms: int = 0
    is_granted: bool = False
    publication: Remembered | None = None


class CacheUnavailableError(Exception):
    """Redis cannot be used now."""


class ForeignMarkError(CacheUnavailableError):
    """Redis carries the mark of another deployment."""

    def __init__(self, mark: str) -> None:
        super().__init__(
            f"Redis is used for another config database ({mark}): give each a Redis of its own, or ROSETTA_REDIS_PREFIX"
        )


def parse_publication(held: bytes | None) -> Remembered | None:
    """The value of a publication's key: a number, then the text. None for anything else: anyone can write there."""
    found = _PUBLICATION.fullmatch(held or b"")
    return Remembered(int(found[1]), found[2]) if found else None
