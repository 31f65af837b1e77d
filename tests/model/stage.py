"""Where a counterexample is played: a config database whose functions can lose a guard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg.conninfo import make_conninfo

from tests.fixtures.databases import Aside, Sql, connect
from tests.fixtures.view import read

NOTED_BY = "source_details_note_refresh"
NOTE = f"SELECT {NOTED_BY}()"
POLL = "SELECT source_details_refresh_if_due(1)"
_GATE = 4711


@dataclass
class Stage:
    """A config database with one source, which has table a; the view is refreshed, and noted."""

    config: Sql
    dsn: str
    source: int
    statement: str
    first: int = 0

    def names(self) -> list[str]:
        """The tables that the source's page shows."""
        return sorted(read(self.config, self.source, self.statement)["published_names"])

    def is_current(self) -> bool:
        """Whether readers trust the view."""
        return bool(read(self.config, self.source)["view_is_current"])

    def refreshes(self) -> int:
        """How often the function has refreshed the view since then."""
        row = self.config.execute("SELECT refreshes FROM source_details_refresh_state").fetchone()
        assert row is not None
        return int(row["refreshes"]) - self.first

    def replace(self, function: str, texts: dict[str, str]) -> None:
        """Replaces texts in a function; each has to be there."""
        row = self.config.execute("SELECT pg_get_functiondef(%s::regproc) AS text", (function,)).fetchone()
        assert row is not None
        text = row["text"]
        for old, new in texts.items():
            assert old in text, (function, old)
            text = text.replace(old, new)
        self.config.execute(text)

    @contextmanager
    def held(self, statement: str, function: str, before: str, stop: str) -> Iterator[Callable[[], None]]:
        """Runs the statement aside, up to a place in the function. Yields what lets it go on to its end."""
        self.config.execute(
            f"""
            CREATE FUNCTION public.stops() RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('application_name') = 'held' THEN PERFORM pg_advisory_xact_lock({_GATE}); END IF;
                RETURN true;
            END
            $$
            """.encode()
        )
        self.replace(function, {before: stop + before})
        with connect(self.dsn) as gate:
            gate.execute("SELECT pg_advisory_lock(%s)", (_GATE,))
            held = Aside(make_conninfo(self.dsn, application_name="held"), statement)
            held.wait_for_lock(self.config)

            def go_on() -> None:
                gate.execute("SELECT pg_advisory_unlock_all()")
                held.join()

            yield go_on


def add_version(connection: Sql) -> None:
    """A version of every table, number 7."""
    connection.execute(
        """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
        SELECT id, 7 FROM table_metadata_list
        """
    )


@dataclass(frozen=True)
class Play:
    """A counterexample, what comes of it with the guard and without, and the guard's text in a function.

    No function: it is in the statement of readers.
    """

    run: Callable[[Stage], object]
    right: object
    wrong: object
    function: str
    texts: dict[str, str]
