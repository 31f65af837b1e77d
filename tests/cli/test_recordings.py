"""What the commands show in terminals of several widths: as text to look at, and nothing that is too wide.

`bin/test tests/cli/test_recordings.py --gallery DIR` writes `terminal-60.txt` and its like.
"""

from pathlib import Path

import pytest

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.process import StartProcess
from tests.fixtures.terminal import Terminal

pytestmark = pytest.mark.operations
_COMMANDS = (
    "--help", "sources --help", "sources list", "sources show shop", "sources test shop", "sync --all", "explain shop",
    "changes shop", "evict shop", "settings --changed", "doctor", "sources show shopp",
)  # fmt: skip
# Their sentences are as long as they are, and go on below by themselves.
_TABLES = ("--help", "sources list", "sync --all", "evict shop")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_recording(
    serve: StartProcess, config: Sql, config_dsn: str, redis_url: str, shop: Sql, shop_dsn: str, columns: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """Of every command that shows something: none fails with a traceback."""
    directory = request.config.getoption("gallery")
    if columns != 60 and not directory:
        pytest.skip("writes text for people: --gallery DIR")
    shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY, title varchar(100))")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE orders")
    source = add_source(config, shop_dsn, name="shop", publication_name="rosetta")
    add_table(config, source, "orders")
    add_pipeline(config, source, "lake")
    add_source(config, name="a warehouse with a long name, far away", pg_port=1)
    process = serve()
    process.until_ready()
    recorded = []
    for command in _COMMANDS:
        terminal = Terminal(
            config_dsn, tuple(command.split()), columns, ROSETTA_REDIS_URL=redis_url, ROSETTA_PORT=str(process.port)
        )
        code = terminal.end()
        assert "Traceback" not in terminal.shown
        assert code in (0, 1), terminal.shown
        if command.endswith(_TABLES):
            assert max(map(len, terminal.plain)) <= columns, terminal.plain
        recorded += [f"$ rosetta {command}", *terminal.plain, f"[{code}]", ""]
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / f"terminal-{columns}.txt").write_text("\n".join(recorded))
