"""Access tokens: made here and kept by callers; the settings contain only hashes.

A token has 256 random bits, so one round of SHA-256 is enough.
"""

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

TokenScope = Literal["read", "operate"]

_ENTRY = re.compile(r"([A-Za-z0-9._-]{1,64}):(read|operate):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Token:
    """A caller's name, its scope ("operate" may also sync), and the hash of its token."""

    name: str
    scope: TokenScope
    digest: str


def new(name: str, scope: TokenScope) -> tuple[str, str]:
    """A token, and its entry for the settings. ValueError for an invalid name."""
    token = f"rosetta_{secrets.token_urlsafe(32)}"
    entry = f"{name}:{scope}:{digest(token)}"
    parse(entry)
    return token, entry


def digest(token: str) -> str:
    """The hash of a token."""
    return sha256(token.encode()).hexdigest()


def parse(text: str) -> list[Token]:
    """Parses entries `name:scope:hash`, separated by commas. ValueError, which quotes no entry, for anything else."""
    tokens = []
    for number, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise ValueError(f"entry {number} is not name:read:HASH or name:operate:HASH; `rosetta token` makes one")
        scope: TokenScope = "operate" if found[2] == "operate" else "read"
        tokens.append(Token(found[1], scope, found[3]))
    return tokens
