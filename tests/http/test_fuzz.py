"""The API fuzzed from its own OpenAPI document: no failure, and no status or shape that it does not describe."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from service.config import tokens
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.process import StartProcess

pytestmark = pytest.mark.operations

_CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"
# For a long run by hand: ROSETTA_FUZZ_EXAMPLES=2000 bin/test -k fuzz
_EXAMPLES = os.environ.get("ROSETTA_FUZZ_EXAMPLES", "20")


@pytest.mark.timeout(1900)
@pytest.mark.parametrize("access", ["open", "operate", "read", "unknown token"])
def test_nothing_breaks_and_all_is_described(
    serve: StartProcess,
    config: Sql,
    shop_dsn: str,
    tmp_path: Path,
    tell: Callable[[str], None],
    access: Literal["open", "operate", "read", "unknown token"],
) -> None:
    """Every endpoint except the endless stream, without access control and with tokens of every kind."""
    source, dead = add_source(config, shop_dsn), add_source(config)
    for number in (source, dead):
        add_pipeline(config, number, "warehouse")
        add_table(config, number, "t")
        config.execute("INSERT INTO wal_monitor (source_id, total_wal_size) VALUES (%s, '16 MB')", (number,))
    token, entry = tokens.new("fuzz", "read" if access == "read" else "operate")
    process = serve(
        ROSETTA_ACCESS_TOKENS=None if access == "open" else entry,
        ROSETTA_SYNCS_PER_MINUTE="0",
        ROSETTA_LOG_LEVEL="warning",
    )
    process.until_ready()
    headers = [] if access == "open" else ["-H", f"Authorization: Bearer {token}"]
    description = f"{process.url}/schema/openapi.json"
    if access != "open":
        assert process.client.get("/schema/openapi.json").status_code == 401
    if access == "unknown token":
        allowed = process.client.get("/schema/openapi.json", headers={"Authorization": f"Bearer {token}"})
        description = str(tmp_path / "openapi.json")
        Path(description).write_text(allowed.text)
        headers = ["-H", f"Authorization: Bearer {tokens.new('fuzz', 'operate')[0]}"]
    ran = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"), "run", description,
            "--url", process.url, *headers, "--checks", _CHECKS, "--max-examples", _EXAMPLES,
            "--exclude-path-regex", "/events$", "--request-timeout", "10", "--no-color", "--seed", "7",
            "--suppress-health-check", "all",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:]
    generated = re.search(r"(\d+) generated", ran.stdout)
    assert generated is not None
    assert int(generated[1]) > 100
    tell(f"fuzzed, access {access}: {generated[1]} requests, nothing undescribed")
    assert "request failed" not in process.log
    assert "Traceback" not in process.log
