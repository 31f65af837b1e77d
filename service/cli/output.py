"""How commands print: lines, tables that fit the terminal, JSON for programs, and progress."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from service.printable import printable, printable_json

FINE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
_STATES = {"ok": "green", "warning": "yellow", "error": "red", "unknown": "dim"}
# For what is not a terminal: a program reads whole lines.
_ENDLESS = 10_000


def say(*lines: str) -> None:
    """Prints each as one line, whatever control characters are in it."""
    for line in lines:
        print(printable(line))


def complain(line: str) -> None:
    """Prints one line on standard error."""
    print(printable(line), file=sys.stderr)


def show_json(facts: Any) -> None:
    """Prints facts as JSON."""
    print(printable_json(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()))


def show_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Prints aligned columns; those named in `right` hold figures.

    On a terminal a table is as wide as that, and long cells go on below; elsewhere no line is broken. Colours are for a
    terminal alone, and not with NO_COLOR (https://no-color.org).
    """
    is_terminal = sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in header:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in right or not is_terminal,
        )
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    width = shutil.get_terminal_size().columns if is_terminal else _ENDLESS
    drawn = StringIO()
    Console(file=drawn, width=width, force_terminal=is_terminal, highlight=False, emoji=False).print(table)
    print("\n".join(line.rstrip() for line in drawn.getvalue().splitlines()))


def _cell(cell: Any) -> Text:
    text = "-" if cell is None else printable(str(cell))
    return Text(text, style=_STATES.get(text, ""))


def is_confirmed(question: str) -> bool:
    """Whether a person answers yes; false if there is no terminal."""
    answer = input(f"{printable(question)} [y/N] ") if sys.stdin.isatty() else ""
    return answer.strip().lower() in ("y", "yes")


class Steps:
    """How far a long command is. It is shown to a person only."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = progress.task_ids[0] if progress else None

    def begin(self, name: str) -> None:
        """Names what is being done now."""
        if self._progress and self._task is not None:
            # At once: a step may be over before the bar is drawn anew by itself.
            self._progress.update(self._task, description=printable(name), refresh=True)

    def done(self) -> None:
        """One more is done."""
        if self._progress and self._task is not None:
            self._progress.advance(self._task)


@contextmanager
def progress(total: int) -> Iterator[Steps]:
    """A bar with counts on standard error, if that is a terminal and there is more than one thing to do."""
    if total < 2 or not sys.stderr.isatty():
        yield Steps(None)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task("", total=total)
        yield Steps(shown)
