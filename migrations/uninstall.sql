-- Removes everything that the other files here made, and leaves the platform's tables as they were.
--
-- rosetta migrate --uninstall runs it, after it has listed what is lost. Stop the service first. The role of
-- service/deploy/roles.sql stays: DROP OWNED BY rosetta_service; DROP ROLE rosetta_service.

DO $$
DECLARE
    ours record;
BEGIN
    -- Triggers first, and with them the locks on the platform's tables. A wait for a lock gives up, as in any file
    -- here.
    FOR ours IN
        SELECT t.tgrelid::regclass AS table_name, t.tgname AS trigger_name
        FROM pg_trigger AS t
        INNER JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'source\_details\_%\_changed'
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', ours.trigger_name, ours.table_name);
    END LOOP;
    DROP EVENT TRIGGER IF EXISTS source_details_refreshed;
    DROP EVENT TRIGGER IF EXISTS source_details_altered;
    DROP MATERIALIZED VIEW IF EXISTS public.source_details_tables;
    DROP VIEW IF EXISTS
        public.source_details_live, public.source_details_sources,
        public.source_details_registered, public.source_details_versions,
        public.source_details_watched_tables, public.source_details_watched_columns, public.source_details_told;
    FOR ours IN
        SELECT p.oid::regprocedure AS function
        FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'source\_details\_%'
    LOOP
        EXECUTE format('DROP FUNCTION %s', ours.function);
    END LOOP;
    IF obj_description(to_regclass('public.idx_pipelines_source_id'), 'pg_class') = 'made by source_details' THEN
        DROP INDEX public.idx_pipelines_source_id;
    END IF;
END
$$;

DROP TABLE IF EXISTS
    public.source_details_log, public.source_details_refresh_state, public.source_details_sync_state,
    public.source_details_schedule, public.source_details_lag, public.source_details_wal_round,
    public.source_details_activity, public.source_details_activity_round, public.source_details_timeline, public.source_details_notices,
    public.source_details_other_versions, public.source_details_other_tables,
    public.source_details_migrations;
DROP INDEX IF EXISTS
    public.idx_history_schema_evolution_table_version_composite, public.idx_table_metadata_list_source_id_covering,
    public.idx_pipelines_destination_composite;
ALTER TABLE public.table_metadata_list DROP COLUMN IF EXISTS is_published, DROP COLUMN IF EXISTS column_order,
    DROP COLUMN IF EXISTS at_source;
ALTER TABLE public.history_schema_evolution DROP COLUMN IF EXISTS at_source;
