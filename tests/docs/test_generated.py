"""What the documentation takes from the code is what the code says.

`ROSETTA_WRITE_DOCS=1` writes it.
"""

import os
import re

import pytest

from tests import PROJECT
from tests.docs import generated

# The first argument of a call of a logger.
_LOGGED = re.compile(r'(?:log|get_logger\(\))(?:\.(?:debug|info|warning|error)|, level\))\(\s*"([^"]+)"')


@pytest.mark.parametrize("document", generated.DOCUMENTS)
def test_generated_part_is_what_the_code_says(document: str) -> None:
    """Word for word."""
    if os.environ.get("ROSETTA_WRITE_DOCS"):
        generated.write(document)
    assert generated.written(document) == generated.DOCUMENTS[document]()


def test_every_other_line_of_the_log_is_listed() -> None:
    """Whatever is logged by a text of its own."""
    listed = re.findall(r"^\| `([a-z][^`]*)` \|", (PROJECT / "docs/log.md").read_text(), re.MULTILINE)
    logged = {text for path in (PROJECT / "service").rglob("*.py") for text in _LOGGED.findall(path.read_text())}
    assert set(listed) == logged
