"""Options and shared fixtures."""

import importlib
import os
from contextlib import suppress

import pytest

from service.demo import surroundings
from tests.simulation.mutants import MUTANTS

if name := os.environ.get("MUTANT"):
    # Whether a test notices that a guard is gone: MUTANT='store without a lease' bin/test tests/pages
    MUTANTS[name].apply()

# Schemathesis' plugin imports these at the end of a run, and pytest parses them to rewrite their assertions. CPython
# 3.11 fails with "AST constructor recursion depth mismatch" if the garbage collector formats a traceback, which parses
# too, in the middle of that: here nothing has failed yet.
for _name in ("allure", "html.writer", "junitxml"):
    with suppress(ImportError):
        importlib.import_module(f"schemathesis.reporting.{_name}")

# For the tests themselves: what they change, which browser and Python they use.
_OURS = (
    "ROSETTA_WRITE_DOCS", "ROSETTA_WRITE_OPERATING", "ROSETTA_WRITE_PICTURES", "ROSETTA_CHROMIUM", "ROSETTA_PYTHON",
    "ROSETTA_FUZZ_EXAMPLES", "ROSETTA_STRANGERS",
)  # fmt: skip
_kept = {name: os.environ[name] for name in _OURS if name in os.environ}
surroundings.forget()
os.environ |= _kept

pytest_plugins = [
    "tests.fixtures.alone",
    "tests.fixtures.order",
    "tests.fixtures.summary",
    "tests.fixtures.servers",
    "tests.fixtures.databases",
    "tests.fixtures.proxy",
    "tests.fixtures.bounds",
    "tests.fixtures.loops",
    "tests.fixtures.notifications",
    "tests.fixtures.shop",
    "tests.fixtures.secrets",
    "tests.fixtures.runtime",
    "tests.fixtures.process",
    "tests.fixtures.commands",
    "tests.fixtures.web",
    "tests.fixtures.redis_deployments",
    "tests.fixtures.pgbouncer",
    "tests.fixtures.network",
    "tests.fixtures.two_hosts",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=["auto", "containers", "wheels"],
        default="auto",
        help="containers (testcontainers), wheels (embedded servers), or auto: containers where an engine answers",
    )
    parser.addoption("--gallery", metavar="DIR", help="write pictures of every state of the web pages; with -m browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
