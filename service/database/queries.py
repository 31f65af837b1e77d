"""The SQL statements of the service, by name, from the files in `sql/`.

A statement starts at `-- name: NAME` and ends where the next one starts. A line `-- include: NAME` stands for the
text of that statement, so that two statements can share a part; `-- from 15: NAME` and `-- before 15: NAME` do so only
for a server of at least, or below, that major version.
"""

import re
from functools import cache
from pathlib import Path

import service

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_INCLUDE = re.compile(r"^[ ]*-- (?:include|(from|before) (\d+)): (\w+)\n", re.MULTILINE)
# Any version that is newer than the newest that a statement distinguishes.
NEWEST = 99
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")
_COMMENT = re.compile(r"^[ ]*--.*\n", re.MULTILINE)


def folder(name: str) -> Path:
    """The folder `sql` or `migrations`: beside the package in a checkout, inside it in a wheel.

    FileNotFoundError if the installation lacks it.
    """
    package = Path(service.__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the installation lacks its folder {name}")


@cache
def _texts() -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted(folder("sql").glob("*.sql")):
        _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            if name in texts:
                raise ValueError(f"{path.name}: a second statement is named {name}")
            texts[name] = text
    return texts


def _complete(name: str, version: int) -> str:
    def part(include: re.Match[str]) -> str:
        when, since, part = include.groups()
        is_wanted = when is None or (version >= int(since)) == (when == "from")
        return _complete(part, version) if is_wanted else ""

    return _INCLUDE.sub(part, _texts()[name])


def escaped_like(text: str) -> str:
    """The text as a part of a LIKE pattern, in which each of its characters stands for itself."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text


@cache
def query(name: str, version: int = NEWEST) -> str:
    """The statement called `name` for a server of that major version, ready to be executed. KeyError if there is none.

    It starts with its name, which identifies it in pg_stat_activity and the server's log; comments and indentation are
    removed.
    """
    lines = (line.strip() for line in _COMMENT.sub("", _complete(name, version)).splitlines())
    return f"/* {name} */ " + "\n".join(line for line in lines if line)


@cache
def positional(name: str) -> tuple[str, tuple[str, ...]]:
    """The statement with `$1`, `$2` and so on, and the names of these parameters: for a raw cursor of psycopg.

    psycopg parses any other text of more than 4,096 characters again each time.
    """
    numbers: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}" if found[1] else "%"

    return _PARAMETER.sub(place, query(name)), tuple(numbers)
