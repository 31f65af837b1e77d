"""The table goes where a document wants it, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import PROJECT
from tests.bench import table
from tests.bench.busy import Others
from tests.bench.rows import Row, at_most, fact
from tests.bench.table import DECISIVE, NoPlaceError, check, markdown, plain, write

_DOCUMENT = "# Title\n\n<!-- bench: every row -->\nof before\n<!-- bench: end -->\n\nText.\n"
_ONES = [1.0] * 6


def _rows() -> list[Row]:
    good, bad = at_most("good", "it", 1, [0.5] * 6, _ONES), at_most(DECISIVE[0], "it | that", 1, [2.0] * 6, _ONES)
    return [good, replace(bad, others=Others(0.5, 1.0)), fact("bytes", "it", "1 and 2")]


def test_table_replaces_what_is_between_the_marks(tmp_path: Path) -> None:
    """Twice, without traces of the first."""
    file = tmp_path / "document.md"
    file.write_text(_DOCUMENT)
    for busy in ("the machine was busy", "the machine was quiet"):
        write(file, _rows(), {"date": "today", "cores": "2"}, busy)
    text = file.read_text()
    assert text.startswith(
        "# Title\n\n<!-- bench: every row -->\nMeasured: date today, cores 2. The machine was quiet.\n"
    )
    assert text.endswith("<!-- bench: end -->\n\nText.\n")
    assert "of before" not in text
    assert "was busy" not in text
    assert text.count("\n| ") == 5


def test_readme_has_only_what_decides(tmp_path: Path) -> None:
    """In the order of the list."""
    file = tmp_path / "document.md"
    file.write_text(_DOCUMENT.replace("every row", "what decides"))
    write(file, _rows(), {}, "")
    assert "good" not in file.read_text()
    assert f"| {DECISIVE[0]} |" in file.read_text()


def test_document_without_a_place_is_refused_before_the_run(tmp_path: Path) -> None:
    """A new one is made."""
    file = tmp_path / "document.md"
    check(file)
    write(file, _rows(), {}, "")
    check(file)
    for text in ("# Title\n", _DOCUMENT.replace("end", "x"), ""):
        file.write_text(text)
        with pytest.raises(NoPlaceError):
            check(file)
        assert file.read_text() == text


def test_markdown_shows_verdict_and_mark() -> None:
    """What does not hold is bold; cells keep their borders."""
    lines = markdown(_rows()).splitlines()
    assert lines[2] == "| good | it | 0.50 | 0.50 to 0.50 | <= 1x | holds | 500.00 and 1,000.00 ms |"
    assert lines[3].startswith(
        f"| {DECISIVE[0]} | it \\| that | **2.00** | 2.00 to 2.00 | <= 1x | **does not hold**, busy |"
    )
    assert lines[4] == "| bytes | it |  |  |  |  | 1 and 2 |"


def test_line_of_a_row_says_what_it_decides() -> None:
    """A fact has nothing to decide."""
    good, bad, bytes_of_a_page = map(table.line, _rows())
    assert good == "good: 0.50 (wanted <= 1x), holds; 500.00 and 1,000.00 ms"
    assert "does not hold, busy;" in bad
    assert bytes_of_a_page == "bytes: 1 and 2"


def test_plain_table_counts_verdicts() -> None:
    """Facts are none."""
    said = plain([*_rows(), at_most("open", "it", 1, [1.0], [1.0])])
    assert said.endswith("of 3 verdicts 1 hold, 1 do not hold, 1 are not decided")
    assert "busy" in said.splitlines()[1]
    assert plain([]).startswith("of 0 verdicts")


@pytest.mark.parametrize("document", ["README.md", "docs/performance.md"])
def test_documents_have_a_place(document: str) -> None:
    """So that the table is made, not typed."""
    check(PROJECT / document)
    assert table.markdown([]).splitlines()[0] in (PROJECT / document).read_text()
