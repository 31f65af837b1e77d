"""The console command, run as people and programs run it."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.fix_databases import as_service
from tests.fix_metadata import KEY
from tests.fix_secrets import Walker
from tests.fix_servers import Servers

Ran = subprocess.CompletedProcess[str]
Command = Callable[..., Ran]


@pytest.fixture
def rosetta(servers: Servers, config_dsn: str, redis_url: str, no_leaks: Walker) -> Command:
    """Runs `rosetta` with arguments; `stdin` and other variables by keyword, None leaves one out."""
    assert servers

    def run(*arguments: object, stdin: str = "", **changes: str | None) -> Ran:
        variables: dict[str, str | None] = {
            "ROSETTA_CONFIG_DSN": as_service(config_dsn),
            "ROSETTA_REDIS_URL": redis_url,
            "CREDENTIAL_ENCRYPTION_KEY": KEY,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTA_")}
        environment = kept | {name: value for name, value in (variables | changes).items() if value is not None}
        ran = subprocess.run(
            [sys.executable, "-m", "service", *map(str, arguments)],
            env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        no_leaks.look("commands", ran.stdout + ran.stderr)
        return ran

    return run
