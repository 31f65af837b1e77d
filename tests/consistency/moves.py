"""Things that move from one source to another, while something below them changes.

Whoever changes what is below a thing finds its source through the thing, and another transaction may be moving it.
"""

from collections.abc import Iterable

from tests.consistency.content import MOVES, TURNING, TURNS
from tests.consistency.history import Register
from tests.consistency.run import Connection, change
from tests.consistency.writers import Writer, destination

SOURCES = sorted({TURNING, *(source for sources in MOVES.values() for source in sources)})


def lanes() -> Iterable[tuple[str, list[Writer]]]:
    """Everybody has a connection of his own and holds transactions open, so that the mover and the others meet."""
    writers = {
        "moving at": Writer(_at("moving"), _move_table),
        "moving": Writer([(source, "moving") for source in MOVES["moving"]], _add_version),
        "ferried at": Writer(_at("ferried"), _move_pipeline),
        "ferried": destination("ferried", MOVES["ferried"]),
        "carried at": Writer(_at("carried"), _move_link),
        "carried": destination("carried", MOVES["carried"]),
        "turned to": Writer([(TURNING, "turned to")], _turn),
        **{kind: destination(kind, [TURNING]) for kind in TURNS},
    }
    for name, writer in writers.items():
        writer.held_share, writer.longest_hold_s = 0.5, 0.1
        yield name, [writer]


def _at(thing: str) -> list[Register]:
    return [(source, f"{thing} at") for source in MOVES[thing]]


def _place(thing: str, number: int) -> int:
    return MOVES[thing][number % 2]


async def _move_table(connection: Connection, number: int) -> None:
    place = _place("moving", number)
    await change(connection, "UPDATE table_metadata_list SET source_id = %s WHERE table_name = 'moving'", place)


async def _add_version(connection: Connection, number: int) -> None:
    await change(
        connection,
        """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
        SELECT id, %s FROM table_metadata_list WHERE table_name = 'moving'
        """,
        number,
    )


async def _move_pipeline(connection: Connection, number: int) -> None:
    await change(connection, "UPDATE pipelines SET source_id = %s WHERE name = 'ferry'", _place("ferried", number))


async def _move_link(connection: Connection, number: int) -> None:
    await change(
        connection,
        """
        UPDATE pipelines_destination
        SET pipeline_id = (SELECT id FROM pipelines WHERE name = %s)
        WHERE destination_id = (SELECT id FROM destinations WHERE name LIKE 'carried/%%')
        """,
        f"p{_place('carried', number)}",
    )


async def _turn(connection: Connection, number: int) -> None:
    old, new = TURNS[1 - number % 2], TURNS[number % 2]
    await change(
        connection,
        """
        UPDATE pipelines_destination
        SET destination_id = (SELECT id FROM destinations WHERE name LIKE %s)
        WHERE
            destination_id = (SELECT id FROM destinations WHERE name LIKE %s)
            AND pipeline_id = (SELECT id FROM pipelines WHERE name = %s)
        """,
        f"{new}/%",
        f"{old}/%",
        f"p{TURNING}",
    )
