"""The demo tells what the service does, step by step."""

import subprocess
from pathlib import Path

import pytest

from tests.fixtures.process import SERVICE
from tests.fixtures.secrets import Walker

# It brings servers of its own, from wheels.
pytestmark = pytest.mark.servers

# What a person may have set for other programs.
_ELSEWHERE = {
    "PGSSLMODE": "verify-full", "PGHOSTADDR": "192.0.2.1", "PGSERVICE": "nowhere", "PGOPTIONS": "-c nonsense=1",
    "PGPASSWORD": "another", "ROSETTA_LISTENER_DSN": "postgresql://u:p@127.0.0.1:1/x", "ROSETTA_PORT": "1",
    "ROSETTA_REDIS_URL": "redis://127.0.0.1:1", "ROSETTA_CACHE_TTL_S": "never",
    "HTTP_PROXY": "http://127.0.0.1:1", "all_proxy": "socks5://127.0.0.1:1",
}  # fmt: skip


def test_check_tells_the_whole_story(apart: dict[str, str], no_leaks: Walker, tmp_path: Path) -> None:
    """Every step with its time, and exit code 0, whatever is set, and wherever the person is."""
    (tmp_path / "secrets.py").write_text("raise SystemExit('somebody else is running')\n")
    result = subprocess.run(
        [*SERVICE, "demo", "--check"],
        env=apart | _ELSEWHERE,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    for line in result.stdout.splitlines():
        no_leaks.look("log lines", line)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "everything works"
    for step in (
        "miss", "hit", "304 on the ETag", "UPDATE by SQL alone", "DEL by hand", "force_refresh finds",
        "a varchar is widened at the source: a version that names both lengths",
        "REFRESH MATERIALIZED VIEW by SQL alone", "source stopped", "redis stopped",
    ):  # fmt: skip
        assert any(step in line and " ms  " in line for line in result.stdout.splitlines()), step
