"""How long something may take at most: held by a test, and printed at the end with what it took; other figures too."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic

import pytest

_figures = pytest.StashKey[list[str]]()
Bound = Callable[[str, float], AbstractContextManager[None]]


@pytest.fixture
def bound(request: pytest.FixtureRequest) -> Bound:
    """`with bound("what it is", seconds):` fails where the block takes longer."""
    figures = request.config.stash.setdefault(_figures, [])

    @contextmanager
    def hold(what: str, seconds: float) -> Iterator[None]:
        started = monotonic()
        yield
        took = monotonic() - started
        figures.append(f"{what}: {took * 1000:,.0f} ms, bound {seconds * 1000:,.0f} ms")
        assert took <= seconds, figures[-1]

    return hold


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line at the end."""
    return request.config.stash.setdefault(_figures, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures: list[str] = config.stash.setdefault(_figures, [])
    for figure in sorted(figures):
        terminalreporter.write_line(figure)
