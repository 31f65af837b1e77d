"""What the models find without a guard happens on a real server too, and with the guard it does not.

Each counterexample is played twice, on databases of their own: as it is, and with the guard's text taken out of the
function. The names are those of `test_model.py`.
"""

from collections.abc import Callable

import pytest

from service.database.queries import query
from tests.fixtures.databases import Databases, connect
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.view import OURS
from tests.model import plays_of_moves, plays_of_view
from tests.model.stage import Play, Stage
from tests.model.test_model import GUARDS, GUARDS_OF_MOVES

PLAYS = plays_of_view.PLAYS | plays_of_moves.PLAYS
# A counterexample whose snapshots have to be alike is spoilt if the server's own work ends a transaction in between.
_ATTEMPTS = 5


@pytest.fixture
def played(databases: Databases) -> Callable[[Play, bool], object]:
    """Plays a counterexample on a database of its own."""

    def play(what: Play, is_guarded: bool) -> object:
        dsn = databases.migrated()
        with connect(dsn) as config:
            stage = Stage(config, dsn, add_source(config), query("details"))
            add_table(config, stage.source, "a")
            config.execute(OURS)
            stage.first = stage.refreshes()
            if not is_guarded and what.function:
                stage.replace(what.function, what.texts)
            elif not is_guarded:
                for old, new in what.texts.items():
                    assert old in stage.statement
                    stage.statement = stage.statement.replace(old, new)
            return what.run(stage)

    return play


@pytest.mark.parametrize("guard", [*GUARDS, *GUARDS_OF_MOVES])
def test_counterexample(played: Callable[[Play, bool], object], guard: str) -> None:
    """Without the guard it goes wrong as the model says, with it all is right."""
    play = PLAYS[guard]
    assert played(play, True) == play.right
    assert any(played(play, False) == play.wrong for _ in range(_ATTEMPTS))
