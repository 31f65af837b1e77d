"""Options and shared fixtures."""

import pytest

pytest_plugins = [
    "tests.fix_servers",
    "tests.fix_databases",
    "tests.fix_proxy",
    "tests.fix_bounds",
    "tests.fix_shop",
    "tests.fix_secrets",
    "tests.fix_runtime",
    "tests.fix_process",
    "tests.fix_commands",
    "tests.fix_web",
    "tests.fix_redis_deployments",
    "tests.fix_pgbouncer",
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
