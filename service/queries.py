"""The SQL statements of the service, by name, from the files in `sql/`.

A statement starts at `-- name: NAME` and ends where the next one starts. A line `-- include: NAME` stands for the
text of that statement, so that two statements can share a part.
"""

import re
from functools import cache

from service.resources import folder

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_INCLUDE = re.compile(r"^[ ]*-- include: (\w+)\n", re.MULTILINE)


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


@cache
def query(name: str) -> str:
    """The text of the statement called `name`, ready to be executed; KeyError where there is none."""
    text: str = _INCLUDE.sub(lambda include: query(include[1]) + "\n", _texts()[name])
    return text.strip()
