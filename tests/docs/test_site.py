"""The documentation becomes a site: without a network, a dead link, or a page that nobody can find."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import PROJECT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that `bin/docs` makes."""
    built = tmp_path_factory.mktemp("site")
    ran = subprocess.run([PROJECT / "bin" / "docs", built], capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    return built


def test_every_page_is_in_it(site: Path) -> None:
    """And the top leads to the first one. A page in no table of contents is a warning, which fails the build."""
    for page in (PROJECT / "docs").glob("*.md"):
        assert (site / "docs" / f"{page.stem}.html").exists(), page.name
    target = re.search(r"url=([^\"]+)", (site / "index.html").read_text())
    assert target is not None
    assert (site / target[1]).exists()


def test_it_loads_nothing_from_other_hosts(site: Path) -> None:
    """Scripts, styles, fonts and pictures are in the folder."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)[^>]+?(?:src|href)=\"(https?:[^\"]+)", page.read_text())
        assert loaded == [], page
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:", style.read_text()), style


def test_dead_link_fails_the_build(tmp_path: Path) -> None:
    """Else the first test would prove nothing."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n[nowhere](nowhere.md)\n")
    options = ["-b", "html", "-c", str(PROJECT / "docs"), "-D", "html_extra_path=", "-W", "-q"]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(tmp_path / "html")]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode != 0
    assert "nowhere.md" in ran.stderr
