"""Texts of strangers, shown to a person: a source's names and messages, and what clients ask for."""

import re

# What moves the cursor, colours and sets titles (C0, DEL, C1), ends a line (U+2028, U+2029), turns the direction of
# what follows (https://www.unicode.org/reports/tr9/), or shows nothing.
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

_IN_URL = re.compile(r"(://[^\s:/@]*:)[^\s/]*@")
_PASSWORD = re.compile(
    r"""((?:password|passwd|pwd|secret|token)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;]+)""", re.IGNORECASE
)


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with control characters shown as such: `\n`, `\x1b`, `\u202e`. Those in `keep` stay as they are."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _shown(found[0]), text)


def printable_json(text: str) -> str:
    """JSON with the control characters in its strings escaped; it says the same."""
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, most: int = 500) -> str:
    """The text as one line of at most `most` characters, for people: whoever wrote it may mean harm."""
    # Cut first: a stranger's text may have megabytes.
    line = printable(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def masked(text: str) -> str:
    """Another program's message without the passwords that it may hold: in URLs, and as `password=...`."""
    return _PASSWORD.sub(r"\1***", _IN_URL.sub(r"\1***@", text))


def _shown(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
