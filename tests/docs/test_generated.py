"""What the documentation takes from the code is what the code says.

`ROSETTA_WRITE_DOCS=1` writes it.
"""

import ast
import os
import re
from collections.abc import Iterator

import pytest

from tests import PROJECT
from tests.docs import generated

_LEVELS = {"debug", "info", "warning", "error"}


@pytest.mark.parametrize("document", generated.DOCUMENTS)
def test_generated_part_is_what_the_code_says(document: str) -> None:
    """Word for word."""
    if os.environ.get("ROSETTA_WRITE_DOCS"):
        generated.write(document)
    assert generated.written(document) == generated.DOCUMENTS[document]()


def test_every_other_line_of_the_log_is_listed() -> None:
    """Whatever is logged by a text of its own."""
    listed = set(re.findall(r"^\| `([a-z][^`]*)` \|", (PROJECT / "docs/log.md").read_text(), re.MULTILINE))
    logged = {text for path in (PROJECT / "service").rglob("*.py") for text in _logged(ast.parse(path.read_text()))}
    assert listed == logged


def _logged(module: ast.Module) -> Iterator[str]:
    """First arguments of calls of a logger: `log.info("...")`, `getattr(log, level)("...")`."""
    for call in ast.walk(module):
        if not isinstance(call, ast.Call) or not call.args or not isinstance(call.args[0], ast.Constant):
            continue
        text, logger = call.args[0].value, ast.unparse(call.func)
        by_name = isinstance(call.func, ast.Attribute) and call.func.attr in _LEVELS
        if isinstance(text, str) and "log" in logger and (by_name or logger.startswith("getattr(log")):
            yield text
