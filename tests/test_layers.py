"""Imports in service/ go one way only, and every statement in sql/ is used."""

import ast
import re
from pathlib import Path

import service
from service.queries import _texts, query

PACKAGE = Path(service.__file__).parent

# From the highest floor to the lowest: a module imports only from the floors below its own.
FLOORS = [
    {"cli"},
    {"demo"},
    {"demo_story", "demo_hints"},
    {"demo_source", "server", "doctor", "explain", "sources_command", "sync_command", "token_command"},
    {"migrate", "workbench"},
    {"app", "embedded"},
    {"routes", "table_routes", "web", "hot_path", "reaper"},
    {"progress"},
    {"outcome", "requests"},
    {"access"},
    {"runtime", "caching_headers", "compression", "parameters", "request_log", "description", "assets"},
    {"schedule", "warming", "shapes"},
    {"listener", "sync", "sampler", "live", "table_list", "rate_limit", "wal_monitor"},
    {"details", "refresh"},
    {"publication"},
    {"remote", "cache_session"},
    {"answer"},
    {"rooms"},
    {"portrait"},
    {"cache", "database", "memory", "replication"},
    {"metrics", "templates", "connection"},
    {"redis_deployment"},
    {"redis_primaries"},
    {"settings", "queries", "observation", "evolution"},
    {"tokens", "source_hosts", "log_lines", "tracing", "protocol"},
    {"redis_url", "errors", "credentials", "resources", "resolver", "waiting"},
]


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, also those for types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "service":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("service."):
            names.add(node.module.split(".")[1])
    return names


def test_imports_go_down_only() -> None:
    """The one exception: the demo's texts say for whom they are told, for the type checker alone."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    files = {path.stem: path for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert set(files) == set(floor)
    for name, path in files.items():
        for other in imported(path) & set(floor):
            if (name, other) not in {("demo_story", "demo"), ("demo_hints", "demo")}:
                assert floor[other] > floor[name], f"{name} imports {other}"


def test_every_statement_is_used_and_complete() -> None:
    """By the program or by another statement; and each is described in its file."""
    program = "".join(path.read_text() for path in PACKAGE.glob("*.py"))
    included = set(re.findall(r"-- include: (\w+)", "".join(_texts().values())))
    for name, text in _texts().items():
        assert name in included or f'"{name}"' in program, name
        assert text.startswith("-- "), f"{name} is not described"
        assert "-- include:" not in query(name)
