"""The requests of the documentation work as they are printed, and the README's answer has the shape of a real one."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests import PROJECT
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import StartProcess

README = (PROJECT / "README.md").read_text()
API = (PROJECT / "docs" / "api.md").read_text()
_TIME_IS_OVER = 124


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_lines_with_curl_answer(serve: StartProcess, config: Sql, shop_dsn: str) -> None:
    """Every one of them, against a service with one source and one table."""
    source = add_source(config, shop_dsn)
    assert (source, add_table(config, source)) == (1, 1)
    process = serve()
    process.until_ready()
    lines = [line for line in API.splitlines() if re.match(r"(timeout \d+ )?curl ", line)]
    assert len(lines) >= 12
    for line in lines:
        command = line.replace("curl ", "curl --fail ", 1).replace("timeout 5", "timeout 1")
        ran = subprocess.run(
            ["bash", "-c", f"url={process.url}\n{command}"], capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.returncode in (0, _TIME_IS_OVER), (line, ran.stdout, ran.stderr)
        assert ran.stdout, line


def test_answer_in_the_readme_has_the_shape_of_a_real_one(serve: StartProcess, config: Sql, shop_dsn: str) -> None:
    """Every name in it is one that the service gives; `...` stands for the others."""
    source = add_source(config, shop_dsn)
    add_table(config, source)
    process = serve()
    process.until_ready()
    printed = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert printed is not None
    real = process.client.get(f"/api/v1/sources/{source}/details", params={"force_refresh": True}).json()
    assert _unknown(json.loads(printed[1]), real) == []


def _unknown(printed: Any, real: Any) -> list[str]:
    if isinstance(printed, dict) and isinstance(real, dict):
        names = [name for name in printed if name != "..."]
        return [name for name in names if name not in real] + [
            below for name in names if name in real for below in _unknown(printed[name], real[name])
        ]
    if isinstance(printed, list) and isinstance(real, list) and printed and real:
        return _unknown(printed[0], real[0])
    return []
