"""Options and shared fixtures."""

import os

import pytest

from tests.simulation.mutants import MUTANTS

if name := os.environ.get("MUTANT"):
    # Whether a test notices that a guard is gone: MUTANT='store without a lease' bin/test tests/pages
    MUTANTS[name].apply()

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.databases",
    "tests.fixtures.proxy",
    "tests.fixtures.bounds",
    "tests.fixtures.shop",
    "tests.fixtures.secrets",
    "tests.fixtures.runtime",
    "tests.fixtures.process",
    "tests.fixtures.commands",
    "tests.fixtures.web",
    "tests.fixtures.redis_deployments",
    "tests.fixtures.pgbouncer",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=["auto", "containers", "wheels"],
        default="auto",
        help="containers (testcontainers), wheels (embedded servers), or auto: containers where an engine answers",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
