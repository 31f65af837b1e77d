"""The lines that the README gives work as they are printed."""

import re
import shutil
import subprocess

import pytest

from tests import PROJECT
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import StartProcess

README = (PROJECT / "README.md").read_text()
_TIME_IS_OVER = 124


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_lines_with_curl_answer(serve: StartProcess, config: Sql, shop_dsn: str) -> None:
    """Every one of them, against a service with one source and one table."""
    source = add_source(config, shop_dsn)
    assert (source, add_table(config, source)) == (1, 1)
    process = serve()
    process.until_ready()
    lines = [line for line in README.splitlines() if re.match(r"(timeout \d+ )?curl ", line)]
    assert len(lines) >= 12
    for line in lines:
        command = line.replace("curl ", "curl --fail ", 1).replace("timeout 5", "timeout 1")
        ran = subprocess.run(
            ["bash", "-c", f"url={process.url}\n{command}"], capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.returncode in (0, _TIME_IS_OVER), (line, ran.stdout, ran.stderr)
        assert ran.stdout, line
