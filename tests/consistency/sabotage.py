"""A config database with one guard removed."""

from psycopg import sql

from tests.fixtures.databases import Sql

_TRIGGER_FUNCTIONS = r"""
SELECT p.oid FROM pg_proc AS p
WHERE p.proname LIKE 'source\_details\_%\_changed' AND p.prorettype = 'trigger'::regtype
"""

# What takes a guard out, by its name.
IN_DATABASE = {
    "no log": """
        CREATE OR REPLACE FUNCTION public.source_details_announce(changed integer [], is_in_view boolean) RETURNS void
        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
        AS $$ BEGIN PERFORM pg_notify('source_details_changed', id::text) FROM unnest(changed) AS id; END $$
    """,
    "no locks on what moves": f"""
        DO $do$
        DECLARE
            guarded oid;
        BEGIN
            FOR guarded IN {_TRIGGER_FUNCTIONS} LOOP
                EXECUTE regexp_replace(
                    replace(pg_get_functiondef(guarded), ' FOR KEY SHARE SKIP LOCKED', ''), ' FOR UPDATE;', ';', 'g'
                );
            END LOOP;
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
