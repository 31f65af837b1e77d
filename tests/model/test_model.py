"""The models of the view and of moves hold, and each guard that is taken out of one is missed."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

VIEW, MOVES = "view.pml", "moves.pml"
_MOST_MB = 1000
_TRIGGER = "HAS_TRIGGER=1"
_ONE_WRITER = "WRITERS=1"
# The numbers that a restored log names: one that a transaction will have, and one that none will reach.
_NEAR, _FAR = "FOREIGN=2", "FOREIGN=6"
# What is explored without a counterexample. Two writers, two refreshes and any number of readers are in the first two.
WHOLE: list[list[str]] = [
    [],
    [_TRIGGER],
    [_ONE_WRITER, "POLLS=1"],
    [_ONE_WRITER, "ALTERS=1"],
    [_ONE_WRITER, "ALTERS=1", _TRIGGER],
    [_ONE_WRITER, _NEAR],
    [_ONE_WRITER, _NEAR, _TRIGGER],
    [_ONE_WRITER, _FAR],
    [_ONE_WRITER, _FAR, _TRIGGER],
]
# Two movers beside two writers hold as well: 11,401,172 states, which take two minutes.
WHOLE_OF_MOVES = [[], ["MOVERS=2", "WRITERS=1"]]
_KEPT_ONLY = "OPEN_PAGES=0"
# What is violated without a guard, and where. test_played.py plays each of them.
GUARDS: dict[str, tuple[str, list[str]]] = {
    # A refresh that read earlier than the noted one is late.
    "NO_ORDER_CHECK": ("reads_less", [_TRIGGER]),
    # A snapshot does not list its own transaction as in progress. The order counts it.
    "NO_OWN_NUMBER_IN_ORDER": ("reads_less", [_TRIGGER]),
    # A note deletes only log rows that the refresh has seen, ...
    "NO_VISIBILITY": ("reads_less", []),
    # ... none of the refresh's own transaction, which may write again, ...
    "NO_OWN_ROWS": ("reads_less", []),
    # ... none of its own transaction as one of the future, ...
    "NO_OWN_ROWS_OF_FUTURE": ("reads_less", [_TRIGGER]),
    # ... and none of the future that a writer relies on.
    "NO_LOG_LOCK": ("reads_less", [_ONE_WRITER, _NEAR]),
    # Notes do not overlap.
    "NO_ROW_LOCK": ("reads_less", [_ONE_WRITER, "POLLS=1"]),
    # Readers trust the view only if it is the noted one.
    "NO_COMPARISON": ("reads_less", []),
    # A table that is rewritten looks empty to older snapshots.
    "NO_SIGHT_OF_TABLES": ("reads_less", [_ONE_WRITER, "ALTERS=1"]),
    # These save work only: a refresh that is refused, or that nobody needs.
    "NO_SECOND_LOOK": ("in_vain", []),
    "NO_SECOND_CHECK": ("in_vain", [_ONE_WRITER, "POLLS=1"]),
    "NO_ADVISORY_LOCK": ("in_vain", []),
    "NO_TABLE_LOCK": ("in_vain", [_ONE_WRITER, "ALTERS=1"]),
    # Without these readers are right, and read live until transaction numbers have caught up, or until the next change.
    "NO_FUTURE_ROWS": ("stays_live", [_ONE_WRITER, _FAR]),
    "NO_FOREIGN_SNAPSHOT": ("stays_live", [_ONE_WRITER, _FAR]),
    "NO_NUMBER_IN_KNOWN": ("stays_live", [_TRIGGER]),
}
GUARDS_OF_MOVES: dict[str, tuple[str, list[str]]] = {
    # A writer that has not seen the move tells of the old source: until it has ended, the new one's page is not kept.
    "NO_UNSETTLED": ("keeps_less", [_KEPT_ONLY]),
    # That row stays until the writers of its time have ended: those before its horizon, ...
    "NO_HORIZON": ("keeps_less", [_KEPT_ONLY]),
    # ... whose number is taken after the move has ended, ...
    "NO_LATER_HORIZON": ("keeps_less", [_KEPT_ONLY]),
    # ... and so not in the move's own transaction.
    "NO_OWN_ROW": ("keeps_less", [_KEPT_ONLY]),
    # A transaction with an old snapshot may begin to write long afterwards.
    "NO_TELLING_ALL": ("keeps_less", [_KEPT_ONLY]),
    # Whoever waits for news of the new source has heard of none.
    "NO_TELLING": ("untold", []),
}
# Readers compare the view's transaction as well as its snapshot; the snapshot alone would do.
UNNEEDED = "NO_NUMBER_IN_COMPARISON"


@pytest.fixture(scope="module")
def compiler() -> str:
    """A C compiler. Without one, or without spin, nothing here can run."""
    if shutil.which("spin") is None:
        pytest.skip("spin is not installed: the model is NOT checked")
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("no C compiler is installed: the model is NOT checked")
    return found


@dataclass(frozen=True)
class Explored:
    """What spin says: how many states there are, and the name of what is violated, if anything is."""

    states: int
    violated: str | None


@pytest.fixture
def explore(compiler: str, tmp_path: Path) -> Callable[[str, list[str]], Explored]:
    """Explores a model, with these macros defined, until the first violation or in full."""

    def run(model: str, macros: list[str]) -> Explored:
        def do(*command: str) -> str:
            ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            return ran.stdout

        do("spin", *(f"-D{macro}" for macro in macros), "-a", str(Path(__file__).parent / model))
        # Only a long search repays the time that an optimiser takes.
        do(
            compiler,
            "-O0" if _ONE_WRITER in macros or set(macros) & set(GUARDS) else "-O2",
            "-w",
            "-DSAFETY",
            "-DCOLLAPSE",
            f"-DMEMLIM={_MOST_MB}",
            "-o",
            "pan",
            "pan.c",
        )
        text = do("./pan", "-m10000")
        assert "max search depth too small" not in text
        assert "Search not completed" in text or "errors: 0" in text, text
        states = re.search(r"^\s*(\d+) states, stored", text, re.M)
        errors = re.search(r"errors: (\d+)", text)
        assert states is not None, text
        assert errors is not None, text
        # The name stands at the end of the assertion, after the last "||".
        message = re.search(r"assertion violated .*\|\|(\w+)\)+ \(at depth", text)
        assert (errors[1], message is not None) in {("0", False), ("1", True)}, text
        return Explored(int(states[1]), message[1] if message else None)

    return run


@pytest.mark.model
@pytest.mark.parametrize(
    ("model", "macros"),
    [*((VIEW, macros) for macros in WHOLE), *((MOVES, macros) for macros in WHOLE_OF_MOVES)],
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "as it is",
)
def test_no_reader_sees_less_than_was_committed(
    explore: Callable[[str, list[str]], Explored], model: str, macros: list[str], tell: Callable[[str], None]
) -> None:
    """In every interleaving, whatever is refreshed or moved, and by whomever."""
    explored = explore(model, macros)
    assert explored.violated is None
    tell(f"the model {model}, {' '.join(macros) or 'as it is'}: {explored.states:,} states")


@pytest.mark.model
@pytest.mark.parametrize("guard", [*GUARDS, *GUARDS_OF_MOVES])
def test_every_guard_is_missed(explore: Callable[[str, list[str]], Explored], guard: str) -> None:
    """Without it spin finds an interleaving that violates what the guard is for."""
    violated, macros = (GUARDS | GUARDS_OF_MOVES)[guard]
    assert guard in GUARDS_OF_MOVES or macros in WHOLE
    assert explore(VIEW if guard in GUARDS else MOVES, [guard, *macros]).violated == violated


@pytest.mark.model
@pytest.mark.parametrize("macros", [[_ONE_WRITER, "POLLS=1"], [_ONE_WRITER, "ALTERS=1", _TRIGGER]], ids=" ".join)
def test_snapshot_alone_identifies_what_readers_trust(
    explore: Callable[[str, list[str]], Explored], macros: list[str]
) -> None:
    """Two refreshes with one snapshot differ only in what the log names."""
    assert explore(VIEW, [UNNEEDED, *macros]).violated is None


@pytest.mark.parametrize(("model", "listed"), [(VIEW, {*GUARDS, UNNEEDED}), (MOVES, {*GUARDS_OF_MOVES})])
def test_every_guard_of_the_model_is_listed(model: str, listed: set[str]) -> None:
    """None is taken out by a macro that no test defines, or the other way round."""
    text = (Path(__file__).parent / model).read_text()
    assert set(re.findall(r"NO_\w+", text)) - {"NO_"} == listed
