"""Imports in service/ go one way only, and every statement in sql/ is used."""

import ast
import gc
import re
from collections.abc import Iterator
from pathlib import Path

import service
from service.database.queries import _texts, query

PACKAGE = Path(service.__file__).parent

# From the highest floor to the lowest: a room imports from itself and from the floors below its own.
ROOMS = [
    {"__main__"},
    {"rehearsal"},
    {"demo"},
    {"cli"},
    {"serving"},
    {"app"},
    {"web"},
    {"http"},
    {"runtime"},
    {"health"},
    {"parts"},
    {"pages"},
    {"notices"},
    {"sources"},
    {"cache", "database"},
    {"telemetry"},
    {"config"},
    {"errors", "concurrency", "descriptors", "printable", "units"},
]
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
# Who may import a library: everybody else asks these.
OWNERS = {"redis": {"cache"}, "litestar": {"http", "web", "app"}}


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, also those for types alone."""
    # See tests/conftest.py: nothing may be collected while it parses.
    gc.disable()
    try:
        tree = ast.parse(path.read_text())
    finally:
        gc.enable()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(path: Path) -> str:
    """The package, or the module beside the packages, that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def test_imports_go_down_only() -> None:
    """From room to room; what is in one room may import what is beside it."""
    for path in PACKAGE.rglob("*.py"):
        own = room(path)
        for name in imported(path):
            library, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if library == "service" and other in FLOORS and other != own:
                assert FLOORS[other] > FLOORS[own], f"{path.relative_to(PACKAGE)} imports {name}"


def test_libraries_have_one_owner() -> None:
    """Only `cache` imports redis-py; only `http`, `web` and `app` import Litestar."""
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path):
            library = name.partition(".")[0]
            assert room(path) in OWNERS.get(library, {room(path)}), f"{path.relative_to(PACKAGE)} imports {name}"


def test_every_statement_is_used_and_complete() -> None:
    """By the program or by another statement; and each is described in its file."""
    program = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    included = set(re.findall(r"-- (?:include|from \d+|before \d+): (\w+)", "".join(_texts().values())))
    for name, text in _texts().items():
        assert name in included or f'"{name}"' in program, name
        assert text.startswith("-- "), f"{name} is not described"
        assert not re.search(r"-- (include|from|before)", query(name))
