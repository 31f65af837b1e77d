"""What a person may run to mend a source: SQL for the source or the config database. All run as printed."""

import re

_NOT_IN_SLOT_NAMES = re.compile(r"[^a-z0-9_]")
_LONGEST_NAME = 63


def identifier(name: str) -> str:
    """A quoted identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant that reads the same whatever standard_conforming_strings is."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in text else quoted


def slot_name(wanted: str) -> str:
    """A name that PostgreSQL accepts for a slot: lower case, digits and underscores, at most 63."""
    return (_NOT_IN_SLOT_NAMES.sub("_", wanted.lower()) or "rosetta_slot")[:_LONGEST_NAME]


def create_publication(name: str) -> str:
    """For the source."""
    return f"CREATE PUBLICATION {identifier(name)} FOR ALL TABLES;"


def create_slot(name: str, source_id: int) -> str:
    """For the source; and for the config database, if PostgreSQL would not accept the name."""
    accepted = slot_name(name)
    create = f"SELECT pg_create_logical_replication_slot({literal(accepted)}, 'pgoutput');"
    return create if accepted == name else f"{create}\n{use_slot(accepted, source_id)}"


def create_another_slot(taken: str, source_id: int) -> str:
    """A slot beside one that is not this source's, and the source pointed to it."""
    accepted = slot_name(f"{taken[: _LONGEST_NAME - 8]}_rosetta")
    return (
        f"SELECT pg_create_logical_replication_slot({literal(accepted)}, 'pgoutput');\n{use_slot(accepted, source_id)}"
    )


def use_slot(name: str, source_id: int) -> str:
    """For the config database."""
    return f"-- in rosetta_config:\nUPDATE sources SET replication_name = {literal(name)} WHERE id = {source_id};"


def recreate_slot(name: str) -> str:
    """For the source. What was lost has to be copied again."""
    return (
        f"SELECT pg_drop_replication_slot({literal(name)});\n"
        f"SELECT pg_create_logical_replication_slot({literal(name)}, 'pgoutput');"
    )


def look_at_slot(name: str) -> str:
    """For the source. Dropping a slot loses what its reader has not read yet, so that is not run by pasting it."""
    slot = literal(name)
    return (
        f"SELECT active, restart_lsn FROM pg_replication_slots WHERE slot_name = {slot};\n"  # noqa: S608  # quoted
        f"-- Start the pipeline that reads it. If none ever will: SELECT pg_drop_replication_slot({slot});"
    )


def limit_wal() -> str:
    """For the source: keeps its disk from filling up; a slot that falls behind by more is then lost."""
    return (
        "-- Start the pipeline that reads the slot. To save the disk at the cost of a slot that falls behind by more:\n"
        "ALTER SYSTEM SET max_slot_wal_keep_size = '100GB';\n"
        "SELECT pg_reload_conf();"
    )


def keep_more_wal() -> str:
    """For the source: time for the reader of the slot, as long as the disk has room."""
    return (
        "-- Start the pipeline that reads the slot, or make it faster. For more time, if the disk has room:\n"
        "SELECT name, setting, unit FROM pg_settings WHERE name = 'max_slot_wal_keep_size';\n"
        "-- ALTER SYSTEM SET max_slot_wal_keep_size = '...GB'; SELECT pg_reload_conf();"
    )


def heartbeat(publication: str | None) -> str:
    """For the source: something to confirm for a reader whose tables are idle. None: all tables are published."""
    publish = f"ALTER PUBLICATION {identifier(publication)} ADD TABLE rosetta_heartbeat;\n" if publication else ""
    beat = "INSERT INTO rosetta_heartbeat VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = excluded.at;"
    return (
        "-- If its tables are idle in a busy database, let a job run the last statement each minute:\n"
        f"CREATE TABLE rosetta_heartbeat (id integer PRIMARY KEY, at timestamptz NOT NULL);\n{publish}{beat}"
    )


def end_session(pid: int) -> str:
    """For the source. What the session has not committed is lost."""
    return (
        f"SELECT usename, application_name, client_addr, query FROM pg_stat_activity WHERE pid = {pid};\n"  # noqa: S608  # a number
        f"-- If nobody needs it: SELECT pg_terminate_backend({pid});"
    )


def end_prepared(gid: str) -> str:
    """For the source. Whether to commit, whoever prepared it knows."""
    return (
        f"SELECT * FROM pg_prepared_xacts WHERE gid = {literal(gid)};\n"  # noqa: S608  # quoted
        "-- Then in its database, as the program that prepared it decides: COMMIT PREPARED or ROLLBACK PREPARED."
    )


def see_sessions(role: str) -> str:
    """For the source."""
    return f"GRANT pg_read_all_stats TO {identifier(role)};"


def set_wal_level() -> str:
    """For the source, which has to be restarted then."""
    return "ALTER SYSTEM SET wal_level = 'logical';"


def identify_rows(key: str) -> str:
    """For the source: `key` is the table's, as syncs name it."""
    return f"ALTER TABLE {table(key)} REPLICA IDENTITY FULL;"


def publish_every_column(publication: str, key: str) -> str:
    """For the source. A row filter of the table has to be given again."""
    name, listed = identifier(publication), table(key)
    return f"ALTER PUBLICATION {name} DROP TABLE {listed};\nALTER PUBLICATION {name} ADD TABLE {listed};"


def identify_rows_by_key(key: str) -> str:
    """For the source, if the table has a primary key."""
    return f"ALTER TABLE {table(key)} REPLICA IDENTITY DEFAULT;"


def add_table(publication: str, name: str) -> str:
    """For the source."""
    return f"ALTER PUBLICATION {identifier(publication)} ADD TABLE {table(name)};"


def grant_function(error: str, role: str) -> str | None:
    """For the source, if a function was refused; None if the error names none."""
    found = re.search(r"permission denied for function (\w+)", error)
    return f"GRANT EXECUTE ON FUNCTION {found[1]} TO {identifier(role)};" if found else None


def table(key: str) -> str:
    """A table's name in SQL, from its key: `orders`, `"a.b"`, `sales.orders`, `"s.t"."u"`."""
    parts = re.findall(r'"(?:[^"]|"")+"|[^".]+', key)
    return ".".join(part if part.startswith('"') else identifier(part) for part in parts)
