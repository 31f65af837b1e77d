"""A collection of the oldest generation stops the event loop: it has to look at little."""

import subprocess
import sys

from tests.fixtures.process import surroundings

# What runs in the place of the service's event loop says which objects a collection would look at.
_SERVE = """
import asyncio, gc

class Loop(asyncio.Runner):
    def run(self, service):
        service.close()
        print(gc.isenabled(), gc.get_freeze_count() > 50_000, len(gc.get_objects()) < 5_000)

asyncio.Runner = Loop
from service.cli.main import main
main()
"""


def test_modules_are_not_looked_at() -> None:
    """They are most of a process's objects, and live as long as it does."""
    own = {"ROSETTA_CONFIG_DSN": "postgresql://nobody@127.0.0.1:1/none", "CREDENTIAL_ENCRYPTION_KEY": "k" * 32}
    ran = subprocess.run(
        [sys.executable, "-c", _SERVE, "serve", "--port", "0"],
        env=surroundings() | own, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["True", "True", "True"], ran.stdout + ran.stderr
