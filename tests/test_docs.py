"""The documents are true: settings, packages, files."""

import re

import pytest

from service.config import settings
from tests import PROJECT
from tests.test_layers import FLOORS

DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "OPERATING.md",
    "docs/changes.md",
    "docs/health.md",
    "docs/performance.md",
    "docs/security.md",
    "docs/timeline.md",
]


def test_readme_lists_every_setting_as_help_does() -> None:
    """With its default and its meaning, in the same order."""
    rows = re.findall(
        r"^\| `((?:ROSETTA|CREDENTIAL)_\w+)` \| `?([^`|]+?)`? \| (.+) \|$", (PROJECT / "README.md").read_text(), re.M
    )
    described = [(setting.variable, setting.default, setting.meaning) for setting in settings.describe()]
    assert rows == described


def test_architecture_has_a_row_for_every_package() -> None:
    """In the order of the floors, and none that is gone."""
    table = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", (PROJECT / "ARCHITECTURE.md").read_text(), re.M)
    named = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    floors = [FLOORS[name] for name in named]
    assert floors == sorted(floors)
    assert set(named) == set(FLOORS) - {"__main__"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    """Links, and paths in code spans."""
    text = (PROJECT / document).read_text()
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((PROJECT / document).parent / path).exists(), path
    for path in re.findall(r"`((?:service|sql|tests|migrations|bin)/[\w./]*)`", text):
        assert (PROJECT / path).exists(), path
