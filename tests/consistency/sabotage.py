"""A config database with one guard removed."""

from psycopg import sql

from tests.fixtures.databases import Sql

_ANNOUNCE = "SELECT pg_get_functiondef('public.source_details_announce'::regproc)"

# What takes a guard out, by its name.
IN_DATABASE = {
    "no log": f"""
        DO $do$
        BEGIN
            EXECUTE regexp_replace(({_ANNOUNCE}), 'INSERT INTO public.source_details_log[^;]*;', 'NULL;', 'g');
        END
        $do$
    """,
    "moves settled at once": f"""
        DO $do$
        BEGIN
            EXECUTE replace(({_ANNOUNCE}), 'IF is_unsettled THEN', 'IF false THEN');
        END
        $do$
    """,
    "old snapshots trusted": """
        CREATE OR REPLACE FUNCTION public.source_details_sees_others() RETURNS boolean
        LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
        AS $$ SELECT true $$
    """,
    "rewritten tables trusted": """
        CREATE OR REPLACE FUNCTION public.source_details_sees_tables(seen pg_snapshot) RETURNS boolean
        LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
        AS $$ SELECT true $$
    """,
    "triggers not for replicas": """
        DO $$
        DECLARE
            always record;
        BEGIN
            FOR always IN SELECT * FROM public.source_details_triggers() WHERE is_right LOOP
                EXECUTE format('ALTER TABLE public.%I ENABLE TRIGGER %I', always.table_name, always.trigger_name);
            END LOOP;
        END
        $$
    """,
}


def drop_event_triggers(config: Sql) -> None:
    """As if no superuser had migrated."""
    names = config.execute("SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'source_details_%'").fetchall()
    for row in names:
        config.execute(sql.SQL("DROP EVENT TRIGGER {}").format(sql.Identifier(row["evtname"])))
